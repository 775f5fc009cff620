//! Decides when an attempt is asked to stop, and when it is killed. Workers, closures and programs use the same clock.

use std::time::{Duration, Instant};

/// The least time between asking an attempt to stop because of a timeout and killing it.
pub(crate) const LAST_MOMENT: Duration = Duration::from_secs(1);

/// How long an attempt may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct StopLimits {
    /// How long the attempt may run before it is asked to stop.
    pub(crate) soft: Option<Duration>,
    /// How long the attempt may run before it is killed.
    pub(crate) hard: Option<Duration>,
    /// How long the attempt may run without reporting progress.
    pub(crate) idle: Option<Duration>,
}

/// Keeps the timeouts of an attempt. It is a plain value, and the code that performs the attempt asks it what is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StopClock {
    /// When the attempt began. The soft and the hard timeout count from then.
    started: Instant,
    /// When the attempt last reported progress. The idle timeout counts from then.
    last_activity: Instant,
    /// The reason and the time of the kill, once the attempt was asked to stop.
    stopping: Option<Stopping>,
}

/// The state of an attempt that was asked to stop: why, and when it is killed if it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stopping {
    reason: StopReason,
    /// When it is killed; `None` if its grace has no limit.
    kill_at: Option<Instant>,
}

/// The reason for which an attempt has to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// The attempt ran for as long as its soft or hard timeout.
    Time(Duration),
    /// The attempt reported no progress for as long as its idle timeout.
    Silence(Duration),
    /// The attempt was cancelled.
    Unwanted,
}

/// The next step that the timeouts of an attempt demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopAction {
    /// Ask the attempt to stop.
    Ask(StopReason),
    /// Kill the attempt.
    Kill(StopReason),
}

/// The ways in which an attempt can be stopped, which depend on what performs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopMethod {
    /// The attempt can be asked to stop, and has at least [a moment](LAST_MOMENT) before it is killed.
    Asked,
    /// The attempt is a program that can be asked by a signal, and is killed when its grace or its hard timeout is over,
    /// whichever comes first.
    Signalled,
    /// The attempt can be asked to stop, and is killed at its hard timeout, however shortly before it was asked:
    /// killing it costs nothing.
    Dropped,
    /// The attempt can only be killed, which costs its worker, so it is killed as late as its timeouts allow.
    Killed,
}

impl StopClock {
    /// Starts the clock of an attempt.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            started: now,
            last_activity: now,
            stopping: None,
        }
    }

    /// Returns when the attempt began.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Returns how long the attempt has run.
    pub(crate) fn ran(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// Records that the attempt has reported progress at this time.
    pub(crate) fn note_activity(&mut self, at: Instant) {
        self.last_activity = self.last_activity.max(at);
    }

    /// Returns the reason for which the attempt was asked to stop, if it was.
    pub(crate) fn asked(&self) -> Option<StopReason> {
        self.stopping.map(|stopping| stopping.reason)
    }

    /// Records that the attempt was asked to stop. If it is asked again, the first reason is kept and the earlier time
    /// of the kill counts.
    pub(crate) fn ask(
        &mut self,
        reason: StopReason,
        limits: impl Into<StopLimits>,
        method: StopMethod,
        grace: Duration,
        now: Instant,
    ) {
        let limits = limits.into();
        let grace_ends = now.checked_add(grace);
        let hard_at = limits.hard.and_then(|hard| self.started.checked_add(hard));
        let kill_at = match (limits.hard, reason) {
            (None, _) => grace_ends,
            (Some(_), StopReason::Unwanted) => earlier(grace_ends, hard_at),
            (Some(_), StopReason::Time(_) | StopReason::Silence(_)) => match method {
                StopMethod::Dropped => hard_at,
                StopMethod::Signalled => earlier(grace_ends, hard_at),
                StopMethod::Asked | StopMethod::Killed => hard_at.max(now.checked_add(LAST_MOMENT)),
            },
        };
        let before = self.stopping.unwrap_or(Stopping { reason, kill_at });
        self.stopping = Some(Stopping {
            reason: before.reason,
            kill_at: earlier(before.kill_at, kill_at),
        });
    }

    /// Returns what is to be done next, and when.
    pub(crate) fn next(
        &self,
        limits: impl Into<StopLimits>,
        method: StopMethod,
    ) -> Option<(Instant, StopAction)> {
        let limits = limits.into();
        if let Some(Stopping { reason, kill_at }) = self.stopping {
            return Some((kill_at?, StopAction::Kill(reason)));
        }
        let after = |since: Instant, limit: Option<Duration>, why: fn(Duration) -> StopReason| {
            Some((since.checked_add(limit?)?, why(limit?)))
        };
        let soft = after(self.started, limits.soft, StopReason::Time);
        let hard = after(self.started, limits.hard, StopReason::Time);
        let idle = after(self.last_activity, limits.idle, StopReason::Silence);
        if method == StopMethod::Killed {
            let (at, reason) = first(hard.or(soft), idle)?;
            return Some((at, StopAction::Kill(reason)));
        }
        match (first(soft, idle), hard) {
            (Some((ask, _)), Some((kill, reason))) if kill < ask => {
                Some((kill, StopAction::Kill(reason)))
            }
            (Some((at, reason)), _) => Some((at, StopAction::Ask(reason))),
            (None, Some((at, reason))) => Some((at, StopAction::Kill(reason))),
            (None, None) => None,
        }
    }
}

