//! Jobs through a queue in a command that was built without it: none.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ratchet_runtime::{Executor, Journal, MaxFailures, Run, Sink, Stopped};
use tokio::task::JoinHandle;

use super::console::Console;
use super::earlier::{EarlierOutcomes, ResumeDifferences};
use crate::error::CliError;

/// The jobs of a run that nodes of a queue do, of which this command has none.
pub(crate) enum QueuedJobs {}

impl QueuedJobs {
    /// Is never called.
    pub(super) fn follower(&self, _: FollowRules, _: Option<Console>) -> FollowerParts {
        match *self {}
    }
}

/// Stops a follower, which this command does not have.
#[derive(Clone)]
pub(super) enum FollowControl {}

/// What is needed to follow jobs, which this command does not do.
pub(super) enum FollowerParts {}

/// The rules that end a run, which the executor of this command applies.
#[expect(dead_code, reason = "nothing follows jobs in this command")]
pub(super) struct FollowRules {
    /// How many jobs may fail.
    pub(super) max_failures: Option<MaxFailures>,
    /// How long the run may take.
    pub(super) deadline: Option<Duration>,
    /// Whether outcomes are passed on in the order of the jobs.
    pub(super) keeps_order: bool,
}

/// How a follower ended.
pub(super) struct FollowEnd {
    /// An error, after which jobs may be without an outcome.
    pub(super) result: Result<(), CliError>,
    /// How the jobs of a resumed run differ from those of its earlier part.
    pub(super) differences: Option<ResumeDifferences>,
    /// The rule that ended the run.
    pub(super) stopped: Option<Stopped>,
}

impl FollowControl {
    /// Is never called.
    pub(super) fn cancel(&self) {
        match *self {}
    }

    /// Is never called.
    pub(super) fn leave(&self) {
        match *self {}
    }

    /// Is never called.
    pub(super) fn peak(&self) -> u64 {
        match *self {}
    }
}

impl FollowerParts {
    /// Is never called.
    pub(super) fn record_in(&mut self, _: &Arc<Mutex<Journal>>) {
        match *self {}
    }

    /// Is never called.
    pub(super) fn share<S: Sink + 'static>(&mut self, _: S) -> S {
        match *self {}
    }

    /// Is never called.
    pub(super) fn control(&self) -> FollowControl {
        match *self {}
    }

    /// Is never called.
    pub(super) fn begin(
        self,
        _: QueuedJobs,
        _: &Executor,
        _: Option<EarlierOutcomes>,
        _: Box<dyn Fn(u64) + Send>,
    ) -> Result<(Run, JoinHandle<FollowEnd>), CliError> {
        match self {}
    }
}
