//! Limits how often the workers of a pool may fail before the pool is given up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::worker::config::RestartPolicy;

/// Counts the failures of a pool's workers, and decides when the next worker may be started.
#[derive(Debug)]
pub(super) struct RestartLimiter {
    policy: RestartPolicy,
    /// The times of the failures within the period of the policy.
    failures: VecDeque<Instant>,
    /// How many failures there were since a worker last did a job.
    in_a_row: u32,
    /// When the next worker may be started; `None` if at once.
    not_before: Option<Instant>,
}

/// The decision after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RestartDecision {
    /// Start another worker after this delay.
    After(Duration),
    /// Give up the pool: its workers have failed too often.
    GiveUp,
}

impl RestartLimiter {
    /// Makes a limiter that has seen no failure.
    pub(super) fn new(policy: RestartPolicy) -> Self {
        Self {
            policy,
            failures: VecDeque::new(),
            in_a_row: 0,
            not_before: None,
        }
    }

    /// Records that a worker did not start, or ended without a job to blame. Decides what follows.
    pub(super) fn record_failure(&mut self, now: Instant) -> RestartDecision {
        let period = self.policy.period;
        self.failures
            .retain(|then| now.saturating_duration_since(*then) < period);
        self.failures.push_back(now);
        if self.failures.len() as u64 >= u64::from(self.policy.intensity) {
            return RestartDecision::GiveUp;
        }
        let doubled = self.policy.base.saturating_mul(1 << self.in_a_row.min(20));
        let delay = doubled.min(self.policy.cap);
        self.in_a_row += 1;
        self.not_before = now.checked_add(delay);
        RestartDecision::After(delay)
    }

    /// Records that a worker did a job. The next delay is short again; the failures still count towards giving up.
    pub(super) fn record_success(&mut self) {
        self.in_a_row = 0;
        self.not_before = None;
    }

    /// Returns the time before which no worker may be started, unless it has passed.
    pub(super) fn not_before(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|at| *at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter() -> (RestartLimiter, Instant) {
        let policy = RestartPolicy {
            intensity: 4,
            period: Duration::from_secs(10),
            base: Duration::from_millis(100),
            cap: Duration::from_millis(300),
        };
        (
            RestartLimiter::new(policy),
            tokio::time::Instant::now().into_std(),
        )
    }

    #[test]
    fn delays_grow_to_the_cap_and_then_it_is_given_up() {
        let (mut restarts, now) = limiter();
        let delays =
            [100, 200, 300].map(|delay| RestartDecision::After(Duration::from_millis(delay)));
        for delay in delays {
            assert_eq!(restarts.record_failure(now), delay);
        }
        assert_eq!(
            restarts.not_before(now),
            Some(now + Duration::from_millis(300))
        );
        assert_eq!(restarts.record_failure(now), RestartDecision::GiveUp);
    }

    #[test]
    fn failures_that_are_long_past_do_not_count() {
        let (mut restarts, start) = limiter();
        for second in [0, 4, 8, 12, 16, 20] {
            let now = start + Duration::from_secs(second);
            assert_ne!(
                restarts.record_failure(now),
                RestartDecision::GiveUp,
                "after {second} s"
            );
        }
    }

    #[test]
    fn a_job_done_resets_the_delay_and_not_the_count() {
        let (mut restarts, now) = limiter();
        for _ in 0..3 {
            assert_eq!(
                restarts.record_failure(now),
                RestartDecision::After(Duration::from_millis(100))
            );
            restarts.record_success();
            assert_eq!(restarts.not_before(now), None);
        }
        assert_eq!(restarts.record_failure(now), RestartDecision::GiveUp);
    }
}
