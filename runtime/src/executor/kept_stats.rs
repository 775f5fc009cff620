//! The figures of runs, kept for whoever asks an executor.

use std::sync::{Arc, Mutex, PoisonError};

use super::sinks::{Interest, Sink};
use crate::event::{Event, EventRecord};
use crate::summary::LiveStats;
use crate::suspension::working_now;

/// The figures of the run that goes on, or of the last one.
pub(super) type SharedStats = Arc<Mutex<LiveStats>>;

/// Keeps the figures of each run. A run begins with new ones.
pub(super) struct StatsSink(SharedStats);

impl StatsSink {
    /// Makes a sink, and the figures that it keeps.
    pub(super) fn new() -> (Self, SharedStats) {
        let stats = Arc::new(Mutex::new(LiveStats::new(working_now())));
        (Self(Arc::clone(&stats)), stats)
    }
}

impl Sink for StatsSink {
    fn on(&mut self, record: &EventRecord) {
        let now = working_now();
        let mut stats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(record.event, Event::RunStarted { .. }) {
            *stats = LiveStats::new(now);
        }
        stats.observe(&record.event, now);
    }

    fn interest(&self) -> Interest {
        Interest::Complete
    }

    fn name(&self) -> &'static str {
        "statistics"
    }
}
