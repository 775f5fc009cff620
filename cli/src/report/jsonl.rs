//! Results as JSON lines.

use ratchet_runtime::{AttemptsShown, Outcome, Summary};

use super::Report;
use crate::escape::plain_json;
use crate::output::{Output, OutputError};

/// How much memory of the line buffer is kept after a longer line was written.
pub(super) const KEPT_LINE_BYTES: usize = 64 * 1024;

/// Writes each result as a line of JSON.
pub(super) struct JsonLinesReport<'a> {
    out: Output<'a>,
    attempts: AttemptsShown,
    /// The buffer for the line that is being made; it is kept so that its memory is reused.
    line: Vec<u8>,
}

impl<'a> JsonLinesReport<'a> {
    /// Makes a report that writes to this output.
    pub(super) fn new(out: Output<'a>, attempts: AttemptsShown) -> Self {
        Self {
            out,
            attempts,
            line: Vec::new(),
        }
    }
}

impl Report for JsonLinesReport<'_> {
    fn outcome(&mut self, outcome: &Outcome) -> Result<(), OutputError> {
        self.line.clear();
        outcome.write_line_with(self.attempts, &mut self.line);
        self.line.push(b'\n');
        let written = self.out.write(&plain_json(&self.line));
        self.line.shrink_to(KEPT_LINE_BYTES);
        written
    }

    fn idle(&mut self) -> Result<(), OutputError> {
        self.out.flush()
    }

    fn finish(&mut self, _: &Summary) -> Result<(), OutputError> {
        self.out.flush()
    }
}
