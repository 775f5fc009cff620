//! The events that the connection of a worker reports to the supervisor.

use std::time::Duration;

use ratchet_ipc::Profile;

use super::end_cause::EndCause;
use crate::dispatch::{Assignment, FilterChange};
use crate::os::OutputExcerpt;
use crate::os::ProcessId;

/// An event in the life of a worker, as its connection reports it to the supervisor.
#[derive(Debug)]
pub(crate) enum WorkerEvent {
    /// The worker's process was started.
    Started {
        process: ProcessId,
        system_id: Option<u32>,
    },
    /// The worker takes attempts from now on, or has declared more about itself.
    Ready {
        profile: Box<Profile>,
        /// The worker has sent its hello, so the profile comes from the worker itself.
        introduced: bool,
    },
    /// The worker has read a request, which shows that it reads its stdin although it has sent no hello.
    Proven,
    /// The worker takes no more attempts. It may still answer those that it has; the connection gives back later ones.
    Withdrawn,
    /// The worker has begun or ended attempts.
    Updated(WorkUpdate),
    /// The connection has found out something about a filter.
    Filter(FilterChange),
    /// The worker has printed a line that is no answer, and has said nothing more about its attempt for a while.
    NoAnswer { attempt: u64, printed: String },
    /// A caller's attempt comes back without a result, and no job is charged with it.
    CallReturned {
        assignment: Assignment,
        /// The worker had begun it.
        begun: bool,
    },
    /// The run that used the worker is gone, and the last attempt of that run has ended.
    Vacated,
    /// The worker's process has ended. This is the last event of a worker.
    Ended(Box<WorkerEnd>),
    /// The connection has panicked with this message, which is a bug in this crate. This is the last event of a worker,
    /// too.
    ///
    /// The attempts that the worker had are lost: they were not answered and were not given back.
    Broke(String),
}

/// How many attempts a worker has now, and what it has done since the last update.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorkUpdate {
    /// How many attempts the worker has now, begun or not.
    pub(crate) in_hand: u32,
    /// How many attempts have ended since the last update.
    pub(crate) ended: u32,
    /// How long the worker has worked on the attempts that ended.
    pub(crate) busy: Duration,
    /// How many of the ended attempts belonged to callers. The supervisor owns the seats of those.
    pub(crate) calls_ended: u32,
    /// How many callers' attempts that were sent ahead have begun since the last update.
    pub(crate) calls_begun: u32,
}

/// How a worker ended.
#[derive(Debug)]
pub(crate) struct WorkerEnd {
    /// The cause for which the worker ended.
    pub(crate) cause: EndCause,
    /// How many attempts failed with the worker. If there are none, the pool is to blame, not a job.
    pub(crate) charged: u32,
    /// The last output of the worker on stderr.
    pub(crate) stderr: OutputExcerpt,
}

impl WorkerEnd {
    /// Makes the end of a worker that is charged to no attempt.
    pub(crate) fn uncharged(cause: EndCause) -> Self {
        Self {
            cause,
            charged: 0,
            stderr: OutputExcerpt::default(),
        }
    }
}
