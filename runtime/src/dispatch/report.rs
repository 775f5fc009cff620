//! The reports to the executor's loop, and what the loop says in return.

use std::time::Duration;

use ratchet_ipc::{LogLevel, Payload, TaskName};

use super::assignment::{FilterChange, Offer, WorkerNumber};
use crate::context::Step;
use crate::ids::KindId;
use crate::ids::PlaceId;
use crate::ids::Ticket;
use crate::ids::WorkerName;
use crate::outcome::{AttemptUsage, Failure};
use crate::scheduling::ParallelizationHint;

/// How an attempt is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopRequest {
    /// Ask it to stop, and kill it when the grace is over.
    Ask { grace: Duration },
    /// Kill it at once.
    Kill,
    /// Give it back if it was sent ahead and has not begun. One that has begun continues, and the loop is told.
    Recall,
}

/// How much work a run has left for a pool, which decides whether the pool starts workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Attempts run or may come. Pools grow by the number of jobs that wait without a free seat.
    Open { unseated: usize },
    /// Nothing waits and nothing comes. Only what workers have is left, unless an attempt fails and is tried again.
    Last,
    /// No attempt begins any more, so a worker that ends is not replaced.
    Over,
    /// No attempt begins any more, and workers are killed instead of waited for.
    Killed,
}

impl Default for Demand {
    fn default() -> Self {
        Self::Open { unseated: 0 }
    }
}

impl Demand {
    /// How many jobs wait for which no seat is free.
    pub(crate) fn unseated(self) -> usize {
        match self {
            Self::Open { unseated } => unseated,
            Self::Last | Self::Over | Self::Killed => 0,
        }
    }
}

/// Identifies a pool of a run: by the kind of its workers, and the place where they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PoolKey {
    /// The kind of the workers.
    pub(crate) kind: KindId,
    /// The place where they run.
    pub(crate) place: PlaceId,
}

/// A report to the executor's loop, from a connection, the supervisor or a local performer.
#[derive(Debug)]
pub(crate) enum Report {
    /// An attempt has ended.
    Ended {
        ticket: Ticket,
        result: Result<Payload, Box<Failure>>,
        worker: Option<WorkerName>,
        /// How long the attempt ran, by the clock of work.
        ran: Duration,
        /// What the attempt used, as far as that is known.
        usage: Option<Box<AttemptUsage>>,
        /// The attempt sent ahead that has begun in its place.
        next: Option<Ticket>,
        /// Whether the result may still be refuted: then [`Report::Confirmed`] or [`Report::Refuted`] follows.
        provisional: bool,
    },
    /// The provisional result of an attempt is its result, as far as can be known. If it is `in_doubt` it may still
    /// prove wrong.
    Confirmed { ticket: Ticket, in_doubt: bool },
    /// The provisional result of an attempt is the answer to something else.
    Refuted {
        ticket: Ticket,
        failure: Box<Failure>,
    },
    /// No result that this worker has given so far can prove wrong any more.
    Cleared { worker: WorkerName },
    /// Any result that this worker has given since [`Report::Cleared`] may be wrong.
    OutOfStep { worker: WorkerName, reason: String },
    /// An attempt comes back that never began. It does not count as an attempt of its job.
    Returned {
        ticket: Ticket,
        /// The attempt sent ahead that has begun in its place.
        next: Option<Ticket>,
        /// The worker that had it takes no more attempts.
        withdrawn: bool,
    },
    /// An attempt tells how far it has come.
    Step { ticket: Ticket, step: Step },
    /// A worker says something, perhaps about an attempt.
    Log {
        ticket: Option<Ticket>,
        worker: Option<WorkerName>,
        level: LogLevel,
        message: String,
    },
    /// A worker takes attempts from now on, or has said more of itself.
    Offered { pool: PoolKey, offer: Offer },
    /// A worker has read a request, which shows that it reads requests as they come.
    Proven { pool: PoolKey, worker: WorkerNumber },
    /// Something was found out about a filter.
    Filter {
        pool: PoolKey,
        worker: WorkerNumber,
        change: FilterChange,
    },
    /// A worker takes no more attempts. Those that it has end or come back as usual.
    Withdrawn { pool: PoolKey, worker: WorkerNumber },
    /// A place has this many slots from now on, or nothing will ever run there any more for this reason.
    Place {
        place: PlaceId,
        slots: Result<u32, Failure>,
    },
    /// The round trip time of a place was measured.
    RoundTrip {
        place: PlaceId,
        round_trip: Option<Duration>,
    },
    /// The supervisor asks for the demand anew: it has to know whether a worker that has ended needs a successor.
    DemandWanted { pool: PoolKey },
    /// A pool's worker has introduced itself.
    Introduced {
        kind: KindId,
        /// The version that the worker says it is.
        version: Option<String>,
        /// The tasks that it knows, with their hints, if it says.
        tasks: Option<Vec<Introduction>>,
    },
    /// A pool has no workers, now and for the rest of the run.
    Broken {
        pool: PoolKey,
        failure: Box<Failure>,
    },
    /// The connection of a worker has panicked, which is a bug in this crate. The attempts that it had are lost.
    ConnectionBroke { worker: WorkerName, reason: String },
    /// Something happened to a worker that observers may want to know.
    Worker(crate::event::WorkerNews),
}

/// A task that a worker declares in its hello.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    /// The name of the task.
    pub(crate) task: TaskName,
    /// The hint that it declares, or what is wrong with it.
    pub(crate) hint: Option<Result<ParallelizationHint, String>>,
    /// Results of the task may be used again, unless its jobs say otherwise.
    pub(crate) cacheable: bool,
}
