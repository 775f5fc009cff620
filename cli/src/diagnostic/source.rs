//! A text with a name, and places in it.

use std::fmt;

/// A piece of a source, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self {
            start,
            end: end.max(start),
        }
    }
}

/// A file's text, or one line of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    name: String,
    text: String,
    /// Where lines begin.
    starts: Vec<usize>,
    /// The number of its first line.
    first: u64,
}

impl Source {
    pub(crate) fn new(name: impl Into<String>, text: String) -> Self {
        Self::from_line(name, text, 1)
    }

    /// A piece that begins with a line of this number.
    pub(crate) fn from_line(name: impl Into<String>, text: String, first: u64) -> Self {
        let after = text.bytes().enumerate();
        let after = after.filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(after.map(|(at, _)| at + 1));
        Self {
            name: name.into(),
            starts: starts.collect(),
            text,
            first,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What stands in a span; nothing where it is not of this source.
    pub(crate) fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    pub(crate) fn place(&self, offset: usize) -> Place {
        let offset = self.floor(offset);
        let index = self.starts.partition_point(|start| *start <= offset) - 1;
        let before = &self.text[self.starts[index]..offset];
        Place {
            line: self.first + index as u64,
            column: before.chars().count() + 1,
        }
    }

    /// The line that an offset is in, without its end, and where it begins.
    pub(super) fn line(&self, offset: usize) -> (usize, &str) {
        let offset = self.floor(offset);
        let index = self.starts.partition_point(|start| *start <= offset) - 1;
        let start = self.starts[index];
        let end = self
            .starts
            .get(index + 1)
            .map_or(self.text.len(), |next| next - 1);
        (start, self.text[start..end].trim_end_matches('\r'))
    }

    /// The byte at a line (from 1) and a column in characters (from 0).
    pub(crate) fn offset(&self, line: usize, column: usize) -> usize {
        let Some(&start) = self.starts.get(line.saturating_sub(1)) else {
            return self.text.len();
        };
        let rest = &self.text[start..];
        rest.char_indices()
            .nth(column)
            .map_or(self.text.len(), |(at, _)| start + at)
    }

    /// The nearest offset at or before this one that a character begins at.
    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

/// A line, and a column in characters; both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_places_in_any_text() {
        let source = Source::new("f", "a\r\nbä c\n\nd".to_owned());
        let place = |offset| source.place(offset).to_string();
        assert_eq!(place(0), "1:1");
        assert_eq!(place(3), "2:1");
        assert_eq!(place(6), "2:3");
        assert_eq!(place(5), "2:2", "inside a character");
        assert_eq!(place(1000), "4:2");
        assert_eq!(source.line(4), (3, "bä c"));
        assert_eq!(source.line(1), (0, "a"));
        assert_eq!(source.offset(2, 2), 6);
        assert_eq!(source.offset(9, 9), source.text().len());
        assert_eq!(Source::new("f", String::new()).place(0).to_string(), "1:1");
    }
}
