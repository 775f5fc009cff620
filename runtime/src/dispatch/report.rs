//! What the executor's loop hears, and what it says in return.

use std::time::Duration;

use ratchet_ipc::{LogLevel, Payload, TaskName};

use super::assignment::{FilterNews, Offer, WorkerNumber};
use crate::context::Step;
use crate::ids::Ticket;
use crate::ids::WorkerName;
use crate::outcome::Failure;
use crate::scheduling::{Kind, ParallelizationHint};

/// How an attempt is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Ask it to stop, and kill it when the grace is over.
    Ask { grace: Duration },
    /// Kill it at once.
    Kill,
    /// Give it back if it was sent ahead and has not begun. One that has begun goes on, and the loop hears of it.
    Recall,
}

/// How much work a run has left for a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Attempts run or may come. So many jobs wait for which no seat is free: pools grow by that.
    Open { unseated: usize },
    /// Nothing waits and nothing comes: what workers have is all that is left, if none of it fails.
    Last,
    /// No attempt begins any more, so a worker that ends needs no successor.
    Over,
    /// No attempt begins any more, and nobody waits for a worker to end well.
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

/// What the loop hears.
#[derive(Debug)]
pub(crate) enum Report {
    /// An attempt has ended.
    Ended {
        ticket: Ticket,
        result: Result<Payload, Box<Failure>>,
        worker: Option<WorkerName>,
        /// How long it ran.
        ran: Duration,
        /// The attempt sent ahead that has begun in its place.
        next: Option<Ticket>,
        /// The result may yet be refuted: [`Report::Confirmed`] or [`Report::Refuted`] follows.
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
    /// An attempt comes back that never began, so nobody is charged with it.
    Returned {
        ticket: Ticket,
        /// The attempt sent ahead that has begun in its place.
        next: Option<Ticket>,
        /// Its worker takes no more attempts.
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
    Offered { kind: Kind, offer: Offer },
    /// A worker has read a request, so it reads requests as they come.
    Proven { kind: Kind, worker: WorkerNumber },
    /// Something was found out about a filter.
    Filter {
        kind: Kind,
        worker: WorkerNumber,
        news: FilterNews,
    },
    /// A worker takes no more attempts. What it has goes on, and ends or comes back as ever.
    Withdrawn { kind: Kind, worker: WorkerNumber },
    /// The supervisor has to know whether a worker that ends needs a successor: the loop says its demand anew.
    DemandWanted { kind: Kind },
    /// A pool's worker has introduced itself.
    Introduced {
        kind: Kind,
        /// The version that the worker says it is.
        version: Option<String>,
        /// The tasks that it knows, with their hints, if it says.
        tasks: Option<Vec<Introduction>>,
    },
    /// A pool has no workers, now and for the rest of the run.
    Broken { kind: Kind, failure: Box<Failure> },
    /// Something happened to a worker that observers may want to know.
    Worker(crate::event::WorkerNews),
}

/// A task, as its worker declares it.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    pub(crate) task: TaskName,
    /// The hint that it declares, or what is wrong with it.
    pub(crate) hint: Option<Result<ParallelizationHint, String>>,
    pub(crate) cacheable: bool,
}