/// When a timeout is over, and the reason to stop that it gives.
type TimeLimit = Option<(Instant, StopReason)>;

/// Returns the limit that is over first.
fn first(one: TimeLimit, other: TimeLimit) -> TimeLimit {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.0 < one.0 { other } else { one }),
        (one, other) => one.or(other),
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl StopReason {
    /// Returns the word for the reason in a `cancel` message to a worker.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Time(_) | Self::Silence(_) => "timeout",
            Self::Unwanted => "cancelled",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn soft_and_hard(soft: u32, hard: u32) -> StopLimits {
        StopLimits {
            soft: Some(SECOND * soft),
            hard: Some(SECOND * hard),
            ..StopLimits::default()
        }
    }

    #[test]
    fn a_closure_is_killed_at_its_hard_time_and_a_worker_gets_a_moment_after_it_was_asked() {
        let start = tokio::time::Instant::now().into_std();
        let limits = soft_and_hard(3, 3);
        for (method, kill_after) in [(StopMethod::Dropped, 3), (StopMethod::Asked, 4)] {
            let mut clock = StopClock::new(start);
            let reason = StopReason::Time(SECOND * 3);
            let due = clock.next(limits, method);
            assert_eq!(due, Some((start + SECOND * 3, StopAction::Ask(reason))));
            clock.ask(reason, limits, method, SECOND * 9, start + SECOND * 3);
            let due = clock.next(limits, method);
            assert_eq!(
                due,
                Some((start + SECOND * kill_after, StopAction::Kill(reason)))
            );
        }
    }

    #[test]
    fn the_first_reason_stays_and_the_nearest_end_counts() {
        let start = tokio::time::Instant::now().into_std();
        let limits = soft_and_hard(3, 60);
        let mut clock = StopClock::new(start);
        let (ask, time) = (StopMethod::Asked, StopReason::Time(SECOND * 3));
        clock.ask(time, limits, ask, SECOND, start + SECOND * 3);
        clock.ask(
            StopReason::Unwanted,
            limits,
            ask,
            SECOND * 5,
            start + SECOND * 10,
        );
        assert_eq!(clock.asked(), Some(time));
        let due = clock.next(limits, ask);
        assert_eq!(due, Some((start + SECOND * 15, StopAction::Kill(time))));
    }

    #[test]
    fn a_sign_of_life_moves_the_idle_time_and_no_other() {
        let start = tokio::time::Instant::now().into_std();
        let limits = StopLimits {
            idle: Some(SECOND * 2),
            hard: Some(SECOND * 5),
            ..StopLimits::default()
        };
        let mut clock = StopClock::new(start);
        clock.note_activity(start + SECOND * 4);
        let due = clock.next(limits, StopMethod::Killed);
        let hard = StopAction::Kill(StopReason::Time(SECOND * 5));
        assert_eq!(due, Some((start + SECOND * 5, hard)));
    }

    #[test]
    fn a_program_is_killed_when_its_grace_or_its_hard_time_is_over_whichever_comes_first() {
        let start = tokio::time::Instant::now().into_std();
        let limits = soft_and_hard(3, 10);
        let reason = StopReason::Time(SECOND * 3);
        for (grace, kill_after) in [(2, 5), (60, 10)] {
            let mut clock = StopClock::new(start);
            let due = clock.next(limits, StopMethod::Signalled);
            assert_eq!(due, Some((start + SECOND * 3, StopAction::Ask(reason))));
            let asked = start + SECOND * 3;
            clock.ask(reason, limits, StopMethod::Signalled, SECOND * grace, asked);
            let due = clock.next(limits, StopMethod::Signalled);
            assert_eq!(
                due,
                Some((start + SECOND * kill_after, StopAction::Kill(reason)))
            );
        }
    }
}
