//! What a connection to a worker is told.

use std::sync::Arc;
use std::time::Duration;

use ratchet_ipc::Payload;
use tokio::sync::{mpsc, oneshot};

use super::report::{Report, Stop};
use super::reporter::Reporter;
use crate::ids::Ticket;
use crate::ids::WorkerName;
use crate::job::Job;
use crate::outcome::Failure;
pub(crate) use crate::scheduling::WorkerNumber;

/// An attempt on its way to whoever performs it.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) job: Arc<Job>,
    /// Which attempt this is; the first is 1.
    pub(crate) attempt: u32,
    /// It may only begin in the place of another one.
    pub(crate) ahead: bool,
    pub(crate) reply: ReplyTo,
}

/// Identifies an attempt between those who pass it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptKey {
    /// An attempt of the run that has the pool.
    Ticket(Ticket),
    /// A call that somebody made to the pool directly.
    Call(u64),
}

impl AttemptKey {
    /// The run's ticket, if the attempt belongs to a run.
    pub(crate) fn ticket(self) -> Option<Ticket> {
        match self {
            Self::Ticket(ticket) => Some(ticket),
            Self::Call(_) => None,
        }
    }
}

/// Who hears what came of an attempt.
#[derive(Debug)]
pub(crate) enum ReplyTo {
    /// The loop of a run.
    Loop { ticket: Ticket, reporter: Reporter },
    /// Somebody who called the pool directly.
    Caller {
        call: u64,
        reply: oneshot::Sender<Reply>,
    },
}

impl Assignment {
    pub(crate) fn key(&self) -> AttemptKey {
        match self.reply {
            ReplyTo::Loop { ticket, .. } => AttemptKey::Ticket(ticket),
            ReplyTo::Caller { call, .. } => AttemptKey::Call(call),
        }
    }

    /// Whether the attempt belongs to a run, so that it holds a slot while it is performed.
    pub(crate) fn is_of_run(&self) -> bool {
        matches!(self.reply, ReplyTo::Loop { .. })
    }

    /// Whether somebody still waits for what comes of it; a run always does.
    pub(crate) fn is_wanted(&self) -> bool {
        match &self.reply {
            ReplyTo::Loop { .. } => true,
            ReplyTo::Caller { reply, .. } => !reply.is_closed(),
        }
    }

    /// Tells whoever asked what came of the attempt.
    pub(crate) fn answer(
        self,
        result: Result<Payload, Box<Failure>>,
        worker: Option<WorkerName>,
        ran: Duration,
        next: Option<Ticket>,
    ) {
        match self.reply {
            ReplyTo::Loop { ticket, reporter } => reporter.tell(Report::Ended {
                ticket,
                result,
                worker,
                ran,
                next,
                provisional: false,
            }),
            ReplyTo::Caller { reply, .. } => {
                // A caller that has gone away has no use for the answer.
                let _ = reply.send(Reply {
                    result,
                    worker,
                    ran,
                });
            }
        }
    }

    /// Tells a run an answer that is not confirmed yet; a caller is told nothing before it is.
    pub(crate) fn answer_provisionally(
        self,
        result: Payload,
        worker: Option<WorkerName>,
        ran: Duration,
        next: Option<Ticket>,
    ) -> Result<(Ticket, Reporter), (Self, Payload)> {
        match self.reply {
            ReplyTo::Loop { ticket, reporter } => {
                reporter.tell(Report::Ended {
                    ticket,
                    result: Ok(result),
                    worker,
                    ran,
                    next,
                    provisional: true,
                });
                Ok((ticket, reporter))
            }
            ReplyTo::Caller { .. } => Err((self, result)),
        }
    }

    /// Gives an attempt that never began back to the run, uncharged. `next` has begun in its place, and `withdrawn` says
    /// that its worker takes no more. A caller's attempt comes back to the one who passed it on.
    pub(crate) fn give_back(self, next: Option<Ticket>, withdrawn: bool) -> Result<(), Self> {
        match self.reply {
            ReplyTo::Loop { ticket, reporter } => {
                reporter.tell(Report::Returned {
                    ticket,
                    next,
                    withdrawn,
                });
                Ok(())
            }
            ReplyTo::Caller { .. } => Err(self),
        }
    }

    /// Tells the run something about the attempt; callers hear only its end.
    pub(crate) fn report(&self, report: impl FnOnce(Ticket) -> Report) {
        if let ReplyTo::Loop { ticket, reporter } = &self.reply {
            reporter.tell(report(*ticket));
        }
    }
}

