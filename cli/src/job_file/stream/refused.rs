//! The lines of a stream that make no job.

use std::io;

use ratchet_runtime::{Class, Failure, Job, JobKey, TaskName};

use crate::diagnostic::{Diagnostics, Severity};
use crate::error::CliError;

/// The reason why the next line of a stream makes no job.
#[derive(Debug)]
pub(crate) enum StreamError {
    /// The line was refused. Later lines may make jobs.
    Refused(Box<RefusedLine>),
    /// The stream cannot be read any further.
    Unreadable(io::Error),
}

/// A line that was refused.
#[derive(Debug)]
pub(crate) struct RefusedLine {
    /// The number of the line, counted from 1.
    pub(crate) line: u64,
    /// The id of the result of the line: the id in the line, or its number.
    pub(crate) id: JobKey,
    /// The task of the line, if it names one.
    pub(crate) task: Option<TaskName>,
    /// What is wrong with the line.
    pub(crate) diagnostics: Diagnostics,
}

impl RefusedLine {
    /// Returns the first problem of the line, in one line.
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

    /// Returns a job that fails at once with the class `input`, so that there is a result for the line.
    pub(crate) fn job(&self) -> Job {
        let failure = Failure::new(Class::Input, self.message());
        let task = self.task.clone().unwrap_or_else(|| "unknown".into());
        Job::refused(self.id.clone(), task, failure)
    }
}

/// The error of a run that stops at a refused line.
impl From<RefusedLine> for CliError {
    fn from(line: RefusedLine) -> Self {
        let name = line.diagnostics.source.name();
        Self::usage(format!("a line of {name} is not a valid job"))
            .with_diagnostics(vec![line.diagnostics])
    }
}
