//! Results as one JSON document. Results are written as they come, so the summary is at the end.

use ratchet_runtime::{AttemptsShown, Outcome, Summary};
use serde::Serialize;

use super::Report;
use super::jsonl::KEPT_LINE_BYTES;
use super::repetitions::{RepeatedJob, Repetitions};
use crate::escape::plain_json;
use crate::output::{Output, OutputError};

/// Writes all results and the summary as one JSON document.
pub(super) struct JsonReport<'a> {
    out: Output<'a>,
    /// Whether no result was written yet, so that the next one needs no comma before it.
    is_empty: bool,
    /// The buffer for the result that is being written; it is kept so that its memory is reused.
    line: Vec<u8>,
    /// The repetitions of each job, if the jobs of a file are run again and again.
    repetitions: Option<Repetitions>,
}

/// The summary at the end, with the counts of repeated jobs if there are any.
#[derive(Serialize)]
struct FullSummary<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated: Option<Vec<RepeatedJob<'a>>>,
}

impl<'a> JsonReport<'a> {
    /// Begins the document.
    pub(super) fn begin(out: Output<'a>) -> Result<Self, OutputError> {
        Self::begin_with(out, None)
    }

    /// Begins the document. For a run in progress, it begins with the state of the run, as JSON.
    pub(super) fn begin_with(
        mut out: Output<'a>,
        live: Option<&[u8]>,
    ) -> Result<Self, OutputError> {
        out.write(b"{\"v\":1,")?;
        if let Some(live) = live {
            out.write(b"\"live\":")?;
            out.write(&plain_json(live))?;
            out.write(b",")?;
        }
        out.write(b"\"results\":[")?;
        Ok(Self {
            out,
            is_empty: true,
            line: Vec::new(),
            repetitions: None,
        })
    }
}

impl Report for JsonReport<'_> {
    fn count_repetitions(&mut self) {
        self.repetitions = Some(Repetitions::default());
    }

    fn outcome(&mut self, outcome: &Outcome) -> Result<(), OutputError> {
        if let Some(repetitions) = &mut self.repetitions {
            repetitions.add(outcome);
        }
        let separator: &[u8] = if self.is_empty { b"\n" } else { b",\n" };
        self.out.write(separator)?;
        self.is_empty = false;
        self.line.clear();
        outcome.write_line_with(AttemptsShown::All, &mut self.line);
        let written = self.out.write(&plain_json(&self.line));
        self.line.shrink_to(KEPT_LINE_BYTES);
        written
    }

    fn idle(&mut self) -> Result<(), OutputError> {
        self.out.flush()
    }

    fn finish(&mut self, summary: &Summary) -> Result<(), OutputError> {
        self.out.write(b"\n],\"summary\":")?;
        self.out.write_by(|out| {
            let repeated = self.repetitions.as_ref().map(Repetitions::jobs);
            let summary = serde_json::to_vec(&FullSummary { summary, repeated })?;
            out.write_all(&plain_json(&summary))
        })?;
        self.out.write(b"}\n")?;
        self.out.flush()
    }
}
