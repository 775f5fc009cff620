//! Reads a journal line by line, and reports damaged and unfinished lines.

use std::fmt;
use std::io::{self, BufRead};

use super::record::{self, Record, Unreadable};

/// A line that could not be read as a record. It is skipped, and the lines after it are read.
///
/// Skipping it is safe: its outcome is then unknown, so its job is done again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedLine {
    /// The number of the line. The first line is 1.
    pub line: u64,
    /// The byte at which the line begins. The first byte is 0.
    pub offset: u64,
    /// What is wrong with the line.
    pub reason: String,
}

impl fmt::Display for DamagedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            offset,
            reason,
        } = self;
        write!(f, "line {line} (byte {offset}): {reason}")
    }
}

/// An unfinished last line: the run was killed while it wrote the line. It is cut off when the run is resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TornLine {
    /// The byte at which the line begins.
    pub offset: u64,
    /// The length of the line in bytes.
    pub bytes: u64,
}

/// Reads the lines of a journal one after the other.
pub(super) struct Scanner<R> {
    input: R,
    line: Vec<u8>,
    /// The byte at which the current line begins.
    begin: u64,
    /// The byte after the last complete line.
    end: u64,
    /// The number of the current line, from 1 on.
    number: u64,
}

/// A line of a journal: a record, a damaged line, or an unfinished last line.
pub(super) enum Scanned<'a> {
    /// A record, with its position in the file.
    Record {
        offset: u64,
        line: u64,
        record: Record<'a>,
    },
    /// A line that is not a record, with the reason.
    Damaged {
        damage: DamagedLine,
        why: Unreadable,
    },
    /// An unfinished last line.
    Torn(TornLine),
}

impl<R: BufRead> Scanner<R> {
    /// Makes a scanner at the beginning of a journal.
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            line: Vec::new(),
            begin: 0,
            end: 0,
            number: 0,
        }
    }

    /// Returns the byte after the last complete line.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Reads the next line, or returns `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Scanned<'_>>> {
        self.begin = self.end;
        self.line.clear();
        let read = self.input.read_until(b'\n', &mut self.line)? as u64;
        if read == 0 {
            return Ok(None);
        }
        if self.line.pop_if(|last| *last == b'\n').is_none() {
            return Ok(Some(Scanned::Torn(TornLine {
                offset: self.begin,
                bytes: read,
            })));
        }
        self.end += read;
        self.number += 1;
        Ok(Some(match record::read(&self.line) {
            Ok(record) => Scanned::Record {
                offset: self.begin,
                line: self.number,
                record,
            },
            Err(why) => Scanned::Damaged {
                damage: DamagedLine {
                    line: self.number,
                    offset: self.begin,
                    reason: why.to_string(),
                },
                why,
            },
        }))
    }
}
