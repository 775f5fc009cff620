//! The reports to the executor's loop, and the loop's answers to pools and connections.

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
    /// Give it back if it was sent ahead and has not begun. One that has begun continues, and the loop gets its result
    /// as usual.
    Recall,
}

/// How much work a run has left for a pool. That decides whether the pool starts workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Attempts run or may come. Pools grow by the number of jobs that wait without a free seat.
    Open { unseated: usize },
    /// No job waits and none will come. Only the attempts at workers are left, unless one fails and is tried again.
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
    /// Returns how many jobs wait without a free seat.
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
        /// The resource usage of the attempt, as far as it is known.
        usage: Option<Box<AttemptUsage>>,
        /// The attempt sent ahead that has begun in its place.
        next: Option<Ticket>,
        /// Whether the result may still be refuted: then [`Report::Confirmed`] or [`Report::Refuted`] follows.
        provisional: bool,
    },
    /// The provisional result of an attempt is final, as far as can be known. If it is `in_doubt`, it may still prove
    /// wrong.
    Confirmed { ticket: Ticket, in_doubt: bool },
    /// The provisional result of an attempt is the answer to something else, so it is discarded.
    Refuted {
        ticket: Ticket,
        failure: Box<Failure>,
    },
    /// No result that this worker has given so far can prove wrong any more.
    Cleared { worker: WorkerName },
    /// Any result that this worker has given since [`Report::Cleared`] may be wrong.
    OutOfStep { worker: WorkerName, reason: String },
    /// An attempt that never began comes back. It does not count as an attempt of its job.
    Returned {
        ticket: Ticket,
        /// The attempt sent ahead that has begun in its place.
        next: Option<Ticket>,
        /// The worker that had it takes no more attempts.
        withdrawn: bool,
    },
    /// An attempt reports its progress.
    Step { ticket: Ticket, step: Step },
    /// A worker logs a message, perhaps about an attempt.
    Log {
        ticket: Option<Ticket>,
        worker: Option<WorkerName>,
        level: LogLevel,
        message: String,
    },
    /// A worker takes attempts from now on, or what is known of it has changed.
    Offered { pool: PoolKey, offer: Offer },
    /// A worker has read a request, which shows that it reads requests as they come.
    Proven { pool: PoolKey, worker: WorkerNumber },
    /// Something was found out about a filter.
    Filter {
        pool: PoolKey,
        worker: WorkerNumber,
        change: FilterChange,
    },
    /// A worker takes no more attempts. Its current attempts end or come back as usual.
    Withdrawn { pool: PoolKey, worker: WorkerNumber },
    /// A place has this many slots from now on, or will never run anything again, for this reason.
    Place {
        place: PlaceId,
        slots: Result<u32, Failure>,
    },
    /// The round trip time of a place was measured.
    RoundTrip {
        place: PlaceId,
        round_trip: Option<Duration>,
    },
    /// The supervisor asks for the current demand, to decide whether a worker that has ended needs a successor.
    DemandWanted { pool: PoolKey },
    /// A pool's worker has sent its hello.
    Introduced {
        kind: KindId,
        /// The version that the worker declares.
        version: Option<String>,
        /// The tasks that the worker knows, with their hints; `None` if it declares none.
        tasks: Option<Vec<DeclaredTask>>,
    },
    /// A pool has no workers now, and gets none for the rest of the run.
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
pub(crate) struct DeclaredTask {
    /// The name of the task.
    pub(crate) task: TaskName,
    /// The hint that it declares, or what is wrong with it.
    pub(crate) hint: Option<Result<ParallelizationHint, String>>,
    /// Results of the task may be used again, unless its jobs say otherwise.
    pub(crate) cacheable: bool,
}
