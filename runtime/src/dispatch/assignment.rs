//! Attempts on their way to a worker, and the orders that a connection takes.

use std::sync::Arc;
use std::time::Duration;

use ratchet_ipc::Payload;
use tokio::sync::{mpsc, oneshot};

use super::report::{Report, StopRequest};
use super::reporter::Reporter;
use crate::ids::{SlotNumber, Ticket, WorkerName};
use crate::job::Job;
use crate::outcome::Failure;
use crate::scheduling::ResourceShare;
pub(crate) use crate::scheduling::WorkerNumber;
use crate::trace_context::TraceParent;

/// An attempt on its way to a worker, or to a performer in this process.
#[derive(Debug)]
pub(crate) struct Assignment {
    /// The job itself.
    pub(crate) job: Arc<Job>,
    /// Which attempt this is; the first is 1.
    pub(crate) attempt: u32,
    /// The attempt was sent ahead: it holds no slot, and begins only in the place of one that ends.
    pub(crate) ahead: bool,
    /// The first slot that the attempt holds. `None` if it was sent ahead, or is a call, which holds no slot.
    pub(crate) slot: Option<SlotNumber>,
    /// The resources that the attempt holds; `None` if its job takes none.
    pub(crate) resources: Option<Arc<[ResourceShare]>>,
    /// The span of the attempt, if the run is traced.
    pub(crate) trace: Option<TraceParent>,
    /// The receiver of the attempt's result.
    pub(crate) reply: ReplyTo,
}

/// Identifies an attempt between the loop or a caller, the supervisor and a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptKey {
    /// An attempt of the run that uses the pool.
    Ticket(Ticket),
    /// A call that was made to the pool directly, outside of any run.
    Call(u64),
}

impl AttemptKey {
    /// Returns the run's ticket, if the attempt belongs to a run.
    pub(crate) fn ticket(self) -> Option<Ticket> {
        match self {
            Self::Ticket(ticket) => Some(ticket),
            Self::Call(_) => None,
        }
    }
}

/// The receiver of an attempt's result.
#[derive(Debug)]
pub(crate) enum ReplyTo {
    /// The loop of a run gets it as a report.
    Loop { ticket: Ticket, reporter: Reporter },
    /// A caller of [`ProcessPool::run`](crate::process::ProcessPool::run) gets it as a reply.
    Caller {
        call: u64,
        reply: oneshot::Sender<Reply>,
    },
}

impl Assignment {
    /// Returns the key of the attempt.
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

    /// Whether the result is still awaited. A run always awaits it.
    pub(crate) fn is_wanted(&self) -> bool {
        match &self.reply {
            ReplyTo::Loop { .. } => true,
            ReplyTo::Caller { reply, .. } => !reply.is_closed(),
        }
    }

    /// Sends the final result of the attempt to its receiver.
    pub(crate) fn answer(
        self,
        result: Result<Payload, Box<Failure>>,
        worker: Option<WorkerName>,
        ran: Duration,
        next: Option<Ticket>,
    ) {
        match self.reply {
            ReplyTo::Loop { ticket, reporter } => reporter.send(Report::Ended {
                ticket,
                result,
                worker,
                ran,
                usage: None,
                next,
                provisional: false,
            }),
            ReplyTo::Caller { reply, .. } => {
                // An error means that the caller was dropped and does not need the answer.
                let _ = reply.send(Reply {
                    result,
                    worker,
                    ran,
                });
            }
        }
    }

    /// Sends a result that is not confirmed yet to a run. A caller gets nothing before it is confirmed, so its
    /// assignment and result come back.
    pub(crate) fn answer_provisionally(
        self,
        result: Payload,
        worker: Option<WorkerName>,
        ran: Duration,
        next: Option<Ticket>,
    ) -> Result<(Ticket, Reporter), (Self, Payload)> {
        match self.reply {
            ReplyTo::Loop { ticket, reporter } => {
                reporter.send(Report::Ended {
                    ticket,
                    result: Ok(result),
                    worker,
                    ran,
                    usage: None,
                    next,
                    provisional: true,
                });
                Ok((ticket, reporter))
            }
            ReplyTo::Caller { .. } => Err((self, result)),
        }
    }

    /// Gives an attempt that never began back to the run, uncharged. `next` has begun in its place, and `withdrawn` is
    /// set if its worker takes no more attempts. A caller's attempt is returned to the caller of this method.
    pub(crate) fn give_back(self, next: Option<Ticket>, withdrawn: bool) -> Result<(), Self> {
        match self.reply {
            ReplyTo::Loop { ticket, reporter } => {
                reporter.send(Report::Returned {
                    ticket,
                    next,
                    withdrawn,
                });
                Ok(())
            }
            ReplyTo::Caller { .. } => Err(self),
        }
    }

    /// Reports something about the attempt to its run. Callers get only the result.
    pub(crate) fn report(&self, report: impl FnOnce(Ticket) -> Report) {
        if let ReplyTo::Loop { ticket, reporter } = &self.reply {
            reporter.send(report(*ticket));
        }
    }
}

