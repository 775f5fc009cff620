//! Texts with names, and places in them.

use std::fmt;
use std::ops::Range;

/// A range of bytes in a source.
///
/// A job file has a span for each job and each need, so a span takes eight bytes rather than sixteen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The offset of the first byte.
    start: u32,
    /// The offset after the last byte.
    end: u32,
}

impl Span {
    /// Makes a span of two offsets in bytes.
    ///
    /// # Panics
    ///
    /// If an offset does not fit into 32 bits. The code that opens a source limits its size.
    #[expect(
        clippy::expect_used,
        reason = "whoever opens a source limits its size; a wrapped offset would point at the wrong line"
    )]
    pub fn new(start: usize, end: usize) -> Self {
        let offset = |at: usize| u32::try_from(at).expect("a source is smaller than 4 GiB");
        Self {
            start: offset(start),
            end: offset(end.max(start)),
        }
    }

    /// Returns the offset of the first byte.
    pub fn start(self) -> usize {
        self.start as usize
    }

    /// Returns the offset after the last byte.
    pub fn end(self) -> usize {
        self.end as usize
    }

    /// Returns the offsets as a range.
    pub fn range(self) -> Range<usize> {
        self.start()..self.end()
    }

    /// Returns the same span, moved by this many bytes.
    #[must_use]
    pub fn shifted(self, by: usize) -> Self {
        Self::new(self.start() + by, self.end() + by)
    }

    /// Whether the span has no bytes, so that it marks a position.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// The text of a file, or of one line of a stream, with its name.
#[derive(Debug, Clone)]
pub struct Source {
    /// The name of the source in messages: a path, or `stdin`.
    name: String,
    text: String,
    /// The offsets at which lines begin.
    line_starts: Vec<u32>,
    /// The number of the first line.
    first_line: u64,
    /// The files that were appended, in their order.
    appended: Vec<Appended>,
}

/// A file whose text was appended to that of another one.
#[derive(Debug, Clone)]
struct Appended {
    name: String,
    /// The offset of its first byte.
    start: usize,
    /// The index of its first line.
    line: usize,
}

impl Source {
    /// Makes a source whose first line has the number 1.
    pub fn new(name: impl Into<String>, text: String) -> Self {
        Self::from_line(name, text, 1)
    }

    /// Makes a source from a part of a file whose first line has this number.
    pub fn from_line(name: impl Into<String>, text: String, first_line: u64) -> Self {
        let after = memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1);
        let starts = std::iter::once(0).chain(after);
        Self {
            name: name.into(),
            line_starts: starts.map(|at| Span::new(at, at).start).collect(),
            text,
            first_line,
            appended: Vec::new(),
        }
    }

    /// Returns the offset at which the next file that is appended will begin.
    pub fn next_start(&self) -> usize {
        self.text.len() + 1
    }

    /// Appends another file. Its spans have to be [shifted](Span::shifted) by the [`next_start`](Self::next_start) from
    /// before this call. [`name_at`](Self::name_at) and [`place`](Self::place) then return the name and the lines of
    /// the file that contains an offset.
    pub fn append(&mut self, other: &Self) {
        let start = self.next_start();
        self.appended.push(Appended {
            name: other.name.clone(),
            start,
            line: self.line_starts.len(),
        });
        self.text.push('\n');
        self.text.push_str(&other.text);
        let starts = other.line_starts.iter();
        self.line_starts
            .extend(starts.map(|at| Span::new(*at as usize, *at as usize).shifted(start).start));
    }

    /// Returns the name of the file that contains an offset.
    pub fn name_at(&self, offset: usize) -> &str {
        self.appended_at(offset)
            .map_or(&self.name, |appended| &appended.name)
    }

    fn appended_at(&self, offset: usize) -> Option<&Appended> {
        let before = self.appended.iter().rev();
        before.into_iter().find(|appended| appended.start <= offset)
    }

    /// Returns the name of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the text of a span; empty if the span is not in this source.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }

    /// Returns the line and the column of an offset.
    pub fn place(&self, offset: usize) -> LineColumn {
        let offset = self.text.floor_char_boundary(offset);
        let index = self.line_index(offset);
        let before = &self.text[self.line_starts[index] as usize..offset];
        let (first, number) = match self.appended_at(offset) {
            Some(appended) => (appended.line, 1),
            None => (0, self.first_line),
        };
        LineColumn {
            line: number + (index - first) as u64,
            column: before.chars().count() + 1,
        }
    }

    /// Returns the offset at which the line of an offset begins, and the line without its line break.
    pub(super) fn line(&self, offset: usize) -> (usize, &str) {
        let index = self.line_index(self.text.floor_char_boundary(offset));
        let start = self.line_starts[index] as usize;
        let end = self
            .line_starts
            .get(index + 1)
            .map_or(self.text.len(), |next| *next as usize - 1);
        (start, self.text[start..end].trim_end_matches('\r'))
    }

    fn line_index(&self, offset: usize) -> usize {
        // The first line starts at 0, so at least one start is not after the offset.
        self.line_starts
            .partition_point(|start| *start as usize <= offset)
            - 1
    }
}

/// A line and a column in characters, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineColumn {
    /// The number of the line.
    pub line: u64,
    /// The number of the column.
    pub column: usize,
}

impl fmt::Display for LineColumn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_appended_files_are_told_with_their_own_names_and_lines() {
        let mut source = Source::new("a", "one\ntwo".to_owned());
        let start = source.next_start();
        source.append(&Source::new("b", "three\nfour".to_owned()));
        source.append(&Source::new("c", String::new()));
        let place = |offset| format!("{}:{}", source.name_at(offset), source.place(offset));
        assert_eq!(place(4), "a:2:1");
        assert_eq!(place(7), "a:2:4", "the end of the first file");
        assert_eq!(place(start), "b:1:1");
        assert_eq!(place(start + 7), "b:2:2");
        assert_eq!(place(start + 11), "c:1:1");
        assert_eq!(source.line(4), (4, "two"));
        assert_eq!(source.line(start + 6), (start + 6, "four"));
    }

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
        assert_eq!(Source::new("f", String::new()).place(0).to_string(), "1:1");
    }
}
