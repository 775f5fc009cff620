//! How jobs end: in exactly one outcome each.

mod command;
mod line;
mod wire;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use ratchet_ipc::{HostName, JobKey, Payload, TaskError, TaskName};
use serde::{Deserialize, Serialize};

use crate::ids::WorkerName;
use crate::item::ItemName;
use crate::os::OutputExcerpt;
pub use command::CommandResult;
pub(crate) use wire::{Milliseconds, present};

/// What came of a job.
///
/// Serialised, it is one result line; [`VERSION`](Self::VERSION) is that of the line.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Whose outcome.
    pub id: JobKey,
    /// The item of a list that it was for.
    pub item: Option<ItemName>,
    /// What it did: its task's name, or its program's.
    pub task: TaskName,
    /// Where.
    pub host: Option<HostName>,
    /// Its result, or why there is none.
    pub result: Result<Payload, Box<Failure>>,
    /// How many attempts were charged to it; 0 if it never started.
    pub attempts: u32,
    /// Whether the result is an earlier one, used again.
    pub cached: bool,
    /// Who did it, as in `resize/2`.
    pub worker: Option<WorkerName>,
    /// How long it waited in all.
    pub queued: Duration,
    /// How long its last attempt ran.
    pub duration: Duration,
}

impl Outcome {
    /// The version of a result line, its `v`.
    pub const VERSION: u32 = 1;

    /// In one word.
    pub fn status(&self) -> Status {
        match &self.result {
            Ok(_) => Status::Succeeded,
            Err(failure) => failure.class.status(),
        }
    }

    /// How many bytes of results and of kept output it carries along.
    pub fn weight(&self) -> usize {
        match &self.result {
            Ok(payload) => payload.as_str().len(),
            Err(failure) => {
                let kept = |output: &Option<OutputExcerpt>| {
                    output.as_ref().map_or(0, |output| output.as_str().len())
                };
                kept(&failure.stdout) + kept(&failure.stderr)
            }
        }
    }

    /// Whether it succeeded.
    pub fn is_success(&self) -> bool {
        self.result.is_ok()
    }

    /// Why it did not succeed, if it did not.
    pub fn failure(&self) -> Option<&Failure> {
        self.result.as_ref().err().map(AsRef::as_ref)
    }
}

/// How a job ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It did what it should.
    Succeeded,
    /// It ran, or could not, and came to nothing.
    Failed,
    /// It took too long.
    TimedOut,
    /// Its worker died.
    Crashed,
    /// Nobody wanted it any more.
    Cancelled,
    /// A job it needs did not succeed.
    Skipped,
}

impl Status {
    /// All there are, in the order summaries tell them.
    pub const ALL: [Self; 6] = [
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Crashed,
        Self::Cancelled,
        Self::Skipped,
    ];

    /// Its name in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Crashed => "crashed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why an attempt, or a job, came to nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// What kind of failure it is.
    pub class: Class,
    /// The worker's own word for it, as in `not_found`.
    pub code: Option<Cow<'static, str>>,
    /// What happened, for people.
    pub message: String,
    /// Whether another attempt may go better.
    pub retryable: bool,
    /// How long to wait at least before another attempt.
    pub retry_after: Option<Duration>,
    /// What the worker says beyond that.
    pub data: Option<Payload>,
    /// What the program printed to stdout.
    pub stdout: Option<OutputExcerpt>,
    /// What the program, or the worker, printed to stderr. Of a worker it is the end only.
    pub stderr: Option<OutputExcerpt>,
}

impl Failure {
    /// A failure of this class, retryable if its class is.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            code: None,
            message: message.into(),
            retryable: class.is_retryable(),
            retry_after: None,
            data: None,
            stdout: None,
            stderr: None,
        }
    }

    /// Adds a word for it.
    #[must_use]
    pub fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Says whether another attempt may go better.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// Adds what was printed to stdout, if anything was.
    #[must_use]
    pub fn stdout(mut self, output: impl Into<OutputExcerpt>) -> Self {
        self.stdout = Some(output.into()).filter(|output| !output.is_nothing());
        self
    }

    /// Adds what was printed to stderr, if anything was.
    #[must_use]
    pub fn stderr(mut self, output: impl Into<OutputExcerpt>) -> Self {
        self.stderr = Some(output.into()).filter(|output| !output.is_nothing());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.message)
    }
}

