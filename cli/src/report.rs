//! Writes the outcomes of a run, for people and for programs.
//!
//! A [`Report`] writes results and nothing else. Messages for people go to stderr, and so does the [`HumanSummary`] at
//! the end of a run.

mod human;
mod human_summary;
mod json;
mod jsonl;
mod junit;
mod repetitions;
mod statistics;
mod times;

use std::time::SystemTime;

use clap::ValueEnum;
use ratchet_runtime::{AttemptsShown, Outcome, Summary};

pub(crate) use human::describe;
pub(crate) use human_summary::HumanSummary;
pub(crate) use junit::PrintedOutputs;
pub(crate) use statistics::statistics;
pub(crate) use times::{times, waits};

use crate::output::{Output, OutputError};
use crate::style::Style;

/// The format in which results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ResultFormat {
    /// For people: one line per job, and why it failed.
    Human,
    /// One JSON object per line.
    Jsonl,
    /// One JSON document with a summary.
    Json,
    /// Test results in XML, for build servers.
    Junit,
}

/// Receives the outcomes of a run as its jobs end, and writes them.
pub(crate) trait Report: Send {
    /// Prepares the report for the outcomes of jobs that are run again and again, so that its summary counts how often each of
    /// them failed. A report without a summary of its own has nothing to prepare.
    fn count_repetitions(&mut self) {}

    /// Writes or buffers the outcome of a job.
    fn outcome(&mut self, outcome: &Outcome) -> Result<(), OutputError>;

    /// Writes what is buffered, because no further outcome is there yet.
    fn idle(&mut self) -> Result<(), OutputError>;

    /// Writes the end of the report, because the run has ended.
    fn finish(&mut self, summary: &Summary) -> Result<(), OutputError>;
}

/// Makes a JSON report of a run in progress, as one document that includes the state of the run.
pub(crate) fn live_document<'a>(
    out: Output<'a>,
    live: &[u8],
) -> Result<Box<dyn Report + 'a>, OutputError> {
    Ok(Box::new(json::JsonReport::begin_with(out, Some(live))?))
}

/// Makes a report in a format; `started` is when the run was started. JSON lines list these attempts one by one, and a
/// JSON document lists all of them.
pub(crate) fn report<'a>(
    format: ResultFormat,
    attempts: AttemptsShown,
    out: Output<'a>,
    style: Style,
    started: SystemTime,
) -> Result<Box<dyn Report + 'a>, OutputError> {
    Ok(match format {
        ResultFormat::Human => Box::new(human::HumanReport::new(out, style)),
        ResultFormat::Jsonl => Box::new(jsonl::JsonLinesReport::new(out, attempts)),
        ResultFormat::Json => Box::new(json::JsonReport::begin(out)?),
        ResultFormat::Junit => Box::new(junit::JunitReport::new(out, started, true)),
    })
}

/// Makes a report as `JUnit` XML of a run that was started at this time. `outputs` is whether it includes what
/// successful jobs printed.
pub(crate) fn junit(out: Output<'_>, started: SystemTime, outputs: bool) -> impl Report {
    junit::JunitReport::new(out, started, outputs)
}

#[cfg(test)]
mod tests;
