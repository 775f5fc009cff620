//! The separator of records, which finds the boundaries between them.

use memchr::memmem;

/// The bytes with which each record ends, and those with which each begins.
#[derive(Debug, Clone)]
pub(crate) struct RecordSeparator {
    /// The end of a record and the beginning of the next one.
    between: Vec<u8>,
    /// How many bytes of `between` belong to the record that ends.
    of_end: usize,
    finder: memmem::Finder<'static>,
    last_finder: memmem::FinderRev<'static>,
}

/// The result of looking for the first boundary after a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The next record begins at `boundary`. The search for the one after it starts at `next`.
    At { boundary: usize, next: usize },
    /// There is no boundary. Once there are more bytes, the search goes on at `next`.
    Not { next: usize },
}

impl RecordSeparator {
    /// Makes a separator from the bytes with which each record begins and ends. Returns nothing if both are empty.
    pub(crate) fn new(start: &[u8], end: &[u8]) -> Option<Self> {
        let between = [end, start].concat();
        if between.is_empty() {
            return None;
        }
        Some(Self {
            of_end: end.len(),
            finder: memmem::Finder::new(&between).into_owned(),
            last_finder: memmem::FinderRev::new(&between).into_owned(),
            between,
        })
    }

    /// Returns the first boundary whose separator begins at this position or later. The beginning of the first record
    /// is not a boundary.
    pub(super) fn find(&self, bytes: &[u8], from: usize) -> Found {
        let from = if self.of_end == 0 { from.max(1) } else { from };
        let found = match &self.between[..] {
            [byte] => memchr::memchr(*byte, bytes.get(from..).unwrap_or_default()),
            _ => self.finder.find(bytes.get(from..).unwrap_or_default()),
        };
        match found {
            Some(position) => {
                let boundary = from + position + self.of_end;
                let next = boundary.max(from + position + 1);
                Found::At { boundary, next }
            }
            // The last bytes may be the beginning of a separator, so they are searched again.
            None => Found::Not {
                next: from.max((bytes.len() + 1).saturating_sub(self.between.len())),
            },
        }
    }

    /// Returns the last boundary.
    pub(super) fn find_last(&self, bytes: &[u8]) -> Option<usize> {
        let position = match &self.between[..] {
            [byte] => memchr::memrchr(*byte, bytes)?,
            _ => self.last_finder.rfind(bytes)?,
        };
        Some(position + self.of_end).filter(|boundary| *boundary > 0)
    }

    /// Returns the most bytes of a separator that can lie before a position if the separator ends after it.
    pub(super) fn overlap(&self) -> usize {
        self.between.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns all boundaries, looked for in the simplest way.
    fn boundaries(bytes: &[u8], start: &[u8], end: &[u8]) -> Vec<usize> {
        let is_boundary =
            |at: &usize| bytes[..*at].ends_with(end) && bytes[*at..].starts_with(start);
        (1..=bytes.len()).filter(is_boundary).collect()
    }

    proptest! {
        #[test]
        fn boundaries_are_found_however_much_is_seen_at_once(
            bytes in prop::collection::vec(prop::sample::select(vec![b'a', b'b', b'\n']), 0..40),
            (start, end) in prop::sample::select(vec![
                ("", "\n"), ("a", ""), ("ab", ""), ("a", "\n"), ("", "ab"), ("b", "a\n"),
            ]),
            steps in prop::collection::vec(1_usize..9, 40),
        ) {
            let (start, end) = (start.as_bytes(), end.as_bytes());
            let separator = RecordSeparator::new(start, end).unwrap();
            let expected = boundaries(&bytes, start, end);
            let (mut found, mut from, mut seen) = (Vec::new(), 0, 0);
            for step in steps {
                seen = (seen + step).min(bytes.len());
                loop {
                    match separator.find(&bytes[..seen], from) {
                        Found::At { boundary, next } => { found.push(boundary); from = next; }
                        Found::Not { next } => { from = next; break; }
                    }
                }
            }
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(separator.find_last(&bytes), expected.last().copied());
        }
    }

    #[test]
    fn records_without_beginning_and_end_are_refused() {
        assert!(RecordSeparator::new(b"", b"").is_none());
    }
}
