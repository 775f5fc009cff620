//! How a run stands, as its loop shows it.

use std::sync::{Mutex, PoisonError};

use ratchet_ipc::JobKey;
use ratchet_resilience::shutdown::Phase;
use tokio::sync::watch;

use crate::breaker::BreakerReport;

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStatus {
    /// How far it has come on the way to its end.
    pub phase: Phase,
    /// Why no attempt starts, if none does.
    pub held: Option<String>,
    /// Jobs it has taken.
    pub taken: u64,
    /// Those of them that wait, for whatever.
    pub waiting: usize,
    /// Those that run.
    pub running: usize,
    /// The most that ran at the same time.
    pub peak: usize,
    /// Those that have ended.
    pub ended: u64,
    /// Those of these that succeeded.
    pub succeeded: u64,
    /// Those of these that failed, timed out or crashed.
    pub failed: u64,
    /// Jobs whose results were delivered and may be wrong, because the filter that gave them proved to be out of
    /// step.
    pub suspects: Vec<JobKey>,
    /// What breakers did, of those that have opened.
    pub breakers: Vec<BreakerReport>,
    /// How many retries were not made because the retry budget was used up.
    pub retries_refused: u64,
    /// All slots there are.
    pub slots: u32,
    /// Those that are filled.
    pub slots_used: u32,
}

impl RunStatus {
    pub(super) fn new(slots: u32) -> Self {
        Self {
            phase: Phase::Running,
            held: None,
            taken: 0,
            waiting: 0,
            running: 0,
            peak: 0,
            ended: 0,
            succeeded: 0,
            failed: 0,
            suspects: Vec::new(),
            breakers: Vec::new(),
            retries_refused: 0,
            slots,
            slots_used: 0,
        }
    }
}

/// What the loop shows.
#[derive(Debug)]
pub(super) struct Gauges {
    status: Mutex<RunStatus>,
    quiet: watch::Sender<bool>,
}

impl Gauges {
    pub(super) fn new(slots: u32) -> Self {
        Self {
            status: Mutex::new(RunStatus::new(slots)),
            quiet: watch::Sender::new(false),
        }
    }

    /// Changes the figures. They are plain, so there is nothing that a panic could leave half done.
    pub(super) fn set(&self, change: impl FnOnce(&mut RunStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn status(&self) -> RunStatus {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.clone()
    }

    /// Shows that all jobs have their outcomes, and that nothing is done any more.
    pub(super) fn set_quiet(&self) {
        self.quiet
            .send_if_modified(|quiet| !std::mem::replace(quiet, true));
    }

    pub(super) fn is_quiet(&self) -> bool {
        *self.quiet.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.quiet.subscribe()
    }
}
