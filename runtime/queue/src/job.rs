//! Jobs of a queue: what a submitter asks for, and what the queue answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How a job ended: the word that outcomes of the runtime have, too.
pub use ratchet_runtime::Status as FinalStatus;
use ratchet_runtime::{Limit, ParallelizationHint, Priority, Quota, Resource};
use smol_str::SmolStr;

use crate::error::Error;
use crate::names::{JobName, Label, check};

/// What a submitter asks for: one job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSpec {
    /// The name of the job, which no other job of the queue has.
    pub name: JobName,
    /// The task that the job does. Only nodes that can do this task claim it. It is also the rate key of a rate-limited job
    /// that names no key.
    pub task: SmolStr,
    /// How parallel the job may be, over all nodes.
    pub hint: ParallelizationHint,
    /// The host that the job concerns, wherever it runs. Jobs without one are on one host, which has no name.
    pub host: Option<SmolStr>,
    /// How urgent the job is.
    pub priority: Priority,
    /// How many slots of its node the job fills.
    pub slots: u32,
    /// What the node that does the job must have.
    pub labels: Vec<Label>,
    /// The limits that the job counts against. They are declared with [`Engine::declare`](crate::Engine::declare).
    pub limits: Vec<SmolStr>,
    /// The resources that the job takes while it runs, each with the number of units.
    pub resources: Vec<(SmolStr, u64)>,
    /// The jobs that must have succeeded before this one starts. If one of them does not, this job is skipped.
    pub needs: Vec<JobName>,
    /// How long after its submission the job may start, by the clock of the queue.
    pub delay: Duration,
    /// The job ends as [`Crashed`](FinalStatus::Crashed) when this many nodes were lost while they ran it.
    pub crash_limit: u32,
    /// How long the job may wait for a node that can do it. It ends as [`Failed`](FinalStatus::Failed) when for this long no
    /// living node could, although nothing else kept it from its turn; `None` if it may wait for ever.
    pub unservable_after: Option<Duration>,
    /// What the node needs to do the job. The queue does not read it.
    pub payload: Arc<[u8]>,
}

impl JobSpec {
    /// Makes a fully parallel job of one slot and normal priority, without a payload.
    pub fn new(name: JobName, task: &str) -> Self {
        Self {
            name,
            task: task.into(),
            hint: ParallelizationHint::FullyParallel,
            host: None,
            priority: Priority::Normal,
            slots: 1,
            labels: Vec::new(),
            limits: Vec::new(),
            resources: Vec::new(),
            needs: Vec::new(),
            delay: Duration::ZERO,
            crash_limit: 3,
            unservable_after: None,
            payload: [].into(),
        }
    }

    /// Refuses what no queue takes, whatever is declared in it.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check("task", &self.task)?;
        if let Some(host) = self.host.as_deref().filter(|host| !host.is_empty()) {
            check("host", host)?;
        }
        for limit in &self.limits {
            check("limit", limit)?;
        }
        for (resource, _) in &self.resources {
            check("resource", resource)?;
        }
        if let ParallelizationHint::RateLimited { key: Some(key), .. } = &self.hint {
            check("rate key", key)?;
        }
        if let Some(quota) = self.hint.quota()? {
            crate::rates::check(quota)?;
        }
        let refuse = |reason| {
            Err(Error::InvalidJob {
                job: self.name.clone(),
                reason,
            })
        };
        if self.slots == 0 {
            return refuse("fills no slot, so no node could start it");
        }
        if self.crash_limit == 0 {
            return refuse("has a crash limit of 0, so it would end before it began");
        }
        if self.needs.contains(&self.name) {
            return refuse("needs itself, so it could never start");
        }
        Ok(())
    }

    /// Returns the rate key of the job with its quota, if its hint has one.
    pub(crate) fn rate(&self) -> Result<Option<(SmolStr, Quota)>, Error> {
        let quota = self.hint.quota()?;
        let key = match &self.hint {
            ParallelizationHint::RateLimited { key: Some(key), .. } => key.into(),
            _ => self.task.clone(),
        };
        Ok(quota.map(|quota| (key, quota)))
    }

    /// Returns its labels, each once.
    pub(crate) fn sorted_labels(&self) -> Vec<Label> {
        let mut labels = self.labels.clone();
        labels.sort_unstable();
        labels.dedup();
        labels
    }

    /// Returns its limits, each once.
    pub(crate) fn sorted_limits(&self) -> Vec<SmolStr> {
        let mut limits = self.limits.clone();
        limits.sort_unstable();
        limits.dedup();
        limits
    }

    /// Whether the job is the only one of its sort on its host.
    pub(crate) fn claims_host(&self) -> bool {
        matches!(
            self.hint,
            ParallelizationHint::HostExclusive | ParallelizationHint::GlobalExclusive
        )
    }

    /// Returns what the job claims: gates by a letter and a name, each with the units that it takes, in the order in which
    /// they are looked at.
    ///
    /// The letters are `h` for a host, `g` for the global lock, `k` for a rate key, `l` for a limit, `u` for a resource and
    /// `a` for being alone.
    pub(crate) fn claims(&self) -> Vec<(String, u64)> {
        let mut gates: Vec<(String, u64)> = Vec::new();
        if self.claims_host() {
            gates.push((format!("h:{}", self.host.as_deref().unwrap_or_default()), 1));
        }
        if self.hint == ParallelizationHint::GlobalExclusive {
            gates.push(("g:".to_owned(), 1));
        }
        // A rate that is not valid was refused before.
        if let Ok(Some((key, _))) = self.rate() {
            gates.push((format!("k:{key}"), 1));
        }
        let limits = self.sorted_limits().into_iter();
        gates.extend(limits.map(|limit| (format!("l:{limit}"), 1)));
        let units = self.units().into_iter();
        gates.extend(units.map(|(name, units)| (format!("u:{name}"), units)));
        if self.hint == ParallelizationHint::Alone {
            gates.push(("a:".to_owned(), 1));
        }
        gates
    }

    /// Returns the units that the job takes of each resource. One that is named twice is taken twice.
    pub(crate) fn units(&self) -> BTreeMap<SmolStr, u64> {
        let mut units: BTreeMap<SmolStr, u64> = BTreeMap::new();
        for (name, asked) in &self.resources {
            let sum = units.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*asked);
        }
        units
    }
}

