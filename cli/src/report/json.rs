//! Results as one JSON document, which is written as they come: the summary stands at its end.

use std::io::{self, Write};

use ratchet_runtime::{Outcome, Summary};

use super::Report;
use super::jsonl::LINE_KEPT;
use crate::escape::plain_json;

pub(super) struct Document<W> {
    out: W,
    empty: bool,
    /// The result that is being written, kept for its memory.
    line: Vec<u8>,
}

impl<W: Write> Document<W> {
    pub(super) fn begin(mut out: W) -> io::Result<Self> {
        out.write_all(b"{\"v\":1,\"results\":[")?;
        Ok(Self {
            out,
            empty: true,
            line: Vec::new(),
        })
    }
}

impl<W: Write + Send> Report for Document<W> {
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        let separator: &[u8] = if self.empty { b"\n" } else { b",\n" };
        self.out.write_all(separator)?;
        self.empty = false;
        self.line.clear();
        outcome.write_line(&mut self.line);
        let written = self.out.write_all(&plain_json(&self.line));
        self.line.shrink_to(LINE_KEPT);
        written
    }

    fn idle(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self, summary: &Summary) -> io::Result<()> {
        self.out.write_all(b"\n],\"summary\":")?;
        let summary = serde_json::to_vec(summary)?;
        self.out.write_all(&plain_json(&summary))?;
        self.out.write_all(b"}\n")?;
        self.out.flush()
    }
}
