//! How a follower is stopped, and the rules by which it stops by itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ratchet_runtime::MaxFailures;
use tokio::sync::watch;

/// Stops a follower, and holds what its run has to know.
#[derive(Clone)]
pub(in crate::session) struct FollowControl {
    stage: Arc<watch::Sender<FollowStage>>,
    /// The greatest number of jobs that ran at once.
    peak: Arc<Mutex<u64>>,
}

/// How far a follower is on the way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FollowStage {
    /// Jobs are submitted and followed.
    Following,
    /// No more jobs are submitted, and those in the queue are cancelled.
    Cancelling,
    /// What still runs is not waited for.
    Leaving,
}

impl FollowControl {
    /// Makes the control of a follower that is about to start.
    pub(super) fn new() -> Self {
        Self {
            stage: Arc::new(watch::channel(FollowStage::Following).0),
            peak: Arc::default(),
        }
    }

    /// Cancels the jobs that are in the queue, and submits no more.
    pub(in crate::session) fn cancel(&self) {
        self.reach(FollowStage::Cancelling);
    }

    /// Leaves without waiting for jobs that still run.
    pub(in crate::session) fn leave(&self) {
        self.reach(FollowStage::Leaving);
    }

    /// Returns the greatest number of jobs that ran at once.
    pub(in crate::session) fn peak(&self) -> u64 {
        *self.peak.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records how many jobs run.
    pub(super) fn note_running(&self, running: usize) {
        let mut peak = self.peak.lock().unwrap_or_else(PoisonError::into_inner);
        *peak = (*peak).max(running as u64);
    }

    /// Returns the stage, and changes of it.
    pub(super) fn stages(&self) -> watch::Receiver<FollowStage> {
        self.stage.subscribe()
    }

    /// Goes to this stage, unless a later one is reached already.
    fn reach(&self, wanted: FollowStage) {
        self.stage.send_if_modified(|stage| {
            let is_new = *stage < wanted;
            *stage = wanted.max(*stage);
            is_new
        });
    }
}

/// The rules that end a run before its jobs are done.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::session) struct FollowRules {
    /// How many jobs may fail.
    pub(in crate::session) max_failures: Option<MaxFailures>,
    /// How long the run may take.
    pub(in crate::session) deadline: Option<Duration>,
    /// Whether outcomes are passed on in the order of the jobs.
    pub(in crate::session) keeps_order: bool,
}
