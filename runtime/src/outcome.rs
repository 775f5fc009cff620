//! How jobs end: in exactly one outcome each.

mod attempts;
mod command;
mod line;
mod usage;
mod wire;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use ratchet_ipc::{HostName, JobKey, Payload, TaskError, TaskName, error_chain};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::ids::{PlaceName, SlotNumber, WorkerName};
use crate::item::ItemName;
use crate::os::OutputExcerpt;
use crate::scheduling::Waits;
pub(crate) use crate::status::Status;
use crate::timestamp::Timestamp;
pub use attempts::{AttemptDetail, AttemptEnd, Attempts, LeftOut};
pub use command::CommandResult;
pub use line::AttemptsShown;
pub use usage::AttemptUsage;
pub(crate) use wire::Milliseconds;
#[cfg(feature = "journal")]
pub(crate) use wire::present;

/// How a job ended, with its result or its failure.
///
/// The age of a job is the time from its arrival to its end. It is the sum of [`waits`](Self::waits) and of the
/// durations of all [attempts](Self::attempts_detail).
///
/// Serialised, an outcome is one result line; [`VERSION`](Self::VERSION) is the version of the line. Unknown values are
/// absent from the line, as are the times in lines of versions that wrote none.
///
/// ```
/// use ratchet_runtime::{Outcome, Payload};
///
/// let outcome = Outcome {
///     attempts: 1,
///     host: Some("web1".into()),
///     ..Outcome::new("a", "resize", Ok(Payload::null()))
/// };
/// assert!(outcome.is_success());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The id of the job.
    pub id: JobKey,
    /// The item of a list that the job was for.
    pub item: Option<ItemName>,
    /// The name of the job's task, or of its program.
    pub task: TaskName,
    /// The host that the job named.
    pub host: Option<HostName>,
    /// The result of the job, or the failure that is the reason why there is none.
    pub result: Result<Payload, Box<Failure>>,
    /// How many attempts were charged to the job; 0 if it never started.
    pub attempts: u32,
    /// Whether the result is an earlier one that was reused.
    pub cached: bool,
    /// The worker that performed the last attempt, as in `resize/2`.
    pub worker: Option<WorkerName>,
    /// How long the job waited in all.
    pub queued: Duration,
    /// How long the last attempt ran.
    pub duration: Duration,
    /// The place where the last attempt ran; `None` for the machine of the executor.
    pub place: Option<PlaceName>,
    /// The slot that the last attempt held, or the first of them.
    pub slot: Option<SlotNumber>,
    /// When the first attempt began.
    pub started: Option<Timestamp>,
    /// When the job ended.
    pub ended: Option<Timestamp>,
    /// How long the job waited, by the reason.
    pub waits: Waits,
    /// The last attempt's usage of the machine, as far as it is known.
    pub usage: Option<Box<AttemptUsage>>,
    /// The attempts one by one, if the fields above do not describe them all: see
    /// [`attempts_detail`](Self::attempts_detail).
    pub several: Option<Box<Attempts>>,
    /// Whether the ledger could not record the outcome, so that a run that resumes this one does the job again. The run
    /// stops after such a failure.
    pub unrecorded: bool,
}

impl Outcome {
    /// The version of a result line, its `v`.
    pub const VERSION: u32 = 1;

    /// Makes the outcome of a job that never started. All other fields are empty.
    pub fn new(
        id: impl Into<JobKey>,
        task: impl Into<TaskName>,
        result: Result<Payload, Failure>,
    ) -> Self {
        Self {
            id: id.into(),
            item: None,
            task: task.into(),
            host: None,
            result: result.map_err(Box::new),
            attempts: 0,
            cached: false,
            worker: None,
            queued: Duration::ZERO,
            duration: Duration::ZERO,
            place: None,
            slot: None,
            started: None,
            ended: None,
            waits: Waits::default(),
            usage: None,
            several: None,
            unrecorded: false,
        }
    }

