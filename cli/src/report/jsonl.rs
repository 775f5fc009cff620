//! Results as JSON lines.

use std::io::{self, Write};

use ratchet_runtime::{Outcome, Summary};

use super::Report;

pub(super) struct JsonLines<W>(W);

impl<W: Write> JsonLines<W> {
    pub(super) fn new(out: W) -> Self {
        Self(out)
    }
}

impl<W: Write + Send> Report for JsonLines<W> {
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, outcome)?;
        self.0.write_all(b"\n")
    }

    fn idle(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    fn finish(&mut self, _: &Summary) -> io::Result<()> {
        self.0.flush()
    }
}
