//! The separator of records, which finds the boundaries between them.

use memchr::memmem;
use regex::bytes::{Regex, RegexBuilder};

use crate::error::CliError;

/// The most bytes of a separator that an expression finds in a part of a file. What comes before a part is not searched further
/// back than this, because a file is not read as a whole.
const EXPRESSION_BYTES: usize = 64 * 1024;

/// What ends each record, and what begins each.
#[derive(Debug, Clone)]
pub(crate) enum RecordSeparator {
    /// The same bytes each time.
    Text(Box<TextSeparator>),
    /// What regular expressions match.
    Expression(ExpressionSeparator),
}

/// The bytes with which each record ends, and those with which each begins.
#[derive(Debug, Clone)]
pub(crate) struct TextSeparator {
    /// The end of a record and the beginning of the next one.
    between: Vec<u8>,
    /// How many bytes of `between` belong to the record that ends.
    of_end: usize,
    finder: memmem::Finder<'static>,
    last_finder: memmem::FinderRev<'static>,
}

/// Expressions for the end of a record and for the beginning of the next one.
#[derive(Debug, Clone)]
pub(crate) struct ExpressionSeparator {
    /// Matches an end and the beginning after it.
    between: Regex,
    boundary: BoundaryOfMatch,
}

/// Where in a match of a separator the next record begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BoundaryOfMatch {
    /// At its start, since records only have a beginning.
    Start,
    /// At its end, since records only have an end.
    End,
    /// At the start of this group, since records have both.
    Group(usize),
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
    pub(crate) fn of_texts(start: &[u8], end: &[u8]) -> Option<Self> {
        let between = [end, start].concat();
        if between.is_empty() {
            return None;
        }
        Some(Self::Text(Box::new(TextSeparator {
            of_end: end.len(),
            finder: memmem::Finder::new(&between).into_owned(),
            last_finder: memmem::FinderRev::new(&between).into_owned(),
            between,
        })))
    }

    /// Makes a separator from expressions for what each record begins and ends with. An empty `start` means that only an end
    /// separates records, and an empty `end` means the opposite. If both are empty, each byte is a record.
    pub(crate) fn of_expressions(start: &str, end: &str) -> Result<Self, CliError> {
        let starts = parse("--recstart", start)?;
        let ends = parse("--recend", end)?;
        let (between, boundary) = match (start, end) {
            ("", _) => (ends, BoundaryOfMatch::End),
            (_, "") => (starts, BoundaryOfMatch::Start),
            _ => (
                parse(
                    "--recend and --recstart",
                    &format!("(?:{end})((?:{start}))"),
                )?,
                // The groups of the end come first, and the whole match is counted as a group.
                BoundaryOfMatch::Group(ends.captures_len()),
            ),
        };
        Ok(Self::Expression(ExpressionSeparator { between, boundary }))
    }

    /// Returns the first boundary whose separator begins at this position or later. The beginning of the first record
    /// is not a boundary. `is_end` is whether no more bytes follow these.
    pub(super) fn find(&self, bytes: &[u8], from: usize, is_end: bool) -> Found {
        match self {
            Self::Text(text) => text.find(bytes, from),
            Self::Expression(expression) => expression.find(bytes, from, is_end),
        }
    }

    /// Returns the last boundary in the first `most` bytes.
    pub(super) fn find_last(&self, bytes: &[u8], most: usize, is_end: bool) -> Option<usize> {
        match self {
            Self::Text(text) => text.find_last(&bytes[..most.min(bytes.len())]),
            Self::Expression(expression) => {
                let (mut last, mut from) = (None, 0);
                while let Found::At { boundary, next } = expression.find(bytes, from, is_end)
                    && boundary <= most
                {
                    (last, from) = (Some(boundary), next);
                }
                last
            }
        }
    }

    /// Returns the most bytes of a separator that can lie before a position if the separator ends after it.
    pub(super) fn overlap(&self) -> usize {
        match self {
            Self::Text(text) => text.between.len() - 1,
            Self::Expression(_) => EXPRESSION_BYTES,
        }
    }
}

/// Parses an expression, in which `^` and `$` match at lines. `flag` is that with which it was typed.
fn parse(flag: &str, expression: &str) -> Result<Regex, CliError> {
    let parsed = RegexBuilder::new(expression).multi_line(true).build();
    parsed.map_err(|error| {
        CliError::usage(format!("{flag}: this is not a regular expression")).because(error)
    })
}

