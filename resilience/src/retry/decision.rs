use std::fmt;
use std::time::{Duration, Instant};

use super::{RetryBudget, RetryPolicy, Retryable};
use crate::Rng;
use crate::time::saturating_add;

/// The history of one call so far, which decides after each failure whether to try again.
///
/// It is a small value that can be stored next to its job. [`RetryHistory::record_failure`] is the whole retry logic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryHistory {
    /// When the first attempt began. The time limit counts from it.
    started: Instant,
    failures: u32,
    /// The delay before the current attempt, from which decorrelated jitter computes the next.
    previous_delay: Option<Duration>,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a decision does nothing by itself"]
pub enum RetryDecision {
    /// The call is tried again, but not before this time. It does not have to hold any resource until then.
    Retry {
        /// The earliest start of the next attempt.
        at: Instant,
    },
    /// The call is not tried again: the last failure is its result.
    GiveUp {
        /// The reason why there is no further attempt.
        reason: GiveUpReason,
    },
}

/// The reason why a call is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GiveUpReason {
    /// The caller cancelled the call.
    Cancelled,
    /// The error declares that another attempt cannot help.
    Permanent,
    /// The policy does not retry errors of this class.
    Class,
    /// The call has failed as many times as the policy allows.
    Attempts {
        /// How many attempts the policy allows.
        max: u32,
    },
    /// The next attempt would start too late.
    TimeLimit {
        /// How long after its first start a call may start an attempt.
        limit: Duration,
    },
    /// The retries of all callers have used up the retry budget.
    Budget,
    /// A circuit breaker admits no call within the time limit.
    Rejected,
    /// A custom policy refused for a reason of its own.
    Policy,
}

impl fmt::Display for GiveUpReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("the call was cancelled"),
            Self::Permanent => f.write_str("the error is permanent"),
            Self::Class => f.write_str("errors of this class are not retried"),
            Self::Attempts { max } => write!(f, "all attempts ({max}) are used up"),
            Self::TimeLimit { limit } => write!(
                f,
                "the next attempt would start after the time limit ({limit:?})"
            ),
            Self::Budget => f.write_str("the retry budget is used up"),
            Self::Rejected => f.write_str("the circuit breaker rejects calls"),
            Self::Policy => f.write_str("the policy refused"),
        }
    }
}

impl RetryHistory {
    /// Starts the history of a call whose first attempt starts now.
    pub fn new(started: Instant) -> Self {
        Self::resumed(started, 0)
    }

    /// Continues the history of a call that has failed `failures` times, for example according to a journal.
    pub fn resumed(started: Instant, failures: u32) -> Self {
        Self {
            started,
            failures,
            previous_delay: None,
        }
    }

    /// Returns when the first attempt started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Returns how many attempts failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns how long the call waited before its latest attempt; `None` before the first retry.
    pub fn previous_delay(&self) -> Option<Duration> {
        self.previous_delay
    }

    /// Counts a failed attempt and decides what follows it.
    ///
    /// It never retries a cancellation or a permanent error, and never plans an attempt after the policy's time limit,
    /// whatever the policy says.
    ///
    /// ```
    /// use ratchet_resilience::Rng;
    /// use ratchet_resilience::retry::{BackoffPolicy, RetryDecision, Delay, Fault, GiveUpReason, RetryHistory, Jitter};
    /// use std::time::Duration;
    ///
    /// let policy = BackoffPolicy::builder()
    ///     .max_attempts(2)
    ///     .delay(Delay::Fixed(Duration::from_secs(1)))
    ///     .jitter(Jitter::None)
    ///     .build()?;
    /// let mut rng = Rng::seeded(1);
    /// let now = std::time::Instant::now();
    /// let mut history = RetryHistory::new(now);
    /// let error = Fault::transient("connection reset");
    ///
    /// let first = history.record_failure(&policy, &error, now, &mut rng);
    /// assert_eq!(first, RetryDecision::Retry { at: now + Duration::from_secs(1) });
    /// let second = history.record_failure(&policy, &error, now + Duration::from_secs(1), &mut rng);
    /// assert_eq!(second, RetryDecision::GiveUp { reason: GiveUpReason::Attempts { max: 2 } });
    /// # Ok::<(), ratchet_resilience::ResilienceError>(())
    /// ```
    pub fn record_failure<P>(
        &mut self,
        policy: &P,
        error: &dyn Retryable,
        now: Instant,
        rng: &mut Rng,
    ) -> RetryDecision
    where
        P: RetryPolicy + ?Sized,
    {
        self.failures = self.failures.saturating_add(1);
        match self.delay(policy, error, now, rng) {
            Ok(delay) => {
                self.previous_delay = Some(delay);
                RetryDecision::Retry {
                    at: saturating_add(now, delay),
                }
            }
            Err(reason) => RetryDecision::GiveUp { reason },
        }
    }

    fn delay<P>(
        &self,
        policy: &P,
        error: &dyn Retryable,
        now: Instant,
        rng: &mut Rng,
    ) -> Result<Duration, GiveUpReason>
    where
        P: RetryPolicy + ?Sized,
    {
        if error.is_cancellation() {
            return Err(GiveUpReason::Cancelled);
        }
        if !error.is_retryable() {
            return Err(GiveUpReason::Permanent);
        }
        policy.should_retry(self, error)?;
        let delay = policy.retry_delay(self, error, rng);
        let elapsed = now.saturating_duration_since(self.started);
        if let Some(limit) = policy.time_limit()
            && elapsed.saturating_add(delay) > limit
        {
            return Err(GiveUpReason::TimeLimit { limit });
        }
        Ok(delay)
    }
}

impl RetryDecision {
    /// Turns a retry into giving up if the budget has no retry left. Other decisions stay unchanged.
    pub fn limited_by(self, budget: &RetryBudget, now: Instant) -> Self {
        match self {
            Self::Retry { .. } if !budget.withdraw(now) => Self::GiveUp {
                reason: GiveUpReason::Budget,
            },
            decided => decided,
        }
    }
}
