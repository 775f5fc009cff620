//! What happens in a queue, for those who follow it.

use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use crate::job::FinalStatus;
use crate::names::{JobName, NodeId};

/// A place in the events of a queue. Events come after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// The millisecond of the event.
    pub(crate) millis: u64,
    /// The number of the event within that millisecond.
    pub(crate) number: u64,
}

impl Cursor {
    /// The place before the first event that is kept.
    pub const START: Self = Self {
        millis: 0,
        number: 0,
    };

    /// Returns when the event was, in milliseconds of the clock of the queue.
    pub fn millis(self) -> u64 {
        self.millis
    }
}

/// Something that happened in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place. Pass it to [`Engine::events`](crate::Engine::events) to get what came after it.
    pub cursor: Cursor,
    /// What happened.
    pub kind: EventKind,
}

/// What happened in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A node has claimed a job.
    Started {
        /// The job.
        job: JobName,
        /// The node.
        node: NodeId,
        /// How many attempts the job has had, with this one.
        attempt: u32,
    },
    /// An attempt reports how far it is.
    Progress {
        /// The job.
        job: JobName,
        /// What it reports, which the queue does not read.
        message: Arc<[u8]>,
    },
    /// A job is to be tried again.
    Retried {
        /// The job.
        job: JobName,
        /// How long it waits at least.
        delay: Duration,
        /// What the attempt has handed over.
        handover: Arc<[u8]>,
    },
    /// The attempt of a job was lost with its node. The job is tried again, or ends as crashed, which is an event of its own.
    AttemptLost {
        /// The job.
        job: JobName,
        /// The node.
        node: NodeId,
    },
    /// A job goes back without having begun.
    GivenBack {
        /// The job.
        job: JobName,
    },
    /// No living node could do a job for longer than it may wait. Its end, as failed, comes next.
    Unservable {
        /// The job.
        job: JobName,
    },
    /// A job that had ended waits again, because somebody asked for it.
    Requeued {
        /// The job.
        job: JobName,
    },
    /// The queue is paused.
    Paused,
    /// The queue goes on.
    Resumed,
    /// A job has ended.
    Ended {
        /// The job.
        job: JobName,
        /// How it ended.
        status: FinalStatus,
        /// How many attempts it had.
        attempts: u32,
        /// The result of the attempt that ended it.
        result: Arc<[u8]>,
    },
    /// A node has joined.
    NodeJoined {
        /// The number of its session.
        node: NodeId,
        /// What people call it.
        name: SmolStr,
    },
    /// A node has left, with nothing running.
    NodeLeft {
        /// The number of its session.
        node: NodeId,
    },
    /// A node did not renew its session in time.
    NodeLost {
        /// The number of its session.
        node: NodeId,
    },
}