impl TextSeparator {
    fn find(&self, bytes: &[u8], from: usize) -> Found {
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

    fn find_last(&self, bytes: &[u8]) -> Option<usize> {
        let position = match &self.between[..] {
            [byte] => memchr::memrchr(*byte, bytes)?,
            _ => self.last_finder.rfind(bytes)?,
        };
        Some(position + self.of_end).filter(|boundary| *boundary > 0)
    }
}

impl ExpressionSeparator {
    fn find(&self, bytes: &[u8], from: usize, is_end: bool) -> Found {
        let mut at = from;
        while at <= bytes.len()
            && let Some((start, end, boundary)) = self.first_match(bytes, at)
        {
            // With more bytes, the match may be a longer one.
            if end == bytes.len() && !is_end {
                break;
            }
            // The rest of a match is not searched again: the end of a number may be a number.
            let next = end.max(start + 1);
            if boundary > 0 {
                return Found::At { boundary, next };
            }
            at = next;
        }
        // A match can begin anywhere and go on in the bytes that follow, so all of them are searched again.
        Found::Not { next: from }
    }

    /// Returns the start and the end of the first match, and the boundary in it.
    fn first_match(&self, bytes: &[u8], at: usize) -> Option<(usize, usize, usize)> {
        if let BoundaryOfMatch::Group(group) = self.boundary {
            let groups = self.between.captures_at(bytes, at)?;
            let (whole, group) = (groups.get(0)?, groups.get(group)?);
            return Some((whole.start(), whole.end(), group.start()));
        }
        let whole = self.between.find_at(bytes, at)?;
        let boundary = match self.boundary {
            BoundaryOfMatch::Start => whole.start(),
            BoundaryOfMatch::End | BoundaryOfMatch::Group(_) => whole.end(),
        };
        Some((whole.start(), whole.end(), boundary))
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
            let separator = RecordSeparator::of_texts(start, end).unwrap();
            let expected = boundaries(&bytes, start, end);
            let (mut found, mut from, mut seen) = (Vec::new(), 0, 0);
            for step in steps {
                seen = (seen + step).min(bytes.len());
                loop {
                    match separator.find(&bytes[..seen], from, seen == bytes.len()) {
                        Found::At { boundary, next } => { found.push(boundary); from = next; }
                        Found::Not { next } => { from = next; break; }
                    }
                }
            }
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(separator.find_last(&bytes, bytes.len(), true), expected.last().copied());
        }
    }

    #[test]
    fn records_without_beginning_and_end_are_refused() {
        assert!(RecordSeparator::of_texts(b"", b"").is_none());
    }

    /// Returns the records of a text.
    fn records<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
        let separator = RecordSeparator::of_expressions(start, end).unwrap();
        let (mut records, mut rest) = (Vec::new(), text);
        while let Found::At { boundary, .. } = separator.find(rest.as_bytes(), 0, true) {
            let (record, others) = rest.split_at(boundary);
            records.push(record);
            rest = others;
        }
        if !rest.is_empty() {
            records.push(rest);
        }
        records
    }

    #[test]
    fn expressions_separate_records_by_what_they_match() {
        assert_eq!(records("a1b22c", "", "[0-9]+"), ["a1", "b22", "c"]);
        assert_eq!(records("1a22b3", "[0-9]+", ""), ["1a", "22b", "3"]);
        assert_eq!(records("22:a33:b", "[0-9]+:", ""), ["22:a", "33:b"]);
        assert_eq!(records("a;1b; c;2", r"\d", ";"), ["a;", "1b; c;", "2"]);
        assert_eq!(records("a;;1b", "(1)", "(;)+"), ["a;;", "1b"]);
        assert_eq!(records("abc", "", ""), ["a", "b", "c"]);
        assert_eq!(records("S\na S\nS\n", "^S$", ""), ["S\na S\n", "S\n"]);
    }

    #[test]
    fn a_match_that_may_become_longer_is_no_boundary_yet() {
        let separator = RecordSeparator::of_expressions("", "\n+").unwrap();
        assert_eq!(separator.find(b"a\n", 0, false), Found::Not { next: 0 });
        let (boundary, next) = (2, 2);
        assert_eq!(
            separator.find(b"a\n", 0, true),
            Found::At { boundary, next }
        );
        assert_eq!(
            separator.find(b"a\nb", 0, false),
            Found::At { boundary, next }
        );
        // The window ends within the separator, which is not cut.
        assert_eq!(separator.find_last(b"a\nb\n\nc", 4, false), Some(2));
        assert_eq!(separator.find_last(b"a\nb\n\nc", 5, false), Some(5));
    }

    #[test]
    fn what_is_no_expression_is_refused_with_its_flag() {
        for (start, end, flag) in [("(", "", "--recstart"), ("", "[", "--recend")] {
            let error = RecordSeparator::of_expressions(start, end).unwrap_err();
            assert!(error.to_string().starts_with(flag), "{error}");
        }
    }
}
