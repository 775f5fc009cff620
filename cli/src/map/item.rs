//! The items of a map.

use crate::escape::plain;

/// The item of a job: bytes in one or more columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    bytes: Vec<u8>,
    /// The offsets at which the second and later columns begin.
    cuts: Vec<usize>,
}

/// The reason for which an item cannot be read or used. It becomes a failed job, and the other items go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ItemError(pub(crate) String);

impl Item {
    /// Makes an item from its columns.
    pub(crate) fn from_columns<'a>(columns: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let (mut bytes, mut cuts) = (Vec::new(), Vec::new());
        for (index, column) in columns.into_iter().enumerate() {
            if index > 0 {
                cuts.push(bytes.len());
            }
            bytes.extend_from_slice(column);
        }
        Self { bytes, cuts }
    }

    /// Returns the column at this position, counted from 0.
    pub(crate) fn column(&self, column: usize) -> Option<&[u8]> {
        let start = match column {
            0 => 0,
            column => *self.cuts.get(column - 1)?,
        };
        let end = self.cuts.get(column).copied().unwrap_or(self.bytes.len());
        Some(&self.bytes[start..end])
    }

    /// Returns all columns.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &[u8]> {
        (0..=self.cuts.len()).filter_map(|column| self.column(column))
    }

    /// Returns the tag before the lines of the item's output: the item in one line without control characters. Bytes
    /// that are not UTF-8 stay as they are.
    pub(crate) fn tag(&self) -> Vec<u8> {
        tag_of(&self.joined())
    }

    /// Returns all columns, with blanks between them.
    pub(crate) fn joined(&self) -> Vec<u8> {
        self.columns().collect::<Vec<_>>().join(&b' ')
    }
}

/// Returns a text in one line without control characters. Bytes that are not UTF-8 stay as they are.
pub(super) fn tag_of(bytes: &[u8]) -> Vec<u8> {
    let mut tag = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        tag.extend_from_slice(plain(chunk.valid()).as_bytes());
        tag.extend_from_slice(chunk.invalid());
    }
    tag
}

impl From<&[u8]> for Item {
    fn from(text: &[u8]) -> Self {
        Self {
            bytes: text.to_vec(),
            cuts: Vec::new(),
        }
    }
}

impl From<&str> for Item {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}