/// What came of a job that was run on a pool without an executor.
#[derive(Debug)]
pub struct Reply {
    /// The result, or why there is none.
    pub result: Result<Payload, Box<Failure>>,
    /// The worker that worked on it, if one did.
    pub worker: Option<WorkerName>,
    /// How long it worked on it.
    pub ran: Duration,
}

impl Reply {
    pub(crate) fn failed(failure: Failure) -> Self {
        Self {
            result: Err(Box::new(failure)),
            worker: None,
            ran: Duration::ZERO,
        }
    }
}

/// What a connection to a worker is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// Perform this attempt.
    Perform(Assignment),
    /// Stop an attempt.
    Stop(AttemptKey, Stop),
    /// Ask back what was sent ahead, because another worker is idle.
    Recall,
    /// Nothing more will come for the pool of this worker, as far as anybody knows; or something will after all.
    Last(bool),
    /// Stop all attempts: whoever had the worker is gone.
    Abandon,
    /// Finish what the worker has, then end it.
    Retire(Retirement),
    /// Kill the worker now.
    Kill(Kill),
}

/// Why a supervisor has a worker killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kill {
    /// It uses more memory than its pool allows.
    Memory { used: u64, limit: u64 },
    /// Nobody waits for it to end by itself.
    Shutdown,
}

/// Why a worker is asked to end though nothing is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Retirement {
    /// It has done as many jobs as a worker may.
    MaxJobs,
    /// It has reached its age.
    Age,
    /// It had nothing to do for long.
    Idle,
    /// It uses more memory than it should.
    Memory,
    /// Its pool is made smaller, or another pool needs the room.
    Shrunk,
    /// All workers end.
    Shutdown,
}

impl Retirement {
    /// The name under which metrics count workers that retired for this reason.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxJobs => "max_jobs",
            Self::Age => "ttl",
            Self::Idle => "idle_ttl",
            Self::Memory => "soft_memory",
            Self::Shrunk => "shrunk",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The way to the connection of one worker.
///
/// The channel has no bound of its own: what lies in it is bounded by the seats of the worker.
#[derive(Debug, Clone)]
pub(crate) struct WorkerLink(mpsc::UnboundedSender<Order>);

impl WorkerLink {
    pub(crate) fn channel() -> (Self, mpsc::UnboundedReceiver<Order>) {
        let (orders, received) = mpsc::unbounded_channel();
        (Self(orders), received)
    }

    /// Hands over an attempt. It comes back if the worker's connection has ended.
    pub(crate) fn perform(&self, assignment: Assignment) -> Result<(), Assignment> {
        match self.0.send(Order::Perform(assignment)) {
            Err(mpsc::error::SendError(Order::Perform(assignment))) => Err(assignment),
            // `send` returns what it was given.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Tells the connection something else. One that has ended has no worker left that it could concern.
    pub(crate) fn order(&self, order: Order) {
        let _ = self.0.send(order);
    }
}

/// A worker that takes attempts, as its supervisor offers it.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) number: WorkerNumber,
    pub(crate) name: WorkerName,
    pub(crate) link: WorkerLink,
    /// How many attempts it works on at once.
    pub(crate) concurrency: u32,
    /// It can be asked to give back what was sent ahead.
    pub(crate) gives_back: bool,
    /// It has shown that it reads its requests: by its hello, or by having read one.
    pub(crate) is_proven: bool,
    /// What is known of it as a filter; of other workers nothing is.
    pub(crate) filter: FilterState,
}

/// What is known of a worker as a filter.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FilterState {
    /// Its count of lines has matched, so that it may be sent items ahead.
    pub(crate) is_aligned: bool,
    /// How many items it may be sent ahead because it answers nothing.
    pub(crate) silent_ahead: u32,
}

impl FilterState {
    /// Something was found out about it.
    pub(crate) fn learn(&mut self, news: FilterNews) {
        match news {
            FilterNews::Aligned => self.is_aligned = true,
            FilterNews::Unaligned => self.is_aligned = false,
            FilterNews::Silent { ahead } => self.silent_ahead = ahead,
        }
    }
}

/// What was found out about a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilterNews {
    /// The count of its lines matches, so it may be sent items ahead.
    Aligned,
    /// It is to be asked for one item at a time until the count of its lines has matched.
    Unaligned,
    /// It answers nothing, so it may be sent so many items ahead.
    Silent { ahead: u32 },
}
