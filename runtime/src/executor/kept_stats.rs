//! The sink that keeps the figures of a run for [`Executor::stats`](super::Executor::stats).

use std::sync::{Arc, Mutex, PoisonError};

use super::sinks::{EventFilter, Sink};
use crate::event::{EventRecord, RunEvent};
use crate::summary::LiveStats;
use crate::suspension::working_now;

/// The figures of the current run, or of the last one.
pub(super) type SharedStats = Arc<Mutex<LiveStats>>;

/// Updates the figures of the current run from its events, and starts with empty figures when a run begins.
pub(super) struct StatsSink(SharedStats);

impl StatsSink {
    /// Makes a sink and its figures.
    pub(super) fn new() -> (Self, SharedStats) {
        let stats = Arc::new(Mutex::new(LiveStats::new(working_now())));
        (Self(Arc::clone(&stats)), stats)
    }
}

impl Sink for StatsSink {
    fn on(&mut self, record: &EventRecord) {
        let now = working_now();
        let mut stats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(record.event, RunEvent::RunStarted { .. }) {
            *stats = LiveStats::new(now);
        }
        stats.observe(&record.event, now);
    }

    fn event_filter(&self) -> EventFilter {
        EventFilter::Complete
    }

    fn name(&self) -> &'static str {
        "statistics"
    }
}
