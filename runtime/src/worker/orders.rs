//! What the supervisor and its workers' connections say to each other.
//!
//! ```text
//! supervisor --Order--> connection      work, and how it is to end
//! supervisor <--News--- connection      what became of the worker and of its work
//!     caller <--Reply-- connection      the answer itself, straight to whoever asked
//! ```

use std::sync::Arc;
use std::time::Duration;

use ratchet_ipc::{Payload, Profile};
use tokio::sync::oneshot;

use super::cause::{Cause, Retirement};
use super::name::WorkerName;
use crate::executor::crew::{Report, Stop};
use crate::executor::reporter::Reporter;
use crate::job::Job;
use crate::outcome::{Failure, OutputExcerpt};
use crate::process::ProcessId;
use crate::scheduling::Ticket;

/// An attempt on its way through the pool.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) job: Arc<Job>,
    pub(crate) number: u32,
    /// It may only begin in the place of another: see [`crate::executor::crew`].
    pub(crate) ahead: bool,
    pub(crate) reply: ReplyTo,
}

/// What an attempt is called between those who pass it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// An executor's, which several may have that are called the same.
    Ticket { executor: u64, ticket: Ticket },
    /// Somebody's who called the pool directly.
    Call(u64),
}

impl Key {
    /// The executor's own name for it, if it is an executor's.
    pub(crate) fn ticket(self) -> Option<Ticket> {
        match self {
            Self::Ticket { ticket, .. } => Some(ticket),
            Self::Call(_) => None,
        }
    }
}

/// Who hears what came of it.
#[derive(Debug)]
pub(crate) enum ReplyTo {
    /// An executor, among all else that it hears.
    Loop {
        ticket: Ticket,
        reporter: Reporter,
        /// The places that it counts on.
        edition: u64,
    },
    /// One caller.
    Caller {
        call: u64,
        reply: oneshot::Sender<Reply>,
    },
}

impl Work {
    pub(crate) fn key(&self) -> Key {
        match self.reply {
            ReplyTo::Loop {
                ticket,
                ref reporter,
                ..
            } => Key::Ticket {
                executor: reporter.number(),
                ticket,
            },
            ReplyTo::Caller { call, .. } => Key::Call(call),
        }
    }

    /// Whether it is an attempt of the executor that hears by this reporter.
    pub(crate) fn is_of(&self, executor: &Reporter) -> bool {
        matches!(&self.reply, ReplyTo::Loop { reporter, .. } if reporter.is(executor))
    }

    /// The number of the executor whose attempt it is, if it is one's.
    pub(crate) fn executor(&self) -> Option<u64> {
        match &self.reply {
            ReplyTo::Loop { reporter, .. } => Some(reporter.number()),
            ReplyTo::Caller { .. } => None,
        }
    }

    /// Whether it holds a slot of an executor while it runs, so that one sent ahead has to inherit it.
    pub(crate) fn has_slot(&self) -> bool {
        matches!(self.reply, ReplyTo::Loop { .. })
    }

    /// Whether it counts on places that are not what they were.
    pub(crate) fn is_outdated(&self, now: u64) -> bool {
        matches!(self.reply, ReplyTo::Loop { edition, .. } if edition != now)
    }

    /// Whether somebody still waits for what comes of it; an executor always does.
    pub(crate) fn is_wanted(&self) -> bool {
        match &self.reply {
            ReplyTo::Loop { .. } => true,
            ReplyTo::Caller { reply, .. } => !reply.is_closed(),
        }
    }

    /// Tells whoever asked what came of it. Who is gone has no use for it.
    pub(crate) fn answer(
        self,
        result: Result<Payload, Box<Failure>>,
        worker: Option<WorkerName>,
        ran: Duration,
        next: Option<Ticket>,
    ) {
        match self.reply {
            ReplyTo::Loop {
                ticket, reporter, ..
            } => reporter.tell(Report::Ended {
                ticket,
                result,
                worker,
                ran,
                next,
                provisional: false,
            }),
            ReplyTo::Caller { reply, .. } => {
                let _ = reply.send(Reply {
                    result,
                    worker,
                    ran,
                });
            }
        }
    }

    /// Tells an executor an answer that is not confirmed yet; a caller is told nothing before it is.
    pub(crate) fn answer_provisionally(
        self,
        result: Payload,
        worker: Option<WorkerName>,
        ran: Duration,
        next: Option<Ticket>,
    ) -> Result<(Ticket, Reporter), (Self, Payload)> {
        match self.reply {
            ReplyTo::Loop {
                ticket, reporter, ..
            } => {
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

    /// Tells an executor something about the attempt.
    pub(crate) fn report(&self, report: impl FnOnce(Ticket) -> Report) {
        if let ReplyTo::Loop {
            ticket, reporter, ..
        } = &self.reply
        {
            reporter.tell(report(*ticket));
        }
    }
}

/// What came of an attempt.
#[derive(Debug)]
pub struct Reply {
    /// The result, or why there is none.
    pub result: Result<Payload, Box<Failure>>,
    /// Who worked on it, if anybody did.
    pub worker: Option<WorkerName>,
    /// How long.
    pub ran: Duration,
}

/// To a connection.
#[derive(Debug)]
pub(crate) enum Order {
    /// Do this.
    Work(Work),
    /// End an attempt early.
    Stop(Key, Stop),
    /// End all attempts of an executor that is gone.
    Abandon(Reporter),
    /// Ask back what was sent ahead: another worker is idle.
    Recall,
    /// Nothing more will come for this kind of worker, as far as anybody knows; or something will after all.
    Last(bool),
    /// Finish what you have and end.
    Retire(Retirement),
    /// Kill the worker.
    Kill(Cause),
}

/// From a connection.
#[derive(Debug)]
pub(crate) enum News {
    /// The process runs.
    Started {
        process: ProcessId,
        system_id: Option<u32>,
    },
    /// The worker takes work.
    Ready {
        profile: Box<Profile>,
        /// It has said so itself.
        introduced: bool,
    },
    /// It takes no more work; what it has may still be answered. What comes too late goes back.
    Leaves,
    /// What happened since the last of these.
    Worked(Worked),
    /// What was found out about a filter.
    Filter(FilterNews),
    /// An attempt comes back with which nobody is to be charged.
    Back {
        work: Work,
        /// The worker had turned to it.
        begun: bool,
    },
    /// The worker is no more.
    Dead(Box<Death>),
}

/// What was found out about a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilterNews {
    /// The count of its lines matches, so it may be sent items ahead.
    Proven,
    /// It is to be asked for one item at a time until the count of its lines has matched.
    Unproven,
    /// It answers nothing, so it may be sent so many items ahead.
    Silent { ahead: u32 },
}

/// What a worker did since it was last told of.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Worked {
    /// How many attempts ended.
    pub(crate) ended: u32,
    /// How many that were sent ahead began.
    pub(crate) begun: u32,
    /// How long it worked on what ended.
    pub(crate) busy: Duration,
}

/// The end of a worker.
#[derive(Debug)]
pub(crate) struct Death {
    pub(crate) cause: Cause,
    /// How many attempts were charged with it.
    pub(crate) charged: u32,
    /// The last it printed to stderr.
    pub(crate) stderr: OutputExcerpt,
}
