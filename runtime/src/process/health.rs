//! How often workers of a kind may fail before the kind is given up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::worker::config::RestartPolicy;

/// Counts the failures of a kind of worker, and decides when the next may be started.
#[derive(Debug)]
pub(super) struct Health {
    policy: RestartPolicy,
    /// When it failed, as far back as the period reaches.
    failures: VecDeque<Instant>,
    /// How often it failed since it last did well.
    in_a_row: u32,
    not_before: Option<Instant>,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    /// Try again after this time.
    After(Duration),
    /// It failed too often.
    GiveUp,
}

impl Health {
    pub(super) fn new(policy: RestartPolicy) -> Self {
        Self {
            policy,
            failures: VecDeque::new(),
            in_a_row: 0,
            not_before: None,
        }
    }

    /// A worker failed: it did not start, or died with nothing to do.
    pub(super) fn failed(&mut self, now: Instant) -> Restart {
        let period = self.policy.period;
        self.failures
            .retain(|then| now.saturating_duration_since(*then) < period);
        self.failures.push_back(now);
        if self.failures.len() >= usize::try_from(self.policy.intensity).unwrap_or(usize::MAX) {
            return Restart::GiveUp;
        }
        let doubled = self.policy.base.saturating_mul(1 << self.in_a_row.min(20));
        let delay = doubled.min(self.policy.cap);
        self.in_a_row += 1;
        self.not_before = now.checked_add(delay);
        Restart::After(delay)
    }

    /// A worker did a job: what was before is forgiven, though not forgotten.
    pub(super) fn did_well(&mut self) {
        self.in_a_row = 0;
        self.not_before = None;
    }

    /// When the next worker may be started, if not at once.
    pub(super) fn not_before(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|at| *at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> (Health, Instant) {
        let policy = RestartPolicy {
            intensity: 4,
            period: Duration::from_secs(10),
            base: Duration::from_millis(100),
            cap: Duration::from_millis(300),
        };
        (Health::new(policy), tokio::time::Instant::now().into_std())
    }

    #[test]
    fn delays_grow_to_the_cap_and_then_it_is_given_up() {
        let (mut health, now) = health();
        let delays = [100, 200, 300].map(|delay| Restart::After(Duration::from_millis(delay)));
        for delay in delays {
            assert_eq!(health.failed(now), delay);
        }
        assert_eq!(
            health.not_before(now),
            Some(now + Duration::from_millis(300))
        );
        assert_eq!(health.failed(now), Restart::GiveUp);
    }

    #[test]
    fn failures_that_are_long_past_do_not_count() {
        let (mut health, start) = health();
        for second in [0, 4, 8, 12, 16, 20] {
            let now = start + Duration::from_secs(second);
            assert_ne!(health.failed(now), Restart::GiveUp, "after {second} s");
        }
    }

    #[test]
    fn a_job_done_resets_the_delay_and_not_the_count() {
        let (mut health, now) = health();
        for _ in 0..3 {
            assert_eq!(
                health.failed(now),
                Restart::After(Duration::from_millis(100))
            );
            health.did_well();
            assert_eq!(health.not_before(now), None);
        }
        assert_eq!(health.failed(now), Restart::GiveUp);
    }
}
