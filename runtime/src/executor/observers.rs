//! The observers of a run: sinks receive each event, and gauges show the current figures.

use std::sync::Arc;
use std::time::Instant;

use ratchet_ipc::JobKey;
use ratchet_resilience::shutdown::Phase;

use super::sinks::Sinks;
use super::status::{Gauges, RunStatus};
use super::stop::EndCounts;
use super::times::WallClock;
use crate::breaker::BreakerReport;
use crate::event::RunEvent;
use crate::scheduling::SchedulerLoad;
use crate::timestamp::Timestamp;

/// Tells sinks and gauges what happens in a run.
pub(super) struct Observers {
    sinks: Sinks,
    /// The figures that the handles of the run read.
    gauges: Arc<Gauges>,
    /// Turns times of the clock of work into times of day.
    wall: WallClock,
}

/// The context of one turn of the loop: its time, and the observers that are told what happens.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    /// The time of the turn.
    pub(super) now: Instant,
    /// The observers of the run.
    pub(super) observers: &'a Observers,
}

impl Turn<'_> {
    /// Emits an event of a single job. The event is not even made if no sink wants events of single jobs.
    pub(super) fn emit_of_job(&self, event: impl FnOnce() -> RunEvent) {
        self.observers.emit_of_job(self.now, event);
    }
}

impl Observers {
    /// Makes the observers of a run. `wall` is the clock for the times of events.
    pub(super) fn new(sinks: Sinks, gauges: Arc<Gauges>, wall: WallClock) -> Self {
        Self {
            sinks,
            gauges,
            wall,
        }
    }

    /// Begins a turn, in which the wall clock is read again if that is due.
    pub(super) fn pass_time(&mut self, now: Instant) {
        self.wall.refresh(now);
    }

    /// Returns the wall clock of the run.
    pub(super) fn wall(&self) -> &WallClock {
        &self.wall
    }

    /// Returns what the wall clock shows at a moment of the run.
    pub(super) fn at(&self, moment: Instant) -> Timestamp {
        self.wall.at(moment)
    }

    /// Emits an event. The event is not even made if there is no sink.
    pub(super) fn emit(&self, now: Instant, event: impl FnOnce() -> RunEvent) {
        if !self.sinks.is_empty() {
            self.sinks.emit(event(), self.wall.at(now));
        }
    }

    /// Emits an event of a single job. The event is not even made if no sink wants events of single jobs.
    pub(super) fn emit_of_job(&self, now: Instant, event: impl FnOnce() -> RunEvent) {
        if self.sinks.want_jobs() {
            self.sinks.emit(event(), self.wall.at(now));
        }
    }

    /// Publishes the figures of the run to its handles. `total` is how many jobs there will be, if that is known,
    /// `taken` how many were pulled, and `unfinished` how many of these have no outcome.
    pub(super) fn publish(
        &self,
        total: Option<u64>,
        (taken, unfinished): (u64, usize),
        load: &SchedulerLoad,
        tally: &EndCounts,
    ) {
        #[expect(
            clippy::expect_used,
            reason = "a job is counted as unfinished until after it has left the queue"
        )]
        let waiting =
            (unfinished.checked_sub(load.running)).expect("each running job is an unfinished job");
        self.gauges.set(|status| {
            status.total = total;
            status.taken = taken;
            status.waiting = waiting;
            status.running = load.running;
            status.peak = status.peak.max(load.running);
            status.ended = tally.ended;
            status.succeeded = tally.succeeded;
            status.failed = tally.failed;
            status.slots = load.slots;
            status.slots_used = load.slots_used;
        });
    }

    /// Publishes and emits why no job starts; `None` says that jobs start again.
    pub(super) fn publish_admission(&self, held: Option<String>, is_paused: bool, now: Instant) {
        self.set(|status| {
            status.is_paused = is_paused;
            status.held.clone_from(&held);
        });
        self.emit(now, || RunEvent::Admission { held });
    }

    /// Publishes and emits that the run has entered this phase, and why.
    pub(super) fn publish_phase(&self, phase: Phase, reason: String, now: Instant) {
        self.set(|status| status.phase = phase);
        let phase = phase.to_string();
        self.emit(now, || RunEvent::RunStopping { phase, reason });
    }

    /// Publishes which delivered results may be wrong.
    pub(super) fn publish_suspects(&self, ids: &[JobKey]) {
        self.set(|status| status.suspects.extend(ids.iter().cloned()));
    }

    /// Counts a job that has become slow.
    pub(super) fn count_slow(&self) {
        self.set(|status| status.slow += 1);
    }

    /// Publishes the reports of the breakers that have opened.
    pub(super) fn publish_breakers(&self, breakers: Vec<BreakerReport>) {
        self.set(|status| status.breakers = breakers);
    }

    /// Publishes how many retries were not made because the retry budget was used up.
    pub(super) fn publish_retries_refused(&self, count: u64) {
        self.set(|status| status.retries_refused = count);
    }

    /// Publishes that all jobs have their outcomes, so that the run takes no more orders.
    pub(super) fn publish_quiet(&self) {
        self.gauges.set_quiet();
    }

    fn set(&self, change: impl FnOnce(&mut RunStatus)) {
        self.gauges.set(change);
    }

    /// Emits the end of the run, and waits until the sinks have seen the remaining events.
    pub(super) async fn finish(self, tally: &EndCounts, now: Instant) {
        if self.sinks.is_empty() {
            return;
        }
        let (total, succeeded) = (tally.ended, tally.succeeded);
        self.emit(now, || RunEvent::RunEnded { total, succeeded });
        self.sinks.finish().await;
    }
}