/// The result of a job that a pool performed without an executor.
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
    /// Makes a reply without a result.
    pub(crate) fn failed(failure: Failure) -> Self {
        Self {
            result: Err(Box::new(failure)),
            worker: None,
            ran: Duration::ZERO,
        }
    }
}

/// An order to the connection of a worker.
#[derive(Debug)]
pub(crate) enum Order {
    /// Perform this attempt.
    Perform(Assignment),
    /// Stop an attempt.
    Stop(AttemptKey, StopRequest),
    /// Ask the worker to give back the attempts that were sent ahead, because another worker is idle.
    Recall,
    /// With `true`, no more attempts are expected for the pool of this worker, so a filter that buffers may be shown
    /// the end of its input. With `false`, more may come after all.
    Last(bool),
    /// Stop all attempts of the run that used the worker: the run is gone.
    Abandon,
    /// Let the worker finish its attempts, then end it.
    Retire(Retirement),
    /// Kill the worker now.
    Kill(Kill),
}

/// The reason for which the supervisor kills a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kill {
    /// The worker uses more memory than its pool allows.
    Memory { used: u64, limit: u64 },
    /// All workers are ended at once, without waiting for them to end by themselves.
    Shutdown,
}

/// The reason for which a worker is asked to end although nothing is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Retirement {
    /// The worker has done as many jobs as its pool allows one worker.
    MaxJobs,
    /// The worker is as old as its pool allows.
    Age,
    /// The worker was idle for as long as its pool allows.
    Idle,
    /// The worker uses more memory than the soft limit of its pool.
    Memory,
    /// The pool was made smaller, or another pool needs the room.
    Shrunk,
    /// The pool or its supervisor shuts down.
    Shutdown,
}

impl Retirement {
    /// Returns the name under which metrics count workers that retired for this reason.
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

/// The sending end of the channel of orders to the connection of one worker.
///
/// The channel has no bound of its own: the seats of the worker bound how many orders are in it.
#[derive(Debug, Clone)]
pub(crate) struct WorkerLink(mpsc::UnboundedSender<Order>);

impl WorkerLink {
    /// Makes a link and the receiving end of its channel.
    pub(crate) fn channel() -> (Self, mpsc::UnboundedReceiver<Order>) {
        let (orders, received) = mpsc::unbounded_channel();
        (Self(orders), received)
    }

    /// Sends an attempt to the worker, or returns it if the worker's connection has ended.
    pub(crate) fn perform(&self, assignment: Assignment) -> Result<(), Assignment> {
        match self.0.send(Order::Perform(assignment)) {
            Err(mpsc::error::SendError(Order::Perform(assignment))) => Err(assignment),
            // A failed `send` returns the order that it was given, so no other order can come back.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Sends any other order. A connection that has ended has no worker left that the order could concern.
    pub(crate) fn order(&self, order: Order) {
        let _ = self.0.send(order);
    }
}

/// A worker that takes attempts, with all that is needed to send it attempts.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    /// The number of the worker in its pool.
    pub(crate) number: WorkerNumber,
    /// The name of the worker, as people see it.
    pub(crate) name: WorkerName,
    /// The link to its connection.
    pub(crate) link: WorkerLink,
    /// How many attempts the worker works on at once.
    pub(crate) concurrency: u32,
    /// The worker can be asked to give back attempts that were sent ahead.
    pub(crate) gives_back: bool,
    /// The worker has shown that it reads its requests: by its hello, or by having read one.
    pub(crate) is_proven: bool,
    /// How many jobs the worker may be given in total; `None` for no limit.
    pub(crate) max_jobs: Option<u64>,
    /// What is known of the worker if it is a filter.
    pub(crate) filter: FilterState,
}

/// How far the answers of a filter can be relied on. That decides how many items it is sent ahead.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FilterState {
    /// The filter's count of lines has matched, so it may be sent items ahead.
    pub(crate) is_aligned: bool,
    /// How many items the filter may be sent ahead because it answers nothing.
    pub(crate) silent_ahead: u32,
}

impl FilterState {
    /// Applies what the connection has found out.
    pub(crate) fn apply(&mut self, change: FilterChange) {
        match change {
            FilterChange::Aligned => self.is_aligned = true,
            FilterChange::Unaligned => self.is_aligned = false,
            FilterChange::Silent { ahead } => self.silent_ahead = ahead,
            FilterChange::Stalled => {}
        }
    }
}

/// A fact that a connection has found out about its filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilterChange {
    /// The count of the filter's lines matches, so it may be sent items ahead.
    Aligned,
    /// The filter is to be sent one item at a time until the count of its lines has matched.
    Unaligned,
    /// The filter answers nothing. It may buffer its output, so it may be sent this many items ahead.
    Silent { ahead: u32 },
    /// The filter has answered in time before and is silent now. It may have left out a line.
    Stalled,
}
