//! Snapshots of a run: which jobs run at one moment, and what each waiting job waits for.

mod causes;
mod input;
mod making;
mod tokens;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ratchet_ipc::JobKey;

pub(super) use self::input::SnapshotInput;
use crate::context::Step;
use crate::ids::{PlaceName, SlotNumber, WorkerName};
use crate::job::Job;
use crate::scheduling::{Blocker, Limit, LimitState, ResourceShare};

/// How many of the jobs that a waiting job waits for are named.
const NAMED: usize = 3;

/// The running and waiting jobs of a run at one moment.
///
/// It leaves out the jobs that were not pulled from their source yet, and those with an answer of a filter that is not
/// confirmed yet.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Snapshot {
    /// The running jobs, the one that has run longest first.
    pub running: Vec<RunningJob>,
    /// The waiting jobs, the one that has waited longest first.
    pub waiting: Vec<WaitingJob>,
    /// The named limits, each with what is left of it.
    pub limits: Vec<(String, LimitState)>,
}

/// A job that runs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunningJob {
    /// The job that runs.
    pub job: Arc<Job>,
    /// The number of the attempt; the first is 1.
    pub attempt: u32,
    /// The place where the attempt runs; `None` for the machine of the executor.
    pub place: Option<PlaceName>,
    /// The first slot that the attempt holds.
    pub slot: Option<SlotNumber>,
    /// The worker that performs the attempt, if one does.
    pub worker: Option<WorkerName>,
    /// The progress that the attempt has reported last.
    pub progress: Option<Step>,
    /// How long this attempt has been running.
    pub age: Duration,
    /// The resources that the job holds.
    pub resources: Vec<ResourceShare>,
}

/// A job that waits.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WaitingJob {
    /// The job that waits.
    pub job: Arc<Job>,
    /// How long it has been waiting.
    pub age: Duration,
    /// What the job waits for.
    pub cause: WaitCause,
}

/// What a job waits for. If it waits for several things, this is the first one that the snapshot has found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitCause {
    /// Jobs that have to succeed first.
    Needs(Vec<JobKey>),
    /// The delay before another attempt.
    Retry {
        /// How much of the delay is left.
        left: Duration,
    },
    /// The run is paused.
    Paused,
    /// A breaker that lets no attempt through.
    Breaker {
        /// After what time the breaker is asked again.
        left: Duration,
    },
    /// The cache, which looks for an earlier result, or is about to pass on that of an equal job.
    Cache,
    /// The result of this job, which has started and is equal: it has the same cache key.
    Equal(JobKey),
    /// A connection to a host: none of the hosts on which the job may run is connected.
    Connect,
    /// The lock of its host.
    Host {
        /// The host; it is empty for jobs without a host.
        host: String,
        /// The jobs that run under the lock.
        held_by: Vec<JobKey>,
    },
    /// Another job has the global lock.
    Global {
        /// The jobs that run under the lock.
        held_by: Vec<JobKey>,
    },
    /// A unit or a token of a named limit.
    Limit {
        /// The name of the limit.
        name: String,
        /// What the limit allows.
        limit: Limit,
        /// The time until there is a token for the job, if the limit is a rate. The jobs before it in line take theirs first.
        next: Option<Duration>,
        /// Some of the running jobs that hold a unit of the limit. Nobody holds the tokens of a rate.
        held_by: Vec<JobKey>,
    },
    /// Units of a resource.
    Resource {
        /// The name of the resource.
        name: String,
        /// The running jobs that have some of it.
        held_by: Vec<JobKey>,
    },
    /// A token of the rate in its own hint.
    Rate {
        /// The key of the rate.
        key: String,
        /// The time until there is a token for the job. The jobs before it in line take theirs first.
        next: Duration,
    },
    /// Starts are held back, for this reason.
    Held(String),
    /// A free worker of this kind.
    Worker(String),
    /// The end of all running jobs, because the job has to be alone.
    Quiet,
    /// The end of this job, which has to be alone.
    Alone(JobKey),
    /// All slots are filled, or too few are free for this job.
    Slot,
    /// Its turn: another job has reserved what it needs, or it is about to start.
    Turn,
}

