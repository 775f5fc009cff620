//! The events of a run, by which observers follow it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ratchet_ipc::{JobKey, LogLevel, TaskName};
use serde::{Deserialize, Serialize};

use crate::breaker::BreakerReport;
use crate::ids::{PlaceName, SlotNumber, WorkerName};
use crate::item::ItemName;
use crate::outcome::{Class, Outcome};
use crate::scheduling::ParallelizationHint;

/// An event with the time at which it happened: one line of an event log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// The version of the format of this line, which is [`EventRecord::VERSION`] in lines that are written now.
    pub v: u32,
    /// When the event happened, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: RunEvent,
}

impl EventRecord {
    /// The version of the lines that this version of ratchet writes.
    pub const VERSION: u32 = 1;
}

/// Something that happened in a run.
///
/// Every sink sees the same stream. Progress, logs, result lines and summaries are made from it alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunEvent {
    /// A run has begun.
    RunStarted {
        /// How many jobs the run has, if that is known when it begins.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
    },
    /// A run entered the next phase on the way to its end.
    RunStopping {
        /// The phase: `draining`, `cancelling` or `killing`.
        phase: String,
        /// Why the run stops, as text for people.
        reason: String,
    },
    /// A run has ended.
    RunEnded {
        /// How many jobs ended in the run, whatever their outcome.
        total: u64,
        /// How many of these jobs succeeded.
        succeeded: u64,
    },
    /// The run took a job from its source.
    JobQueued {
        /// The id of the job.
        id: JobKey,
        /// The name of the job's task, or of its program.
        task: TaskName,
        /// The hint that the job itself names. One that is declared for its task is told by
        /// [`HintsDeclared`](RunEvent::HintsDeclared).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<ParallelizationHint>,
    },
    /// Hints of tasks became known: the program that made the executor set them, or a worker declared them in its hello. They
    /// hold for the jobs of these tasks that name no hint.
    HintsDeclared {
        /// The hints by the names of their tasks.
        hints: BTreeMap<String, ParallelizationHint>,
    },
    /// An attempt of a job has begun.
    AttemptStarted {
        /// The id of the job.
        id: JobKey,
        /// The item of a list that the job is for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<ItemName>,
        /// The number of the attempt. The first attempt at a job is 1.
        attempt: u32,
        /// The slot that the attempt holds, or the first one if it holds several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot: Option<SlotNumber>,
        /// The worker that performs the attempt. There is none for a command or a closure.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<WorkerName>,
        /// The place where the attempt runs. There is none for the machine of the executor itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<PlaceName>,
    },
    /// An attempt reported its progress.
    AttemptProgress {
        /// The id of the job.
        id: JobKey,
        /// How much of the work is done, in a unit that the worker chooses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        done: Option<f64>,
        /// How much work there is, in the same unit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<f64>,
        /// What the attempt is doing now, as text for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// A job runs for longer than its terms call slow. There is one such event for each job, whatever its number of
    /// attempts.
    JobSlow {
        /// The id of the job.
        id: JobKey,
        /// The item of a list that the job is for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<ItemName>,
        /// The number of the attempt that is slow.
        attempt: u32,
        /// How many milliseconds the attempt has run.
        after_ms: u64,
    },
    /// An attempt failed, and the job will be tried again.
    AttemptFailed {
        /// The id of the job.
        id: JobKey,
        /// The number of the attempt. The first attempt at a job is 1.
        attempt: u32,
        /// The class of the failure.
        class: Class,
        /// What went wrong, as text for people.
        message: String,
        /// How many milliseconds from now the next attempt may begin at the earliest.
        retry_in_ms: u64,
    },
    /// A job has ended.
    JobEnded {
        /// The outcome of the job.
        outcome: Arc<Outcome>,
    },
    /// Results that were already reported may be wrong, because the filter that gave them proved to be out of step.
    /// `ratchet resume` does these jobs again.
    JobsSuspect {
        /// The ids of the jobs whose results may be wrong.
        ids: Vec<JobKey>,
        /// The worker that gave these results.
        worker: WorkerName,
        /// What proved that the worker was out of step, as text for people.
        reason: String,
    },
    /// A worker sent a log message, or printed a line that is no message of the protocol.
    Log {
        /// The id of the job that the message is about, if the worker named one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<JobKey>,
        /// The worker that sent the message.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<WorkerName>,
        /// How important the message is.
        level: LogLevel,
        /// The text of the message.
        message: String,
    },
    /// A worker, or a kind of worker, changed its state.
    Worker(WorkerNews),
    /// A breaker opened, closed, or began to probe.
    BreakerChanged(BreakerReport),
    /// A named limit was changed while the run was going on.
    LimitChanged {
        /// The name of the limit.
        name: String,
        /// The new limit, as users write it.
        limit: String,
    },
    /// The run began to hold back new jobs because the machine is short of something, or stopped doing so.
    Admission {
        /// Why new jobs are held back. It is absent once they may start again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held: Option<String>,
    },
    /// The machine is short of memory or of processors.
    ResourceWarning {
        /// What the machine is short of: `memory` or `cpu`.
        resource: String,
        /// How much of that is used, in percent.
        percent: f64,
    },
}

/// A change in the life of a worker, or of a kind of worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "news", rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkerNews {
    /// The process of a worker was started.
    Started {
        /// The name of the worker.
        worker: WorkerName,
        /// The process id of the worker.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        system_id: Option<u32>,
    },
    /// A worker has finished its handshake and takes work.
    Ready {
        /// The name of the worker.
        worker: WorkerName,
        /// How many milliseconds passed from its start until it was ready.
        after_ms: u64,
    },
    /// The process of a worker has ended.
    Ended {
        /// The name of the worker.
        worker: WorkerName,
        /// How the worker ended, as in `was killed by signal 9 (SIGKILL)`.
        cause: String,
        /// Whether ratchet did not ask the worker to end. Such an end counts as a failure of its kind.
        unexpected: bool,
    },
    /// Workers of a kind failed, and the next start of one is delayed.
    Waiting {
        /// The name of the kind.
        kind: String,
        /// How long the next start is delayed.
        delay: Duration,
    },
    /// Workers of a kind failed so often that no more of them are started.
    Broken {
        /// The name of the kind.
        kind: String,
        /// Why the kind was given up, as text for people.
        reason: String,
    },
}
