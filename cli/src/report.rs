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
pub(crate) use statistics::statistics;
pub(crate) use times::{times, waits};

use crate::output::{Output, OutputError};
use crate::style::Style;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ResultFormat {
    /// For people: a line a job, and why it failed.
    Human,
    /// One JSON object a line.
    Jsonl,
    /// One JSON document with a summary.
    Json,
    /// Test results in XML, as build servers read them.
    Junit,
}

/// Takes the outcomes of a run as its jobs end, and writes them.
pub(crate) trait Report: Send {
    /// Takes the outcome of a job.
    fn outcome(&mut self, outcome: &Outcome) -> Result<(), OutputError>;

    /// Writes what is buffered, because no further outcome is there yet.
    fn idle(&mut self) -> Result<(), OutputError>;

    /// Writes what stands at the end, because the run has ended.
    fn finish(&mut self, summary: &Summary) -> Result<(), OutputError>;
}

/// The report of a run that goes on as one document, with how the run stands, as JSON.
pub(crate) fn live_document<'a>(
    out: Output<'a>,
    live: &[u8],
) -> Result<Box<dyn Report + 'a>, OutputError> {
    Ok(Box::new(json::JsonReport::begin_with(out, Some(live))?))
}

/// A report in a format; `started` is when the run was started. Lines of results tell these attempts one by one, and a
/// document tells all of them.
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

/// A report as `JUnit` XML of a run that was started at this time, with or without what jobs printed that succeeded.
pub(crate) fn junit(out: Output<'_>, started: SystemTime, outputs: bool) -> impl Report {
    junit::JunitReport::new(out, started, outputs)
}

#[cfg(test)]
mod tests;
