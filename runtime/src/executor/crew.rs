//! Between the executor's loop and those who do the work: what is said either way.
//!
//! ```text
//! loop --start, cancel, expect--> Crew          (calls that never wait)
//! loop <---------- Report ------- whoever works (in the order things happened; what is only talk comes after)
//! ```
//!
//! The loop decides who runs, the crew where. A crew says by [`Report::Places`] how many attempts each
//! of its kinds of worker takes at once, and how many more it would like ahead of time. The loop counts
//! what it has started against that, so that an attempt meets a worker that is free.
//!
//! **Too late.** A place may be gone while an attempt is on its way to it. That attempt comes back, too: if
//! it waited for a worker it would hold its slot and its locks for nothing, and begin long after its rate let
//! it. So each attempt says on which edition of the places it counts, and one that finds no room comes back
//! once there is another. Where the edition is still the same it waits: somebody else has borrowed the worker.
//!
//! **Ahead of time.** An attempt started `ahead` lies in its worker's pipe, holds no slot and has not
//! begun. It begins only in the place of one that has just ended, which [`Report::Ended`] says by
//! `next`: the slot passes from one to the other in one step. Where it cannot come to that, it comes
//! back by [`Report::Returned`], as if it had never left.

use std::sync::Arc;
use std::time::Duration;

use ratchet_ipc::{LogLevel, Payload, TaskName};

use super::context::Step;
use crate::job::Job;
use crate::outcome::Failure;
use crate::scheduling::{Kind, ParallelizationHint, Ticket};
use crate::worker::WorkerName;

/// An attempt on its way to whoever is to do it.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    pub(crate) ticket: Ticket,
    pub(crate) job: Arc<Job>,
    /// Which attempt; the first is 1.
    pub(crate) number: u32,
    pub(crate) kind: Kind,
    /// It is sent ahead of time.
    pub(crate) ahead: bool,
    /// On the strength of which [`Report::Places`] it is sent, where they are told.
    pub(crate) edition: u64,
}

/// How an attempt is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Asked, and killed when the grace is over.
    Ask { grace: Duration },
    /// Killed at once.
    Kill,
    /// Given back, if it was sent ahead and has not begun. One that has goes on, as the loop will hear.
    Recall,
}

/// What an executor has left to do for a kind of worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// So many jobs wait in the queue, which is what pools grow by; others run, or may come.
    Open { waiting: usize },
    /// Nothing waits and nothing comes: what was given to workers is all that is left, if none of it fails.
    Last,
    /// Nothing begins any more, so that a worker that ends need not be replaced.
    Over,
    /// Nothing begins any more, and nobody waits for a worker to end well.
    Killed,
}

impl Default for Prospect {
    fn default() -> Self {
        Self::Open { waiting: 0 }
    }
}

impl Prospect {
    /// How many jobs wait.
    pub(crate) fn waiting(self) -> usize {
        match self {
            Self::Open { waiting } => waiting,
            Self::Last | Self::Over | Self::Killed => 0,
        }
    }

    /// What two executors have left between them.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Open { waiting: one }, Self::Open { waiting: two }) => Self::Open {
                waiting: one.saturating_add(two),
            },
            (open @ Self::Open { .. }, _) | (_, open @ Self::Open { .. }) => open,
            (Self::Last, _) | (_, Self::Last) => Self::Last,
            (Self::Killed, _) | (_, Self::Killed) => Self::Killed,
            (Self::Over, Self::Over) => Self::Over,
        }
    }
}

/// Those who do the work. No call waits; what comes of it is reported.
pub(crate) trait Crew: Send {
    /// Begins an attempt, which ends in exactly one [`Report::Ended`] or [`Report::Returned`].
    fn start(&mut self, assignment: Assignment);

    /// Ends an attempt early; one that has ended meanwhile is not an error.
    fn stop(&mut self, ticket: Ticket, stop: Stop);

    /// What is left to do for a kind has changed.
    fn expect(&mut self, kind: Kind, prospect: Prospect);
}

/// What whoever works tells the loop.
#[derive(Debug)]
pub(crate) enum Report {
    /// An attempt has begun (not told of those that begin as somebody's `next`).
    Started {
        ticket: Ticket,
        worker: Option<WorkerName>,
    },
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
    /// An attempt comes back that never began: nobody is to be charged with it.
    Returned { ticket: Ticket },
    /// An attempt tells how far it has come.
    Step { ticket: Ticket, step: Step },
    /// A worker says something, perhaps about an attempt.
    Log {
        ticket: Option<Ticket>,
        worker: Option<WorkerName>,
        level: LogLevel,
        message: String,
    },
    /// A kind of worker takes so many attempts at once, and would like so many more ahead. The edition is
    /// another whenever the number of places is.
    Places {
        kind: Kind,
        places: u32,
        ahead: u32,
        edition: u64,
    },
    /// A kind of worker has introduced itself: the tasks it knows, if it says, come with their hints.
    Introduced {
        kind: Kind,
        /// Its own version.
        version: Option<String>,
        tasks: Option<Vec<Introduction>>,
    },
    /// A kind of worker is not to be had, now and for the rest of the run.
    Broken { kind: Kind, failure: Box<Failure> },
    /// What became of a worker.
    Worker(crate::event::WorkerNews),
}

/// A task, as its worker declares it.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    pub(crate) task: TaskName,
    /// What it declares, or what is wrong with what it declares.
    pub(crate) hint: Option<Result<ParallelizationHint, String>>,
    pub(crate) cacheable: bool,
}
