//! Lines that make no job.

use std::io;

use ratchet_runtime::{Class, Failure, Job, JobKey, TaskName};

use crate::diagnostic::{Diagnostics, Severity};
use crate::error::CliError;

/// Why there is no job.
#[derive(Debug)]
pub(crate) enum StreamError {
    /// The line makes none; the next one may.
    Refused(Box<RefusedLine>),
    /// There is nothing more to be read.
    Unreadable(io::Error),
}

/// A line that makes no job.
#[derive(Debug)]
pub(crate) struct RefusedLine {
    /// Its number, from 1.
    pub(crate) line: u64,
    /// The id that its result goes by: what it says, or its number.
    pub(crate) id: JobKey,
    /// The task it names, if it does.
    pub(crate) task: Option<TaskName>,
    /// All that is wrong with it.
    pub(crate) diagnostics: Diagnostics,
}

impl RefusedLine {
    /// What is wrong, in one line.
    pub(crate) fn message(&self) -> String {
        let mut errors = self
            .diagnostics
            .diagnostics
            .iter()
            .filter(|found| found.severity == Severity::Error);
        let Some(first) = errors.next() else {
            return format!("line {}", self.line);
        };
        let place = first
            .span
            .map(|span| self.diagnostics.source.place(span.start()));
        let column = place.map_or(1, |place| place.column);
        let mut message = format!("line {}, column {column}: {}", self.line, first.message);
        if let Some(help) = &first.help {
            message.push_str("; ");
            message.push_str(help);
        }
        match errors.count() {
            0 => {}
            more => message.push_str(&[" (and ", &more.to_string(), " more)"].concat()),
        }
        message
    }

    /// The job that it is all the same: one that ends as a failure of class `input`, so that it
    /// stands among the results of the others.
    pub(crate) fn job(&self) -> Job {
        let failure = Failure::new(Class::Input, self.message());
        let task = self.task.clone().unwrap_or_else(|| "unknown".into());
        Job::refused(self.id.clone(), task, failure)
    }
}

/// The error of a run that a line without a job ends.
impl From<RefusedLine> for CliError {
    fn from(line: RefusedLine) -> Self {
        let name = line.diagnostics.source.name();
        Self::usage(format!("a line of {name} makes no job"))
            .with_diagnostics(vec![line.diagnostics])
    }
}
