//! What a run answers to whoever asks about single jobs, or steers them.

use std::sync::Arc;

use super::attempt_messages::AttemptMessages;
use super::snapshot::{RunningJob, WaitingJob};
use crate::context::{AttemptOutput, Step};
use crate::os::HeadTail;

/// Where a job of a run stands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum JobState {
    /// The run knows the job, and has not taken it in yet: there is no room.
    Pending,
    /// The job waits.
    Waiting(WaitingJob),
    /// The job runs.
    Running(RunningJob),
}

/// What became of the wish to cancel a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancellation {
    /// The job had not started, or waited for another attempt, and ends as cancelled.
    Ended,
    /// The job runs and was asked to stop. It ends as cancelled, unless it succeeds before it hears of that. One that is
    /// asked a second time is killed.
    Asked,
    /// The run knows no job of this id: it has ended, or has not come yet.
    Unknown,
}

/// What a job has printed so far, and goes on to print as long as its attempt runs.
///
/// Of a command these are its stdout and stderr. Of a job of a worker, stderr has the messages that the worker has sent
/// about it, a line each.
#[derive(Debug, Clone)]
pub struct JobOutput {
    /// The attempt that prints; the first is 1.
    attempt: u32,
    /// How far the attempt says that it has come.
    progress: Option<Step>,
    /// What it prints. It stays as it is when the attempt has ended.
    printed: Arc<AttemptOutput>,
}

impl JobOutput {
    /// Makes the output of an attempt, from what its command prints, and from what its worker says about it.
    pub(super) fn new(
        attempt: u32,
        printed: Option<Arc<AttemptOutput>>,
        said: Option<&AttemptMessages>,
    ) -> Self {
        let said = said.filter(|said| said.attempt == attempt);
        let lines = said.map(|said| Arc::clone(&said.lines));
        Self {
            attempt,
            progress: said.and_then(|said| said.progress.clone()),
            printed: printed.or(lines).unwrap_or_default(),
        }
    }

    /// The attempt that prints; the first is 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How far the attempt said that it had come when it was asked for.
    pub fn progress(&self) -> Option<&Step> {
        self.progress.as_ref()
    }

    /// Copies what was printed on stdout by now.
    pub fn stdout(&self) -> HeadTail {
        let [stdout, _] = self.printed.copy();
        stdout
    }

    /// Copies what was printed on stderr, or said, by now.
    pub fn stderr(&self) -> HeadTail {
        let [_, stderr] = self.printed.copy();
        stderr
    }
}
