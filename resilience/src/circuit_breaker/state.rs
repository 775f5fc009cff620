use std::time::{Duration, Instant};

use super::announcements::Announcements;
use super::probes::{Probe, Probes};
use super::ramp::Ramp;
use super::settings::Settings;
use super::window::{Counts, SlidingWindow};
use super::{Cause, Rejection, Snapshot, State, Transition};
use crate::Rng;
use crate::clock::later;

/// What an admitted call brings back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    epoch: u64,
    probe: Option<Probe>,
}

impl Ticket {
    pub(super) fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// The ticket, leaving one that holds no probe.
    pub(super) fn take(&mut self) -> Self {
        Self {
            epoch: self.epoch,
            probe: self.probe.take(),
        }
    }
}

/// The breaker itself: a value that takes the time. Every change of state goes through [`Machine::change`].
#[derive(Debug)]
pub(super) struct Machine {
    settings: Settings,
    mode: Mode,
    generation: u64,
    /// The generation whose calls count: the current one, or since the end of a ramp the one of that ramp.
    epoch: u64,
    window: SlidingWindow,
    consecutive_failures: u32,
    /// How often it opened since it was last closed.
    openings: u32,
    rng: Rng,
    announcements: Announcements,
}

#[derive(Debug)]
enum Mode {
    Closed,
    Open { until: Instant },
    HalfOpen(Probes),
    Ramping(Ramp),
    ForcedOpen,
    ForcedClosed,
}

impl Machine {
    pub(super) fn new(settings: Settings, rng: Rng) -> Self {
        Self {
            settings,
            mode: Mode::Closed,
            generation: 0,
            epoch: 0,
            window: SlidingWindow::new(settings.window),
            consecutive_failures: 0,
            openings: 0,
            rng,
            announcements: Announcements::default(),
        }
    }

    pub(super) fn announcements(&mut self) -> &mut Announcements {
        &mut self.announcements
    }

    pub(super) fn state(&self) -> State {
        match &self.mode {
            Mode::Closed => State::Closed,
            Mode::Open { until } => State::Open { until: *until },
            Mode::HalfOpen(_) => State::HalfOpen,
            Mode::Ramping(ramp) => State::Ramping { until: ramp.end() },
            Mode::ForcedOpen => State::ForcedOpen,
            Mode::ForcedClosed => State::ForcedClosed,
        }
    }

    pub(super) fn snapshot(&mut self, now: Instant) -> Snapshot {
        let counts = self.window.counts(now);
        let probes_under_way = match &self.mode {
            Mode::HalfOpen(probes) => probes.under_way(now),
            _ => 0,
        };
        Snapshot {
            state: self.state(),
            generation: self.generation,
            calls: counts.calls,
            failures: counts.failures,
            slow_calls: counts.slow,
            consecutive_failures: self.consecutive_failures,
            probes_under_way,
        }
    }

    pub(super) fn acquire(&mut self, now: Instant) -> Result<Ticket, Rejection> {
        match &self.mode {
            Mode::Open { until } if now >= *until => {
                let probes = Probes::new(self.settings.probes);
                self.enter(Mode::HalfOpen(probes), Cause::OpenTimeOver, now);
            }
            // What its calls have shown so far, and those still under way, go on to count.
            Mode::Ramping(ramp) if now >= ramp.end() => {
                self.change(Mode::Closed, Cause::RampOver, now);
            }
            _ => {}
        }
        let probe = match &mut self.mode {
            Mode::Closed | Mode::ForcedClosed => Ok(None),
            Mode::Open { until } => Err(Some(*until)),
            Mode::HalfOpen(probes) => probes.take(now, self.settings.probe_lease).map(Some),
            Mode::Ramping(ramp) => ramp.admit(now).map(|()| None).map_err(Some),
            Mode::ForcedOpen => Err(None),
        };
        match probe {
            Ok(probe) => Ok(Ticket {
                epoch: self.epoch,
                probe,
            }),
            Err(until) => Err(Rejection::new(self.state(), until)),
        }
    }

