//! Results as one JSON document, which is written as they come: the summary stands at its end.

use std::io::{self, Write};

use ratchet_runtime::{Outcome, Summary};

use super::Report;

pub(super) struct Document<W> {
    out: W,
    empty: bool,
}

impl<W: Write> Document<W> {
    pub(super) fn begin(mut out: W) -> io::Result<Self> {
        out.write_all(b"{\"v\":1,\"results\":[")?;
        Ok(Self { out, empty: true })
    }
}

impl<W: Write + Send> Report for Document<W> {
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        let separator: &[u8] = if self.empty { b"\n" } else { b",\n" };
        self.out.write_all(separator)?;
        self.empty = false;
        Ok(serde_json::to_writer(&mut self.out, outcome)?)
    }

    fn idle(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self, summary: &Summary) -> io::Result<()> {
        self.out.write_all(b"\n],\"summary\":")?;
        serde_json::to_writer(&mut self.out, summary)?;
        self.out.write_all(b"}\n")?;
        self.out.flush()
    }
}