    /// Returns the outcome in one word.
    pub fn status(&self) -> Status {
        match &self.result {
            Ok(_) => Status::Succeeded,
            Err(failure) => failure.class.status(),
        }
    }

    /// Returns how many bytes of results and of kept output the outcome holds in memory.
    pub fn weight(&self) -> usize {
        let item = self.item.as_ref().map_or(0, |item| item.as_str().len());
        let last = item
            + match &self.result {
                Ok(payload) => payload.as_str().len(),
                Err(failure) => failure.output_bytes(),
            };
        let Some(several) = &self.several else {
            return last;
        };
        let earlier = several.listed().iter();
        let earlier = earlier.filter_map(|attempt| attempt.failure.as_ref());
        last + earlier.map(|failure| failure.output_bytes()).sum::<usize>()
    }

    /// Whether the job succeeded.
    pub fn is_success(&self) -> bool {
        self.result.is_ok()
    }

    /// Whether the job succeeded only after an attempt had failed.
    pub fn is_flaky(&self) -> bool {
        self.is_success() && self.attempts > 1 && !self.cached
    }

    /// Reads the result as a value of this type. If the job has no result, the error names the job and the reason.
    ///
    /// ```
    /// use ratchet_runtime::{Class, Failure, Outcome, Payload};
    ///
    /// let done = Outcome::new("a", "count", Ok(Payload::from_value(&12)?));
    /// assert_eq!(done.read::<u32>()?, 12);
    ///
    /// let lost = Outcome::new("b", "count", Err(Failure::new(Class::Task, "no such file")));
    /// assert_eq!(lost.read::<u32>().unwrap_err().to_string(), "job `b` has no result: no such file");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let payload = self.result.as_ref().map_err(|failure| Error::NoResult {
            job: self.id.to_string(),
            reason: failure.to_string(),
        })?;
        payload.read().map_err(|error| Error::UnreadableResult {
            job: self.id.to_string(),
            reason: error.to_string(),
        })
    }

    /// Returns the failure of the job; `None` if it succeeded.
    pub fn failure(&self) -> Option<&Failure> {
        self.result.as_ref().err().map(AsRef::as_ref)
    }
}

/// Why an attempt, or a job, has no result.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The kind of the failure, which retry policies name.
    pub class: Class,
    /// The failure code that the worker gave, as in `not_found`.
    pub code: Option<Cow<'static, str>>,
    /// What happened, for people.
    pub message: String,
    /// Whether another attempt may succeed.
    pub retryable: bool,
    /// The least time to wait before another attempt, if the worker asks for one.
    pub retry_after: Option<Duration>,
    /// Further data of the worker about the failure.
    pub data: Option<Payload>,
    /// What the program printed to stdout.
    pub stdout: Option<OutputExcerpt>,
    /// What the program, or the worker, printed to stderr. For a worker only the end is kept.
    pub stderr: Option<OutputExcerpt>,
}

impl Failure {
    /// Returns how many bytes of output the failure holds in memory.
    fn output_bytes(&self) -> usize {
        let kept = |output: &Option<OutputExcerpt>| {
            output.as_ref().map_or(0, |output| output.as_str().len())
        };
        kept(&self.stdout) + kept(&self.stderr)
    }

    /// Makes a failure of this class. It is retryable if failures of the class usually are.
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

    /// Makes the failure of an attempt that has stopped because it was asked to, so that its job counts as cancelled.
    pub fn cancelled() -> Self {
        Self::new(Class::Cancelled, "the attempt was asked to stop")
    }

    /// Sets the failure code.
    #[must_use]
    pub fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Sets whether another attempt may succeed.
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
        f.write_str(&self.message)
    }
}

/// Makes a failure of any error, of a box of one, or of a text, so that `?` works in closures and runners.
///
/// The failure is of the class `task`, and its message includes the causes of the error.
///
/// ```
/// use ratchet_runtime::{Class, Failure};
///
/// fn port(text: &str) -> Result<u16, Failure> {
///     Ok(text.parse()?)
/// }
/// let failure = port("http").unwrap_err();
/// assert_eq!(failure.class, Class::Task);
/// assert_eq!(failure.to_string(), "invalid digit found in string");
/// ```
// `Failure` does not implement `std::error::Error`, or this would contradict the conversion of every type into itself.
impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Class::Task, error_chain(&*error.into()))
    }
}

