//! The status of a run, which its loop publishes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ratchet_ipc::JobKey;
use ratchet_resilience::shutdown::Phase;
use tokio::sync::watch;

use crate::breaker::BreakerReport;
use crate::ids::PlaceName;

/// The phase and the figures of a run, as of the last turn of its loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStatus {
    /// The phase of the run.
    pub phase: Phase,
    /// Why no attempt starts; `None` while attempts may start.
    pub held: Option<String>,
    /// Whether somebody has paused the run.
    pub is_paused: bool,
    /// How many jobs there will be, if that is known.
    pub total: Option<u64>,
    /// How many jobs the run has pulled.
    pub taken: u64,
    /// How many of them wait, for whatever cause.
    pub waiting: usize,
    /// How many of them run.
    pub running: usize,
    /// The most that ran at the same time.
    pub peak: usize,
    /// How many of them have ended.
    pub ended: u64,
    /// How many of those that ended succeeded.
    pub succeeded: u64,
    /// How many of those that ended failed, timed out or crashed.
    pub failed: u64,
    /// The jobs whose delivered results may be wrong, because the filter that gave them proved to be out of step.
    pub suspects: Vec<JobKey>,
    /// How many jobs ran for longer than their terms call [slow](crate::Terms::slow).
    pub slow: u64,
    /// The reports of the breakers that have opened.
    pub breakers: Vec<BreakerReport>,
    /// How many retries were not made because the retry budget was used up.
    pub retries_refused: u64,
    /// How many slots there are in all.
    pub slots: u32,
    /// How many slots are filled.
    pub slots_used: u32,
}

impl RunStatus {
    /// Makes the figures of a run that has not begun, with all its slots free.
    pub(super) fn new(slots: u32) -> Self {
        Self {
            phase: Phase::Running,
            held: None,
            is_paused: false,
            total: None,
            taken: 0,
            waiting: 0,
            running: 0,
            peak: 0,
            ended: 0,
            succeeded: 0,
            failed: 0,
            suspects: Vec::new(),
            slow: 0,
            breakers: Vec::new(),
            retries_refused: 0,
            slots,
            slots_used: 0,
        }
    }
}

/// The figures of a run, which the loop sets and its handles read.
#[derive(Debug)]
pub(super) struct Gauges {
    status: Mutex<RunStatus>,
    /// How many attempts run at each place. It is not set if there is only one place.
    at_places: OnceLock<BTreeMap<PlaceName, Arc<AtomicUsize>>>,
    /// Whether all jobs have their outcomes. It never changes back.
    quiet: watch::Sender<bool>,
}

impl Gauges {
    /// Makes the figures of a run that has not begun.
    pub(super) fn new(slots: u32) -> Self {
        Self {
            status: Mutex::new(RunStatus::new(slots)),
            at_places: OnceLock::new(),
            quiet: watch::Sender::new(false),
        }
    }

    /// Changes the figures. A poisoned lock is used all the same, because a panic cannot leave plain figures half
    /// changed.
    pub(super) fn set(&self, change: impl FnOnce(&mut RunStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Copies the figures of the last turn of the loop.
    pub(super) fn status(&self) -> RunStatus {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.clone()
    }

    /// Sets the counts of the attempts that run at each place.
    pub(super) fn count_at(&self, places: BTreeMap<PlaceName, Arc<AtomicUsize>>) {
        #[expect(clippy::expect_used, reason = "the loop of a run is made once")]
        self.at_places
            .set(places)
            .expect("the counts of the places are set once");
    }

    /// Returns how many attempts run at a place.
    pub(super) fn running_at(&self, place: &PlaceName) -> usize {
        match self.at_places.get() {
            // Relaxed: nothing else is ordered by this count.
            Some(places) => places
                .get(place)
                .map_or(0, |count| count.load(Ordering::Relaxed)),
            None if *place == PlaceName::LOCAL => self.status().running,
            None => 0,
        }
    }

    /// Publishes that all jobs have their outcomes, so that the run takes no more orders.
    pub(super) fn set_quiet(&self) {
        self.quiet
            .send_if_modified(|quiet| !std::mem::replace(quiet, true));
    }

    /// Whether all jobs have their outcomes.
    pub(super) fn is_quiet(&self) -> bool {
        *self.quiet.borrow()
    }

    /// Returns a receiver of the changes of [`is_quiet`](Self::is_quiet).
    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.quiet.subscribe()
    }
}
