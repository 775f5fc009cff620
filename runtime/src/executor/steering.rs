//! What a run answers to whoever asks about single jobs, or steers them.

use super::said::Said;
use super::snapshot::{RunningJob, WaitingJob};
use crate::context::Step;
use crate::os::{HeadTail, Stream};

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

/// What a running job has printed so far.
///
/// Of a command these are its stdout and stderr. Of a job of a worker, `stderr` has the messages that the worker has sent
/// about it, a line each.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JobOutput {
    /// The attempt that prints; the first is 1.
    pub attempt: u32,
    /// What it has printed on stdout.
    pub stdout: HeadTail,
    /// What it has printed on stderr, or said.
    pub stderr: HeadTail,
    /// How far the attempt says that it has come.
    pub progress: Option<Step>,
}

impl JobOutput {
    /// Makes the output of an attempt, from what its command has printed, and from what its worker has said about it.
    pub(super) fn new(attempt: u32, printed: Option<[HeadTail; 2]>, said: Option<&Said>) -> Self {
        let said = said.filter(|said| said.attempt == attempt);
        let progress = said.and_then(|said| said.progress.clone());
        let [stdout, stderr] = printed.unwrap_or_else(|| {
            let none = HeadTail::new(0, 0);
            let lines = said.map_or_else(|| none.clone(), |said| said.lines.clone());
            [none, lines]
        });
        Self {
            attempt,
            stdout,
            stderr,
            progress,
        }
    }

    /// What was printed on one of the streams.
    pub fn of(&self, stream: Stream) -> &HeadTail {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }
}
