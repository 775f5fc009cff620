//! Limits how often the workers of a pool may fail before the pool is given up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::worker::config::RestartPolicy;

/// Counts the failures of a pool's workers, and decides when the next worker may be started.
#[derive(Debug)]
pub(super) struct RestartLimiter {
    policy: RestartPolicy,
    /// The failures that count together.
    failures: VecDeque<WorkerFailure>,
    /// The time that counts for the period, from the first failure to the last one.
    counted: Duration,
    /// The last failure.
    last: Option<Instant>,
    /// A worker has done a job since the last failure.
    did_work: bool,
    /// How many failures there were since a worker last did a job.
    in_a_row: u32,
    /// When the next worker may be started; `None` if at once.
    not_before: Option<Instant>,
}

/// The failure of a worker.
#[derive(Debug)]
struct WorkerFailure {
    at: Instant,
    /// The time by which the period of the policy is measured: see [`RestartLimiter::record_failure`].
    counted: Duration,
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
            counted: Duration::ZERO,
            last: None,
            did_work: false,
            in_a_row: 0,
            not_before: None,
        }
    }

    /// Records that a worker did not start, or ended without a job to blame. Decides what follows.
    ///
    /// `started` is when the worker was started if it was never ready, and `now` for others. As long as no worker does a
    /// job, the length of failed starts and the delays between them do not count for the period of the policy. If they did,
    /// workers whose starts take long enough to fail would be restarted for ever.
    pub(super) fn record_failure(&mut self, started: Instant, now: Instant) -> RestartDecision {
        if let Some(last) = self.last {
            self.counted += if self.did_work {
                now.saturating_duration_since(last)
            } else {
                let resumed = self.not_before.unwrap_or(last).max(last);
                started.saturating_duration_since(resumed)
            };
        }
        self.did_work = false;
        self.last = Some(now);
        let (period, counted) = (self.policy.period, self.counted);
        self.failures
            .retain(|failure| counted.saturating_sub(failure.counted) < period);
        self.failures.push_back(WorkerFailure { at: now, counted });
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
        self.did_work = true;
    }

    /// Whether all failures that count together were within the period of the policy by the clock as well.
    pub(super) fn failed_within_period(&self, now: Instant) -> bool {
        let first = self.failures.front();
        first.is_none_or(|first| now.saturating_duration_since(first.at) < self.policy.period)
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
            assert_eq!(restarts.record_failure(now, now), delay);
        }
        assert_eq!(
            restarts.not_before(now),
            Some(now + Duration::from_millis(300))
        );
        assert_eq!(restarts.record_failure(now, now), RestartDecision::GiveUp);
        assert!(restarts.failed_within_period(now));
    }

    #[test]
    fn failures_that_are_long_past_do_not_count() {
        let (mut restarts, start) = limiter();
        for second in [0, 5, 10, 15, 20, 25] {
            let now = start + Duration::from_secs(second);
            assert_ne!(
                restarts.record_failure(now, now),
                RestartDecision::GiveUp,
                "after {second} s"
            );
        }
    }

    #[test]
    fn the_time_of_failed_starts_and_delays_does_not_count() {
        let (mut restarts, start) = limiter();
        let mut now = start;
        for _ in 0..3 {
            let started = restarts.not_before(now).unwrap_or(now);
            now = started + Duration::from_mins(1);
            let decision = restarts.record_failure(started, now);
            assert!(
                matches!(decision, RestartDecision::After(_)),
                "{decision:?}"
            );
        }
        let started = restarts.not_before(now).expect("there is a delay");
        let now = started + Duration::from_mins(1);
        let decision = restarts.record_failure(started, now);
        assert_eq!(decision, RestartDecision::GiveUp);
        assert!(!restarts.failed_within_period(now));
    }

    #[test]
    fn starts_that_fail_side_by_side_count_together() {
        let (mut restarts, start) = limiter();
        let later = |seconds| start + Duration::from_secs(seconds);
        for end in [30, 31, 32] {
            let decision = restarts.record_failure(start, later(end));
            assert!(
                matches!(decision, RestartDecision::After(_)),
                "{decision:?}"
            );
        }
        assert_eq!(
            restarts.record_failure(start, later(33)),
            RestartDecision::GiveUp
        );
    }

    #[test]
    fn slow_failed_starts_beside_workers_that_do_jobs_are_long_past() {
        let (mut restarts, start) = limiter();
        let mut now = start;
        for _ in 0..20 {
            let started = now;
            now = started + Duration::from_mins(1);
            restarts.record_success();
            let decision = restarts.record_failure(started, now);
            assert_ne!(decision, RestartDecision::GiveUp);
        }
    }

    #[test]
    fn a_job_done_resets_the_delay_and_not_the_count() {
        let (mut restarts, now) = limiter();
        for _ in 0..3 {
            assert_eq!(
                restarts.record_failure(now, now),
                RestartDecision::After(Duration::from_millis(100))
            );
            restarts.record_success();
            assert_eq!(restarts.not_before(now), None);
        }
        assert_eq!(restarts.record_failure(now, now), RestartDecision::GiveUp);
    }
}
