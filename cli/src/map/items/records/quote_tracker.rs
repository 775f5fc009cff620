//! Tells whether a CSV text ends within quotes, which the crate `csv` does not report.

/// The quotes of a text, as far as it was read.
#[derive(Debug)]
pub(super) struct QuoteTracker {
    /// The byte between two fields.
    separator: u8,
    place: QuoteState,
    /// The number of the current line.
    line: u64,
    /// The number of the line on which the last quoted field began, for messages.
    opened: u64,
}

/// The position within a field, as far as quotes matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum QuoteState {
    /// At the start of a field, where a quote opens it.
    Start,
    /// Inside a field without quotes, where a quote is a character like any other.
    Field,
    /// Inside the quotes of a field, where separators and newlines belong to the field.
    Quoted,
    /// After a quote in a quoted field. If another quote follows, the two stand for one character. Otherwise the quoted
    /// part has ended.
    Quote,
}

impl QuoteTracker {
    /// Makes a tracker for a text whose fields are separated by this byte.
    pub(super) fn new(separator: u8) -> Self {
        Self {
            separator,
            place: QuoteState::Start,
            line: 1,
            opened: 0,
        }
    }

    /// Follows the next bytes.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.place = match (self.place, byte) {
                (QuoteState::Start, b'"') => {
                    self.opened = self.line;
                    QuoteState::Quoted
                }
                (QuoteState::Quoted, b'"') => QuoteState::Quote,
                (QuoteState::Quote, b'"') | (QuoteState::Quoted, _) => QuoteState::Quoted,
                (_, b'\r' | b'\n') => QuoteState::Start,
                (_, byte) if *byte == self.separator => QuoteState::Start,
                _ => QuoteState::Field,
            };
            self.line += u64::from(*byte == b'\n');
        }
    }

    /// Returns the line on which the quoted field began that has not ended, if there is one.
    pub(super) fn open(&self) -> Option<u64> {
        (self.place == QuoteState::Quoted).then_some(self.opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_is_open_until_another_closes_it() {
        for (text, open) in [
            ("a,b\n", None),
            ("a,\"b\nc\"\n", None),
            ("a\n1,\"b\nc\n", Some(2)),
            ("\"a\"\"", Some(1)),
            ("\"a\"\"\"", None),
            ("a\"b\n", None),
            ("\"a\"b\"\n", None),
            ("a\r\n\"", Some(2)),
        ] {
            let mut whole = QuoteTracker::new(b',');
            whole.pass(text.as_bytes());
            assert_eq!(whole.open(), open, "{text:?}");
            let mut pieces = QuoteTracker::new(b',');
            text.bytes().for_each(|byte| pieces.pass(&[byte]));
            assert_eq!(pieces.open(), open, "{text:?}");
        }
    }
}
