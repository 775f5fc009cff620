//! Results as JSON lines.

use std::io::{self, Write};

use ratchet_runtime::{Outcome, Summary};

use super::Report;
use crate::escape::plain_json;

/// A line that had to be longer than this once does not keep its memory.
pub(super) const LINE_KEPT: usize = 64 * 1024;

pub(super) struct JsonLines<W> {
    out: W,
    /// The line that is being made, kept for its memory.
    line: Vec<u8>,
}

impl<W: Write> JsonLines<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            line: Vec::new(),
        }
    }
}

impl<W: Write + Send> Report for JsonLines<W> {
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.line.clear();
        outcome.write_line(&mut self.line);
        self.line.push(b'\n');
        let written = self.out.write_all(&plain_json(&self.line));
        self.line.shrink_to(LINE_KEPT);
        written
    }

    fn idle(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self, _: &Summary) -> io::Result<()> {
        self.out.flush()
    }
}
