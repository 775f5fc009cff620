//! What the connection of a worker tells its supervisor.

use std::time::Duration;

use ratchet_ipc::Profile;

use super::cause::Cause;
use crate::dispatch::{Assignment, FilterNews};
use crate::os::OutputExcerpt;
use crate::os::ProcessId;

/// What happened to a worker.
#[derive(Debug)]
pub(crate) enum News {
    /// Its process runs.
    Started {
        process: ProcessId,
        system_id: Option<u32>,
    },
    /// It takes attempts.
    Ready {
        profile: Box<Profile>,
        /// It has said hello.
        introduced: bool,
    },
    /// It has read a request, though it has said no hello.
    Proven,
    /// It takes no more attempts; what it has may still be answered. What comes too late is given back.
    Withdrawn,
    /// How much it has done and has to do.
    Load(Load),
    /// What was found out about a filter.
    Filter(FilterNews),
    /// A caller's attempt comes back uncharged.
    Back {
        assignment: Assignment,
        /// The worker had turned to it.
        begun: bool,
    },
    /// Whoever had it is gone, and so is all that it had for them.
    Vacant,
    /// Its process has ended.
    Dead(Box<Death>),
}

/// What a worker did since its connection told of it last, and what it has now.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    /// Attempts that it has now.
    pub(crate) in_hand: u32,
    /// Attempts that ended.
    pub(crate) ended: u32,
    /// How long it worked on them.
    pub(crate) busy: Duration,
    /// Those of them that callers had asked for.
    pub(crate) calls_ended: u32,
    /// Calls that were sent ahead and have begun.
    pub(crate) calls_begun: u32,
}

/// The end of a worker.
#[derive(Debug)]
pub(crate) struct Death {
    pub(crate) cause: Cause,
    /// How many attempts were charged with it.
    pub(crate) charged: u32,
    /// The last that it printed to stderr.
    pub(crate) stderr: OutputExcerpt,
}