    /// Counts a call that was admitted in this epoch; others are ignored.
    pub(super) fn record(&mut self, ticket: Ticket, failed: bool, took: Duration, now: Instant) {
        if ticket.epoch != self.epoch {
            return;
        }
        let slow = self
            .settings
            .slow
            .is_some_and(|rule| took >= rule.threshold);
        if let Some(probe) = ticket.probe {
            return self.settle(probe, failed || slow, now);
        }
        self.window.push(Counts::one(failed, slow), now);
        self.consecutive_failures = if failed {
            self.consecutive_failures.saturating_add(1)
        } else {
            0
        };
        if matches!(self.mode, Mode::Closed | Mode::Ramping(_))
            && let Some(cause) = self.tripped(now)
        {
            self.open(cause, now);
        }
    }

    fn settle(&mut self, probe: Probe, failed: bool, now: Instant) {
        let Mode::HalfOpen(probes) = &mut self.mode else {
            return;
        };
        // The place of a probe that is late may be another's by now, so it has no say even if it is not.
        let in_time = probes
            .give_back(probe)
            .is_some_and(|lease_end| now < lease_end);
        if in_time && failed {
            self.open(Cause::ProbeFailed, now);
        } else if in_time && probes.succeed(probe) {
            let mode = match self.settings.ramp {
                Some(rule) => Mode::Ramping(Ramp::new(rule, now)),
                None => Mode::Closed,
            };
            self.enter(mode, Cause::ProbesSucceeded, now);
        }
    }

    /// Frees the place of a probe that will not report.
    pub(super) fn release(&mut self, ticket: Ticket) {
        if ticket.epoch != self.epoch {
            return;
        }
        if let (Mode::HalfOpen(probes), Some(probe)) = (&mut self.mode, ticket.probe) {
            probes.give_back(probe);
        }
    }

    pub(super) fn force_open(&mut self, now: Instant) {
        if !matches!(self.mode, Mode::ForcedOpen) {
            self.enter(Mode::ForcedOpen, Cause::Forced, now);
        }
    }

    pub(super) fn force_close(&mut self, now: Instant) {
        if !matches!(self.mode, Mode::ForcedClosed) {
            self.enter(Mode::ForcedClosed, Cause::Forced, now);
        }
    }

    pub(super) fn reset(&mut self, now: Instant) {
        self.enter(Mode::Closed, Cause::Reset, now);
    }

    fn tripped(&mut self, now: Instant) -> Option<Cause> {
        if self
            .settings
            .consecutive_failures
            .is_some_and(|limit| self.consecutive_failures >= limit)
        {
            return Some(Cause::ConsecutiveFailures);
        }
        let counts = self.window.counts(now);
        if counts.calls < self.settings.minimum_calls {
            return None;
        }
        if self
            .settings
            .failure_rate
            .is_some_and(|rate| reached(counts.failures, counts.calls, rate))
        {
            return Some(Cause::FailureRate);
        }
        if self
            .settings
            .slow
            .is_some_and(|rule| reached(counts.slow, counts.calls, rule.rate))
        {
            return Some(Cause::SlowRate);
        }
        None
    }

    fn open(&mut self, cause: Cause, now: Instant) {
        let full = self.settings.open_time(self.openings);
        self.openings = self.openings.saturating_add(1);
        // Jitter only shortens, so that breakers that have reached the cap do not all return at it together.
        // A float may round up, so the cap holds once more.
        let shortest = full.mul_f64(1.0 - self.settings.open_jitter).min(full);
        let until = later(now, self.rng.between(shortest, full));
        self.enter(Mode::Open { until }, cause, now);
    }

    /// Nothing from before is known after it: not the counts, not the permits.
    fn enter(&mut self, mode: Mode, cause: Cause, now: Instant) {
        self.change(mode, cause, now);
        self.epoch = self.generation;
        self.window.clear();
        self.consecutive_failures = 0;
    }

    fn change(&mut self, mode: Mode, cause: Cause, now: Instant) {
        let from = self.state();
        self.mode = mode;
        self.generation += 1;
        // What breaks on the ramp had not recovered, so it stays open for longer than the last time.
        if !matches!(
            self.mode,
            Mode::Open { .. } | Mode::HalfOpen(_) | Mode::Ramping(_)
        ) {
            self.openings = 0;
        }
        self.announcements.push(Transition {
            generation: self.generation,
            at: now,
            from,
            to: self.state(),
            cause,
        });
    }
}

/// Whether `part` is at least `rate` of `of`.
#[expect(
    clippy::cast_precision_loss,
    reason = "a window never holds 2^52 calls"
)]
fn reached(part: u64, of: u64, rate: f64) -> bool {
    part as f64 >= rate * of as f64
}