/// The answer to the submission of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// The job is in the queue.
    Accepted,
    /// A job of this name is or was there already, and nothing has changed.
    Known(JobState),
    /// The queue is full. Submit again after jobs have ended.
    Full,
    /// The queue does not take such a job.
    Refused(Refusal),
}

/// Why a queue does not take a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No limit with this name is declared.
    #[error("limit `{name}` is not declared in this queue")]
    UnknownLimit {
        /// The name.
        name: SmolStr,
    },
    /// No resource with this name is declared.
    #[error("resource `{name}` is not declared in this queue")]
    UnknownResource {
        /// The name.
        name: SmolStr,
    },
    /// The job takes more of a resource than there is, or nothing.
    #[error("a job that takes {asked} of resource `{name}` can never run with {total} in total")]
    ImpossibleResource {
        /// The name of the resource.
        name: SmolStr,
        /// How many units the job takes.
        asked: u64,
        /// How many there are.
        total: u64,
    },
    /// The job needs one that the queue does not know, or no longer.
    #[error("it needs `{need}`, which is not in this queue")]
    UnknownNeed {
        /// The name of that job.
        need: JobName,
    },
    /// Jobs that would wait again need each other, because a name was used again for a job with other needs.
    #[error("`{need}` would wait for itself, because names of jobs that it needs were used again")]
    CircularNeed {
        /// The name of one of them.
        need: JobName,
    },
    /// Another job that has not ended uses the rate key with another rate.
    #[error(
        "rate key `{key}` has another rate already, which holds until the jobs that use it have ended"
    )]
    RateConflict {
        /// The key.
        key: SmolStr,
    },
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// The job waits, for whatever reason.
    Waiting,
    /// A node has claimed the job.
    Running,
    /// The job has ended.
    Ended(FinalStatus),
}

/// The answer to the cancellation of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// The job waited, and has ended as cancelled.
    Ended,
    /// The job runs. Its node is told when it renews its session.
    Asked,
    /// The job had ended before.
    TooLate(FinalStatus),
    /// The queue does not know the job.
    Unknown,
}

/// The answer to a call that lets a job wait again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requeued {
    /// The job had ended, and waits again.
    Waiting,
    /// The job has not ended, and nothing has changed.
    Unended(JobState),
    /// The job has succeeded. Nothing of it but its result is kept; purge it and submit it again.
    Succeeded,
    /// The queue is full. Try again after jobs have ended.
    Full,
    /// The queue would not take the job now.
    Refused(Refusal),
    /// The queue does not know the job.
    Unknown,
}

/// The answer to a call that forgets a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purged {
    /// The job had ended, and is forgotten.
    Forgotten,
    /// The job has not ended, and nothing has changed. Cancel it first.
    Unended(JobState),
    /// The queue does not know the job.
    Unknown,
}

/// Something that jobs of a queue share by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declaration {
    /// A limit. Repeating it with other numbers of the same sort changes it.
    Limit(SmolStr, Limit),
    /// A resource. It cannot be changed while the queue exists, because jobs may hold units of it.
    Resource(SmolStr, Resource),
}

impl Declaration {
    /// Refuses what no queue takes, whatever else is declared.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self {
            Self::Limit(name, limit) => {
                check("limit", name)?;
                if let Limit::Rate(quota) = limit {
                    crate::rates::check(*quota)?;
                }
            }
            Self::Resource(name, _) => ratchet_runtime::check_resource_name(name)?,
        }
        Ok(())
    }
}

/// How many jobs and nodes a queue has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStatus {
    /// How many jobs wait, for whatever reason.
    pub waiting: u64,
    /// How many jobs nodes have claimed.
    pub running: u64,
    /// How many nodes have a session.
    pub nodes: u64,
    /// Whether the queue is paused, so that no job starts.
    pub is_paused: bool,
}
