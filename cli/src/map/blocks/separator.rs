//! Where one record ends and the next begins.

use memchr::memmem;

/// What separates records: how each ends, and how each begins.
#[derive(Debug, Clone)]
pub(crate) struct RecordSeparator {
    /// The end of a record and the beginning of the next one.
    between: Vec<u8>,
    /// How many bytes of these belong to the record that ends.
    of_end: usize,
    finder: memmem::Finder<'static>,
    last_finder: memmem::FinderRev<'static>,
}

/// The first boundary that was found from a position on, or from where to look once there is more to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The next record begins here. The one after it is looked for from `next` on.
    At { boundary: usize, next: usize },
    /// There is none yet.
    Not { next: usize },
}

impl RecordSeparator {
    /// Makes a separator of what each record begins and ends with. One of them may be empty, not both.
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

    /// The first boundary whose separator begins at this position or later. A record begins at the first byte anyway.
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
            // The last bytes may be the beginning of a separator.
            None => Found::Not {
                next: from.max((bytes.len() + 1).saturating_sub(self.between.len())),
            },
        }
    }

    /// The last boundary.
    pub(super) fn find_last(&self, bytes: &[u8]) -> Option<usize> {
        let position = match &self.between[..] {
            [byte] => memchr::memrchr(*byte, bytes)?,
            _ => self.last_finder.rfind(bytes)?,
        };
        Some(position + self.of_end).filter(|boundary| *boundary > 0)
    }

    /// How many bytes before a position can be part of a separator that ends after it.
    pub(super) fn overlap(&self) -> usize {
        self.between.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All boundaries, looked for in the simplest way.
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