/// Lets `?` pass a failure on from a function that returns any error.
impl From<Failure> for Box<dyn std::error::Error> {
    fn from(failure: Failure) -> Self {
        failure.message.into()
    }
}

impl Failure {
    /// Makes the failure of a worker's answer. Only the code `message_too_large` has a class of its own. The code
    /// `cancelled` does not give the class `cancelled`: only the host knows whether it asked the worker to stop.
    pub fn from_answer(error: TaskError) -> Self {
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

/// The kind of a failure, which retry policies name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The worker answered with an error.
    Task,
    /// A program ended with an exit code other than 0, or by a signal.
    Exit,
    /// An attempt, or the wait for the first one, took longer than it may.
    Timeout,
    /// The worker died, or a closure panicked.
    Crash,
    /// The job crashed as many workers as a job may.
    Poison,
    /// The worker was killed because it used too much memory.
    Memory,
    /// The worker, or the program, could not be started.
    Spawn,
    /// The worker broke the protocol.
    Protocol,
    /// A message to the worker or from it was too large.
    TooLarge,
    /// The run stopped, or a user stopped the job.
    Cancelled,
    /// A job that this one needs did not succeed.
    Need,
    /// The job itself is wrong: for example, it names an unknown task.
    Input,
    /// A breaker refused the job, or was open for longer than the job may wait.
    Breaker,
    /// The host on which the attempt ran was lost.
    Host,
    /// No host on which the job may run can be reached.
    Unreachable,
    /// Files could not be copied to the host, or back from it.
    Transfer,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 16] = [
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
        Self::Host,
        Self::Unreachable,
        Self::Transfer,
    ];

    /// Returns the name of the class in result lines and in `retry.on`.
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
            Self::Host => "host",
            Self::Unreachable => "unreachable",
            Self::Transfer => "transfer",
        }
    }

    /// Whether another attempt may succeed, judged by the class alone.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Task
            | Self::Exit
            | Self::Timeout
            | Self::Crash
            | Self::Memory
            | Self::Protocol
            | Self::Breaker
            | Self::Host
            | Self::Transfer => true,
            Self::Poison
            | Self::Spawn
            | Self::TooLarge
            | Self::Cancelled
            | Self::Need
            | Self::Input
            | Self::Unreachable => false,
        }
    }

    /// Returns the status of a job that ends with a failure of this class.
    pub fn status(self) -> Status {
        match self {
            Self::Timeout => Status::TimedOut,
            Self::Crash | Self::Memory | Self::Host => Status::Crashed,
            Self::Cancelled => Status::Cancelled,
            Self::Need => Status::Skipped,
            Self::Task
            | Self::Exit
            | Self::Poison
            | Self::Spawn
            | Self::Protocol
            | Self::TooLarge
            | Self::Input
            | Self::Breaker
            | Self::Unreachable
            | Self::Transfer => Status::Failed,
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
    fn statuses_and_classes_are_serialised_by_their_names() {
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
    fn the_failure_of_a_worker_keeps_its_code_and_whether_to_retry() {
        let error = TaskError::new("not_found", "no such file").retryable(false);
        let failure = Failure::from_answer(error);
        assert_eq!((failure.class, failure.retryable), (Class::Task, false));
        assert_eq!(failure.code.as_deref(), Some("not_found"));

        let busy = TaskError::new("busy", "later").retry_after(Duration::from_millis(1500));
        let failure = Failure::from_answer(busy);
        assert!(failure.retryable);
        assert_eq!(failure.retry_after, Some(Duration::from_millis(1500)));

        let cancelled = Failure::from_answer(TaskError::new(TaskError::CANCELLED, "stopped"));
        assert_eq!((cancelled.class, cancelled.retryable), (Class::Task, true));
    }
}
