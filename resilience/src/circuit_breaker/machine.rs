use std::time::{Duration, Instant};

use super::probes::{Probe, Probes};
use super::ramp::Ramp;
use super::settings::Settings;
use super::ticket::Ticket;
use super::transition_queue::TransitionQueue;
use super::window::{Counts, SlidingWindow};
use super::{BreakerSnapshot, Rejection, State, Transition, TransitionCause};
use crate::Rng;
use crate::time::saturating_add;

/// The rules of the breaker as a state machine that takes the time as an argument. Only [`StateMachine::change_mode`]
/// changes the state.
#[derive(Debug)]
pub(super) struct StateMachine {
    settings: Settings,
    mode: Mode,
    /// Grows with each change of state, so that a permit from before the change can be recognized.
    generation: u64,
    /// The generation whose calls count: the current one or, after a ramp, the one of the ramp.
    epoch: u64,
    window: SlidingWindow,
    /// How many calls have failed since the last success, while closed.
    consecutive_failures: u32,
    /// How many times the breaker has opened since it was last closed.
    openings: u32,
    rng: Rng,
    /// The changes of state that were not reported to the listener yet.
    transitions: TransitionQueue,
    last_transition: Option<Transition>,
}

/// The current state, with data that [`State`] does not show.
#[derive(Debug)]
enum Mode {
    /// Calls are admitted, and counted in the window.
    Closed,
    /// Calls are refused until this time, at which the first call becomes a probe.
    Open { until: Instant },
    /// Probes are admitted, and their outcomes decide whether the breaker closes or opens again.
    HalfOpen(Probes),
    /// A growing share of the calls is admitted.
    Ramping(Ramp),
    /// All calls are refused until a reset, by request of an operator.
    ForcedOpen,
    /// All calls are admitted until a reset, whatever their outcomes are, by request of an operator.
    ForcedClosed,
}

