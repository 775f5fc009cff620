//! The answers of a run about single jobs.

use std::sync::Arc;

use super::attempt_messages::AttemptMessages;
use super::snapshot::{RunningJob, WaitingJob};
use crate::context::{AttemptOutput, Step};
use crate::os::HeadTail;

/// The state of an unfinished job of a run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum JobState {
    /// The run knows the job and has not pulled it yet, because its window is full.
    Pending,
    /// The job waits.
    Waiting(WaitingJob),
    /// The job runs.
    Running(RunningJob),
}

/// What became of the request to cancel a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancellation {
    /// The job had not started, or waited for another attempt, and ends as cancelled.
    Ended,
    /// The job runs and was asked to stop. It ends as cancelled, unless it succeeds first. If it was asked before, it
    /// is killed.
    Asked,
    /// The run has no unfinished job with this id: the job has ended, or has not come yet.
    Unknown,
}

/// The output of a job so far. It grows as long as the attempt runs.
///
/// For a command these are its stdout and stderr. For a job of a worker, stderr has the messages that the worker has
/// sent about it, one on each line.
#[derive(Debug, Clone)]
pub struct JobOutput {
    /// Returns the number of the attempt that prints; the first is 1.
    attempt: u32,
    /// The progress that the attempt had reported when its output was asked for.
    progress: Option<Step>,
    /// The buffer of the output. It does not change after the end of the attempt.
    printed: Arc<AttemptOutput>,
}

impl JobOutput {
    /// Makes the output of an attempt from what its command prints, or from what its worker says about it.
    pub(super) fn new(
        attempt: u32,
        printed: Option<Arc<AttemptOutput>>,
        messages: Option<&AttemptMessages>,
    ) -> Self {
        let messages = messages.filter(|messages| messages.attempt == attempt);
        let lines = messages.map(|messages| Arc::clone(&messages.lines));
        Self {
            attempt,
            progress: messages.and_then(|messages| messages.progress.clone()),
            printed: printed.or(lines).unwrap_or_default(),
        }
    }

    /// Returns the number of the attempt that prints; the first is 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns the progress that the attempt had reported when its output was asked for.
    pub fn progress(&self) -> Option<&Step> {
        self.progress.as_ref()
    }

    /// Returns a copy of what was printed on stdout so far.
    pub fn stdout(&self) -> HeadTail {
        let [stdout, _] = self.printed.copy();
        stdout
    }

    /// Returns a copy of what was printed on stderr, or said by the worker, so far.
    pub fn stderr(&self) -> HeadTail {
        let [_, stderr] = self.printed.copy();
        stderr
    }
}
