//! All that an observer of a run may know, as one stream of events.

use std::sync::Arc;
use std::time::Duration;

use ratchet_ipc::{JobKey, LogLevel, TaskName};
use serde::{Deserialize, Serialize};

use crate::breaker::BreakerReport;
use crate::ids::{SlotNumber, WorkerName};
use crate::item::ItemName;
use crate::outcome::{Class, Outcome};

/// Something that happened, and when: one line of an event log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the line: [`Record::VERSION`].
    pub v: u32,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl Record {
    /// The version that is written.
    pub const VERSION: u32 = 1;
}

/// What happened.
///
/// Every sink sees the same stream: progress, logs, result lines and summaries are made of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A run has begun.
    RunStarted {
        /// How many jobs it has, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
    },
    /// A run goes over to its next phase on the way to its end.
    RunStopping {
        /// Which: `draining`, `cancelling` or `killing`.
        phase: String,
        /// Why.
        reason: String,
    },
    /// A run has ended.
    RunEnded {
        /// How many jobs it ended.
        total: u64,
        /// How many of them succeeded.
        succeeded: u64,
    },
    /// A job was taken in.
    JobQueued {
        /// Whose id.
        id: JobKey,
        /// What it does.
        task: TaskName,
    },
    /// An attempt has begun.
    AttemptStarted {
        /// Whose.
        id: JobKey,
        /// The item of a list that the job is for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<ItemName>,
        /// Which attempt it is; the first is 1.
        attempt: u32,
        /// The slot that it fills, or the first of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot: Option<SlotNumber>,
        /// On which worker, if on one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<WorkerName>,
    },
    /// An attempt tells how far it has come.
    AttemptProgress {
        /// Whose.
        id: JobKey,
        /// How much is done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        done: Option<f64>,
        /// Of how much.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<f64>,
        /// What it is doing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// An attempt failed, and another follows.
    AttemptFailed {
        /// Whose.
        id: JobKey,
        /// Which; the first is 1.
        attempt: u32,
        /// What kind of failure.
        class: Class,
        /// What happened.
        message: String,
        /// When it is tried again at the earliest, from now.
        retry_in_ms: u64,
    },
    /// A job has ended.
    JobEnded {
        /// How.
        outcome: Arc<Outcome>,
    },
    /// Results that were reported before may be wrong: the filter that gave them proved to be out of step. A run that
    /// goes on does these jobs again.
    JobsSuspect {
        /// Whose results.
        ids: Vec<JobKey>,
        /// Which worker gave them.
        worker: WorkerName,
        /// How it showed.
        reason: String,
    },
    /// A worker said something, or printed what is no message.
    Log {
        /// About whose attempt, if about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<JobKey>,
        /// Which worker.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<WorkerName>,
        /// How important.
        level: LogLevel,
        /// What.
        message: String,
    },
    /// What became of a worker.
    Worker(WorkerNews),
    /// A breaker has changed its state.
    BreakerChanged(BreakerReport),
    /// A named limit was changed.
    LimitChanged {
        /// Which.
        name: String,
        /// What it is now.
        limit: String,
    },
    /// New jobs are held back, or no longer.
    Admission {
        /// Why they are held back; nothing when they no longer are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held: Option<String>,
    },
    /// The machine is short of something.
    ResourceWarning {
        /// Of what: `memory` or `cpu`.
        resource: String,
        /// How much of it is used, in percent.
        percent: f64,
    },
}

/// What became of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "news", rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkerNews {
    /// It was started.
    Started {
        /// Which.
        worker: WorkerName,
        /// Its process, as the system numbers it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        system_id: Option<u32>,
    },
    /// It takes work.
    Ready {
        /// Which.
        worker: WorkerName,
        /// How long it took to get there.
        after_ms: u64,
    },
    /// It is gone.
    Ended {
        /// Which.
        worker: WorkerName,
        /// How it came about, as in `was killed by signal 9 (SIGKILL)`.
        cause: String,
        /// Nobody wanted it to end: it counts as a failure of its kind.
        unexpected: bool,
    },
    /// Its kind failed, and the next start waits.
    Waiting {
        /// The kind.
        kind: String,
        /// How long.
        delay: Duration,
    },
    /// Its kind is given up.
    Broken {
        /// The kind.
        kind: String,
        /// Why.
        reason: String,
    },
}