impl StateMachine {
    /// Makes a closed breaker that has seen no call.
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
            transitions: TransitionQueue::default(),
            last_transition: None,
        }
    }

    /// Returns the changes of state that were not reported to the listener yet.
    pub(super) fn transitions(&mut self) -> &mut TransitionQueue {
        &mut self.transitions
    }

    /// Returns the latest change of state, if there was one.
    pub(super) fn last_transition(&self) -> Option<Transition> {
        self.last_transition
    }

    /// Returns the state as of the last call: an open time that is over ends only with the next call.
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

    /// Reads the state and the counts of the window as of `now`.
    pub(super) fn snapshot(&mut self, now: Instant) -> BreakerSnapshot {
        let counts = self.window.counts(now);
        let probes_under_way = match &self.mode {
            Mode::HalfOpen(probes) => probes.under_way(now),
            _ => 0,
        };
        BreakerSnapshot {
            state: self.state(),
            generation: self.generation,
            calls: counts.calls,
            failures: counts.failures,
            slow_calls: counts.slow,
            consecutive_failures: self.consecutive_failures,
            probes_under_way,
        }
    }

    /// Admits a call, or returns when it may ask again.
    pub(super) fn acquire(&mut self, now: Instant) -> Result<Ticket, Rejection> {
        match &self.mode {
            Mode::Open { until } if now >= *until => {
                let probes = Probes::new(self.settings.probes);
                self.enter_afresh(Mode::HalfOpen(probes), TransitionCause::OpenTimeOver, now);
            }
            // The calls of the ramp, and those still in progress, continue to count: the epoch stays.
            Mode::Ramping(ramp) if now >= ramp.end() => {
                self.change_mode(Mode::Closed, TransitionCause::RampOver, now);
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

    /// Counts a call that was admitted in this epoch, and ignores other calls.
    pub(super) fn record(&mut self, ticket: Ticket, failed: bool, took: Duration, now: Instant) {
        if ticket.epoch != self.epoch {
            return;
        }
        let slow = self
            .settings
            .slow
            .is_some_and(|rule| took >= rule.threshold);
        if let Some(probe) = ticket.probe {
            return self.record_probe(probe, failed || slow, now);
        }
        self.window.push(Counts::one(failed, slow), now);
        self.consecutive_failures = if failed {
            self.consecutive_failures.saturating_add(1)
        } else {
            0
        };
        if matches!(self.mode, Mode::Closed | Mode::Ramping(_))
            && let Some(cause) = self.opening_cause(now)
        {
            self.open(cause, now);
        }
    }

    /// Decides by the result of a probe whether to open, to close, or to wait for the other probes.
    fn record_probe(&mut self, probe: Probe, failed: bool, now: Instant) {
        let Mode::HalfOpen(probes) = &mut self.mode else {
            return;
        };
        // A late probe may have lost its slot to another one. So it never counts, even if it still has its slot.
        let in_time = probes
            .give_back(probe)
            .is_some_and(|lease_end| now < lease_end);
        if in_time && failed {
            self.open(TransitionCause::ProbeFailed, now);
        } else if in_time && probes.succeed(probe) {
            let mode = match self.settings.ramp {
                Some(rule) => Mode::Ramping(Ramp::new(rule, now)),
                None => Mode::Closed,
            };
            self.enter_afresh(mode, TransitionCause::ProbesSucceeded, now);
        }
    }

    /// Frees the slot of a probe that was dropped.
    pub(super) fn release(&mut self, ticket: Ticket) {
        if ticket.epoch != self.epoch {
            return;
        }
        if let (Mode::HalfOpen(probes), Some(probe)) = (&mut self.mode, ticket.probe) {
            probes.give_back(probe);
        }
    }

    /// Refuses all calls from now on, until a reset.
    pub(super) fn force_open(&mut self, now: Instant) {
        if !matches!(self.mode, Mode::ForcedOpen) {
            self.enter_afresh(Mode::ForcedOpen, TransitionCause::Forced, now);
        }
    }

    /// Admits all calls from now on, until a reset.
    pub(super) fn force_close(&mut self, now: Instant) {
        if !matches!(self.mode, Mode::ForcedClosed) {
            self.enter_afresh(Mode::ForcedClosed, TransitionCause::Forced, now);
        }
    }

    /// Closes the breaker, and forgets all calls, including those in progress.
    pub(super) fn reset(&mut self, now: Instant) {
        self.enter_afresh(Mode::Closed, TransitionCause::Reset, now);
    }

    /// Returns the reason to open the breaker, if there is one.
    fn opening_cause(&mut self, now: Instant) -> Option<TransitionCause> {
        if self
            .settings
            .consecutive_failures
            .is_some_and(|limit| self.consecutive_failures >= limit)
        {
            return Some(TransitionCause::ConsecutiveFailures);
        }
        let counts = self.window.counts(now);
        if counts.calls < self.settings.minimum_calls {
            return None;
        }
        if self
            .settings
            .failure_rate
            .is_some_and(|rate| reaches(counts.failures, counts.calls, rate))
        {
            return Some(TransitionCause::FailureRate);
        }
        if self
            .settings
            .slow
            .is_some_and(|rule| reaches(counts.slow, counts.calls, rule.rate))
        {
            return Some(TransitionCause::SlowRate);
        }
        None
    }

    fn open(&mut self, cause: TransitionCause, now: Instant) {
        let full = self.settings.open_time(self.openings);
        self.openings = self.openings.saturating_add(1);
        // Jitter only shortens the time, so that breakers at the longest open time do not all return together.
        // `mul_f64` may round above `full`, so the result is limited once more.
        let shortest = full.mul_f64(1.0 - self.settings.open_jitter).min(full);
        let until = saturating_add(now, self.rng.between(shortest, full));
        self.enter_afresh(Mode::Open { until }, cause, now);
    }

    /// Changes the mode, and invalidates the counts and the permits from before.
    fn enter_afresh(&mut self, mode: Mode, cause: TransitionCause, now: Instant) {
        self.change_mode(mode, cause, now);
        self.epoch = self.generation;
        self.window.clear();
        self.consecutive_failures = 0;
    }

    /// Changes the mode and queues the transition. The counts and the permits from before stay valid.
    fn change_mode(&mut self, mode: Mode, cause: TransitionCause, now: Instant) {
        let from = self.state();
        self.mode = mode;
        self.generation += 1;
        // A service that fails during the ramp had not recovered, so the next open time is longer than the last.
        if !matches!(
            self.mode,
            Mode::Open { .. } | Mode::HalfOpen(_) | Mode::Ramping(_)
        ) {
            self.openings = 0;
        }
        let transition = Transition {
            generation: self.generation,
            at: now,
            from,
            to: self.state(),
            cause,
        };
        self.last_transition = Some(transition);
        self.transitions.push(transition);
    }
}

/// Whether `count` is at least the share `rate` of `calls`.
#[expect(
    clippy::cast_precision_loss,
    reason = "a window never holds 2^52 calls"
)]
fn reaches(count: u64, calls: u64, rate: f64) -> bool {
    count as f64 >= rate * calls as f64
}