impl From<TaskError> for Failure {
    /// What a worker answers: its word counts, and `message_too_large` is a class. Whether `cancelled` is more than
    /// a word knows only who may have asked for it.
    fn from(error: TaskError) -> Self {
        let class = match &*error.code {
            TaskError::TOO_LARGE => Class::TooLarge,
            _ => Class::Task,
        };
        Self {
            class,
            retryable: class.is_retryable() && error.retryable.unwrap_or(true),
            code: Some(error.code),
            message: error.message,
            retry_after: error.retry_after_ms.map(Duration::from_millis),
            data: error.data,
            stdout: None,
            stderr: None,
        }
    }
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The worker answered with an error.
    Task,
    /// A program ended with another exit code than 0.
    Exit,
    /// It took too long.
    Timeout,
    /// Its worker died.
    Crash,
    /// It killed as many workers as a job may.
    Poison,
    /// Its worker was killed for using too much memory.
    Memory,
    /// Its worker, or its program, could not be started.
    Spawn,
    /// Its worker broke the protocol.
    Protocol,
    /// A message was too large.
    TooLarge,
    /// Nobody wanted it any more.
    Cancelled,
    /// A job it needs did not succeed.
    Need,
    /// The job itself makes no sense.
    Input,
    /// Its breaker refused it, or was open for longer than it may wait.
    Breaker,
}

impl Class {
    /// All there are.
    pub const ALL: [Self; 13] = [
        Self::Task,
        Self::Exit,
        Self::Timeout,
        Self::Crash,
        Self::Poison,
        Self::Memory,
        Self::Spawn,
        Self::Protocol,
        Self::TooLarge,
        Self::Cancelled,
        Self::Need,
        Self::Input,
        Self::Breaker,
    ];

    /// Its name in results and in `retry.on`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Exit => "exit",
            Self::Timeout => "timeout",
            Self::Crash => "crash",
            Self::Poison => "poison",
            Self::Memory => "memory",
            Self::Spawn => "spawn",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::Cancelled => "cancelled",
            Self::Need => "need",
            Self::Input => "input",
            Self::Breaker => "breaker",
        }
    }

    /// Whether another attempt may go better, as far as the class says.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Task
            | Self::Exit
            | Self::Timeout
            | Self::Crash
            | Self::Memory
            | Self::Protocol
            | Self::Breaker => true,
            Self::Poison
            | Self::Spawn
            | Self::TooLarge
            | Self::Cancelled
            | Self::Need
            | Self::Input => false,
        }
    }

    /// The status of a job that ends with it.
    pub fn status(self) -> Status {
        match self {
            Self::Timeout => Status::TimedOut,
            Self::Crash | Self::Memory => Status::Crashed,
            Self::Cancelled => Status::Cancelled,
            Self::Need => Status::Skipped,
            Self::Task
            | Self::Exit
            | Self::Poison
            | Self::Spawn
            | Self::Protocol
            | Self::TooLarge
            | Self::Input
            | Self::Breaker => Status::Failed,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_ones_that_are_serialised() {
        for status in Status::ALL {
            let quoted = serde_json::to_string(&status).unwrap();
            assert_eq!(quoted, format!("\"{status}\""));
        }
        for class in Class::ALL {
            let quoted = serde_json::to_string(&class).unwrap();
            assert_eq!(quoted, format!("\"{class}\""));
        }
    }

    #[test]
    fn a_workers_answer_keeps_its_meaning() {
        let error = TaskError::new("not_found", "no such file").retryable(false);
        let failure = Failure::from(error);
        assert_eq!((failure.class, failure.retryable), (Class::Task, false));
        assert_eq!(failure.code.as_deref(), Some("not_found"));

        let busy = TaskError::new("busy", "later").retry_after(Duration::from_millis(1500));
        let failure = Failure::from(busy);
        assert!(failure.retryable);
        assert_eq!(failure.retry_after, Some(Duration::from_millis(1500)));

        let cancelled = Failure::from(TaskError::new(TaskError::CANCELLED, "stopped"));
        assert_eq!((cancelled.class, cancelled.retryable), (Class::Task, true));
    }
}