impl WaitCause {
    /// Returns the blocker that is charged for this cause, whose [`Blocker::word`] stands in result lines. Several
    /// causes share a blocker.
    pub fn blocker(&self) -> Blocker {
        match self {
            Self::Needs(_) => Blocker::Needs,
            Self::Retry { .. } => Blocker::Retry,
            Self::Paused => Blocker::Paused,
            Self::Breaker { .. } => Blocker::Breaker,
            Self::Cache | Self::Equal(_) => Blocker::Cache,
            Self::Connect => Blocker::Connect,
            Self::Host { .. } => Blocker::Host,
            Self::Global { .. } => Blocker::Global,
            Self::Limit { name, .. } => Blocker::of_limit(name),
            Self::Rate { .. } => Blocker::Rate,
            Self::Resource { name, .. } => Blocker::Resource(name.as_str().into()),
            Self::Held(_) => Blocker::Admission,
            Self::Worker(_) => Blocker::Worker,
            Self::Quiet | Self::Alone(_) | Self::Slot | Self::Turn => Blocker::Slot,
        }
    }

    /// Returns how long until the job may continue by itself, if that is known.
    pub fn left(&self) -> Option<Duration> {
        match self {
            Self::Retry { left } | Self::Breaker { left } => Some(*left),
            Self::Limit { next, .. } => *next,
            Self::Rate { next, .. } => Some(*next),
            _ => None,
        }
    }
}

impl fmt::Display for WaitCause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = |out: &mut fmt::Formatter<'_>, held_by: &[JobKey]| {
            if held_by.is_empty() {
                return Ok(());
            }
            write!(out, ", held by {}", names(held_by))
        };
        match self {
            Self::Needs(needs) => write!(out, "needs {}", names(needs)),
            Self::Retry { .. } => out.write_str("waits to be tried again"),
            Self::Paused => out.write_str("waits: the run is paused"),
            Self::Cache => out.write_str("waits for the cache"),
            Self::Equal(job) => write!(out, "waits for the result of {job}, which does the same"),
            Self::Breaker { .. } => out.write_str("waits for a breaker to let it through"),
            Self::Connect => out.write_str("waits for a connection to a host"),
            Self::Host { host, held_by } => {
                if host.is_empty() {
                    out.write_str("waits for the lock of jobs without a host")?;
                } else {
                    write!(out, "waits for host {host}")?;
                }
                held(out, held_by)
            }
            Self::Global { held_by } => {
                out.write_str("waits for the global lock")?;
                held(out, held_by)
            }
            Self::Limit { name, held_by, .. } => {
                write!(out, "waits for limit {name}")?;
                held(out, held_by)
            }
            Self::Rate { key, .. } => write!(out, "waits for the rate of {key}"),
            Self::Resource { name, held_by } => {
                write!(out, "waits for resource {name}")?;
                held(out, held_by)
            }
            Self::Held(reason) => write!(out, "is held back: {reason}"),
            Self::Worker(kind) => write!(out, "waits for a worker {kind}"),
            Self::Quiet => out.write_str("waits until nothing else runs"),
            Self::Alone(job) => write!(out, "waits for {job}, which has to be alone"),
            Self::Slot => out.write_str("waits for a slot"),
            Self::Turn => out.write_str("waits for its turn"),
        }
    }
}

/// Joins the first few names of jobs for a message.
fn names(jobs: &[JobKey]) -> String {
    let named: Vec<&str> = jobs.iter().take(NAMED).map(JobKey::as_str).collect();
    let more = jobs.len() - named.len();
    if more > 0 {
        format!("{} and {more} more", named.join(", "))
    } else {
        named.join(", ")
    }
}
