//! Nodes of a queue: what they can do, what they claim, and what they answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use crate::error::Error;
use crate::job::FinalStatus;
use crate::names::{JobName, Label, NodeId, check};

/// What a node says of itself when it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// What people call the node. Several may have one name.
    pub name: SmolStr,
    /// The tasks that it can do; `None` for any.
    pub tasks: Option<Vec<SmolStr>>,
    /// What jobs can ask for that it has.
    pub labels: Vec<Label>,
    /// How many slots it has.
    pub slots: u32,
}

impl NodeSpec {
    /// Makes the description of a node that can do any task and has no labels.
    pub fn new(name: &str, slots: u32) -> Self {
        Self {
            name: name.into(),
            tasks: None,
            labels: Vec::new(),
            slots,
        }
    }

    /// Refuses what no queue takes.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check("name of a node", &self.name)?;
        for task in self.tasks.iter().flatten() {
            check("task", task)?;
        }
        if self.slots == 0 {
            return Err(Error::InvalidNode {
                node: self.name.clone(),
                reason: "has no slots, so it could start nothing",
            });
        }
        Ok(())
    }

    /// Whether it could do jobs of this task that ask for these labels and slots.
    pub(crate) fn can_do(&self, task: &str, labels: &[Label], slots: u32) -> bool {
        let does_task = |tasks: &Vec<SmolStr>| tasks.iter().any(|known| known == task);
        slots <= self.slots
            && self.tasks.as_ref().is_none_or(does_task)
            && labels.iter().all(|label| self.labels.contains(label))
    }
}

/// The session of a node that has joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The number of the session.
    pub node: NodeId,
    /// How long the session is valid, counted from before the call.
    pub valid_for: Duration,
}

/// The number of an attempt. A later attempt of any job has a greater one.
///
/// Whatever an attempt writes elsewhere can carry this number, so that a store refuses what comes from an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    /// How often the queue may have lost its latest steps, as by a failover. It comes before the number.
    pub epoch: u64,
    /// The number within the epoch.
    pub number: u64,
}

impl fmt::Display for Fence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.epoch, self.number)
    }
}

/// The units of a resource that an attempt holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The name of the resource.
    pub resource: SmolStr,
    /// How many units it holds.
    pub units: u64,
    /// Which ones, if they can be told apart.
    pub identities: Vec<SmolStr>,
}

/// An attempt that a node may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The job.
    pub job: JobName,
    /// The number of this attempt, without which nobody can end it.
    pub fence: Fence,
    /// How many attempts the job has had, with this one.
    pub attempt: u32,
    /// How many slots it fills.
    pub slots: u32,
    /// What it holds of the resources that the job takes.
    pub shares: Vec<Share>,
    /// The payload of the job.
    pub payload: Arc<[u8]>,
    /// What the last attempt that was to be tried again has handed over; empty if there was none.
    pub handover: Arc<[u8]>,
}

/// What a node has claimed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The attempts that it may start, first come first.
    pub claims: Vec<Claim>,
    /// When another claim can have more at the earliest, if nothing else changes before. `None` if only a change can help.
    pub ask_again: Option<Duration>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The job is over.
    Over {
        /// How the job ended.
        status: FinalStatus,
        /// The result, which the queue does not read.
        result: Arc<[u8]>,
    },
    /// The job is to be tried again, not before this time has passed. It keeps its place in the queue.
    Again {
        /// How long it waits at least.
        delay: Duration,
        /// What the node of the next attempt is told in [`Claim::handover`], and those who follow the queue in
        /// [`EventKind::Retried`](crate::EventKind::Retried). The queue does not read it.
        handover: Arc<[u8]>,
    },
    /// The attempt has not begun, and does not count. The job goes back to its place in the queue.
    NotBegun,
}

/// The end of an attempt, as its node tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    /// The job.
    pub job: JobName,
    /// The number of the attempt.
    pub fence: Fence,
    /// How it ended.
    pub end: AttemptEnd,
}

impl Finish {
    /// Returns how many bytes its result has, or what it hands over.
    pub(crate) fn result_len(&self) -> usize {
        match &self.end {
            AttemptEnd::Over { result, .. } => result.len(),
            AttemptEnd::Again { handover, .. } => handover.len(),
            AttemptEnd::NotBegun => 0,
        }
    }
}

/// What became of the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishResult {
    /// It is recorded. Telling it again changes nothing.
    Committed,
    /// The job is no longer that of this attempt. What the attempt did must not be used.
    Stale,
    /// The result, or what is handed over, is larger than the queue takes
    /// ([`QueueSettings::max_payload`](crate::QueueSettings::max_payload)). Nothing
    /// is recorded, and the node tells another end.
    TooLarge {
        /// How many bytes it may have.
        most: u64,
    },
}

/// What a node hears when it renews its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The session goes on.
    Valid {
        /// How long it is valid, counted from before the call.
        valid_for: Duration,
        /// Jobs that it holds and that somebody has cancelled. It stops them and tells their end.
        cancelled: Vec<JobName>,
    },
    /// The session is over, and others may run its jobs. All that the node runs must have been ended before.
    Lost,
}
