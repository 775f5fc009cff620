//! Reads a journal line by line, and says what is wrong where.

use std::fmt;
use std::io::{self, BufRead};

use super::record::{self, Record, Unreadable};

/// A line that is no record: it is left out, and what is after it is read.
///
/// That is safe: an outcome that cannot be read is an outcome nobody knows of, so its job is done again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The line's number; the first is 1.
    pub line: u64,
    /// The byte at which it begins; the first is 0.
    pub offset: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            offset,
            reason,
        } = self;
        write!(f, "line {line} (byte {offset}): {reason}")
    }
}

/// An unfinished last line: what a run was writing when it was killed. It is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Torn {
    /// The byte at which it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

/// The lines of a journal.
pub(super) struct Scanner<R> {
    input: R,
    line: Vec<u8>,
    /// Where the line begins.
    begin: u64,
    /// Where it ends.
    end: u64,
    number: u64,
}

/// What a line is.
pub(super) enum Scanned<'a> {
    Record {
        offset: u64,
        line: u64,
        record: Record<'a>,
    },
    Damaged {
        damage: Damage,
        why: Unreadable,
    },
    Torn(Torn),
}

impl<R: BufRead> Scanner<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            line: Vec::new(),
            begin: 0,
            end: 0,
            number: 0,
        }
    }

    /// Where the last whole line ends.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Scanned<'_>>> {
        self.begin = self.end;
        self.line.clear();
        let read = self.input.read_until(b'\n', &mut self.line)? as u64;
        if read == 0 {
            return Ok(None);
        }
        if self.line.pop_if(|last| *last == b'\n').is_none() {
            return Ok(Some(Scanned::Torn(Torn {
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
                damage: Damage {
                    line: self.number,
                    offset: self.begin,
                    reason: why.to_string(),
                },
                why,
            },
        }))
    }
}
