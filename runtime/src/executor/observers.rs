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
use crate::event::Event;
use crate::scheduling::SchedulerLoad;
use crate::timestamp::Timestamp;

/// Tells those who watch a run what happens.
pub(super) struct Observers {
    sinks: Sinks,
    /// The figures that the handles of the run read.
    gauges: Arc<Gauges>,
    /// Turns moments of the monotonic clock into times of day.
    wall: WallClock,
}

/// The context of one turn of the loop: its time, and the observers that are told what happens.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    /// The time of the turn.
    pub(super) now: Instant,
    /// Who is told of what happens in it.
    pub(super) observers: &'a Observers,
}

impl Turn<'_> {
    /// Tells sinks of an event of a single job, which is not even made where nobody listens to these.
    pub(super) fn emit_of_job(&self, event: impl FnOnce() -> Event) {
        self.observers.emit_of_job(self.now, event);
    }
}

impl Observers {
    /// Makes the observers of a run, which stamp events with this clock.
    pub(super) fn new(sinks: Sinks, gauges: Arc<Gauges>, wall: WallClock) -> Self {
        Self {
            sinks,
            gauges,
            wall,
        }
    }

    /// Begins another turn: looks at the wall clock again if it is time.
    pub(super) fn pass_time(&mut self, now: Instant) {
        self.wall.keep(now);
    }

    /// Returns the wall clock by which moments are told.
    pub(super) fn wall(&self) -> &WallClock {
        &self.wall
    }

    /// Returns what the wall clock shows at a moment of the run.
    pub(super) fn at(&self, moment: Instant) -> Timestamp {
        self.wall.at(moment)
    }

    /// Tells sinks of an event, which is not even made where nobody listens.
    pub(super) fn emit(&self, now: Instant, event: impl FnOnce() -> Event) {
        if !self.sinks.is_empty() {
            self.sinks.emit(event(), self.wall.at(now));
        }
    }

    /// Tells sinks of an event of a single job, which is not even made where nobody listens to these.
    pub(super) fn emit_of_job(&self, now: Instant, event: impl FnOnce() -> Event) {
        if self.sinks.want_jobs() {
            self.sinks.emit(event(), self.wall.at(now));
        }
    }

    /// Shows the figures of the run to its handles: how many jobs there will be, if that is known, how many were `taken`, and
    /// how many of these are `living`, because they have not ended.
    pub(super) fn show(
        &self,
        total: Option<u64>,
        (taken, living): (u64, usize),
        load: &SchedulerLoad,
        tally: &EndCounts,
    ) {
        #[expect(
            clippy::expect_used,
            reason = "a job is counted out after it has left the queue"
        )]
        let waiting = (living.checked_sub(load.running))
            .expect("each job that runs has come and has no outcome yet");
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

    /// Shows and tells why nothing starts, or that things start again.
    pub(super) fn show_admission(&self, held: Option<String>, is_paused: bool, now: Instant) {
        self.set(|status| {
            status.is_paused = is_paused;
            status.held.clone_from(&held);
        });
        self.emit(now, || Event::Admission { held });
    }

    /// Tells and shows that the run has entered this phase, and why.
    pub(super) fn show_phase(&self, phase: Phase, reason: String, now: Instant) {
        self.set(|status| status.phase = phase);
        let phase = phase.to_string();
        self.emit(now, || Event::RunStopping { phase, reason });
    }

    /// Shows the jobs whose results may be wrong, though they were delivered.
    pub(super) fn show_suspects(&self, ids: &[JobKey]) {
        self.set(|status| status.suspects.extend(ids.iter().cloned()));
    }

    /// Counts a job that has become slow.
    pub(super) fn show_slow(&self) {
        self.set(|status| status.slow += 1);
    }

    /// Shows what the breakers did that have opened.
    pub(super) fn show_breakers(&self, breakers: Vec<BreakerReport>) {
        self.set(|status| status.breakers = breakers);
    }

    /// How many retries were not made because the retry budget was used up.
    pub(super) fn show_retries_refused(&self, count: u64) {
        self.set(|status| status.retries_refused = count);
    }

    /// Shows that all jobs have their outcomes, and that nothing is done any more.
    pub(super) fn show_quiet(&self) {
        self.gauges.set_quiet();
    }

    fn set(&self, change: impl FnOnce(&mut RunStatus)) {
        self.gauges.set(change);
    }

    /// Emits the end of the run, and waits for the sinks to see the remaining events.
    pub(super) async fn finish(self, tally: &EndCounts, now: Instant) {
        if self.sinks.is_empty() {
            return;
        }
        let (total, succeeded) = (tally.ended, tally.succeeded);
        self.emit(now, || Event::RunEnded { total, succeeded });
        self.sinks.finish().await;
    }
}
