use std::fmt;
use std::time::{Duration, Instant};

use super::{RetryBudget, RetryPolicy, Retryable};
use crate::Rng;
use crate::clock::later;

/// What happened to one call so far: when it started, how often it failed, how long it waited last.
///
/// A small value, to be kept beside the job it belongs to. [`History::decide`] is the whole of retrying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    started: Instant,
    failures: u32,
    previous_delay: Option<Duration>,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a decision does nothing by itself"]
pub enum Decision {
    /// Try again, not before this time. Nothing needs to be held until then.
    Retry {
        /// The earliest start of the next attempt.
        at: Instant,
    },
    /// The last failure is the result.
    GiveUp {
        /// What stands in the way of another attempt.
        why: GiveUp,
    },
}

/// Why there is no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GiveUp {
    /// The call was cancelled: whoever wanted it wants it no longer.
    Cancelled,
    /// The error says that trying again cannot help.
    Permanent,
    /// The policy does not retry errors of this class.
    Class,
    /// As many attempts failed as are allowed.
    Attempts {
        /// How many are allowed.
        max: u32,
    },
    /// The next attempt would start too late.
    TimeLimit {
        /// How long after the first start an attempt may still start.
        limit: Duration,
    },
    /// Others have used up what extra load is allowed.
    Budget,
    /// A circuit breaker lets no call through in the time there is.
    Rejected,
    /// The policy has a reason of its own.
    Policy,
}

impl fmt::Display for GiveUp {
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
            Self::Budget => f.write_str("the retry budget is spent"),
            Self::Rejected => f.write_str("the circuit breaker rejects calls"),
            Self::Policy => f.write_str("the policy refused"),
        }
    }
}

impl History {
    /// A call whose first attempt starts now.
    pub fn new(started: Instant) -> Self {
        Self::resumed(started, 0)
    }

    /// A call of which `failures` attempts are already known to have failed, for instance from a journal.
    pub fn resumed(started: Instant, failures: u32) -> Self {
        Self {
            started,
            failures,
            previous_delay: None,
        }
    }

    /// When the first attempt started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// How many attempts failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// How long the call waited before its latest attempt; none before the first.
    pub fn previous_delay(&self) -> Option<Duration> {
        self.previous_delay
    }

    /// Counts a failed attempt and says what follows it.
    ///
    /// Whatever the policy says, a cancellation and a permanent error are never retried, and no attempt is set for
    /// a time after the policy's limit.
    ///
    /// ```
    /// use ratchet_resilience::Rng;
    /// use ratchet_resilience::retry::{BackoffPolicy, Decision, Delay, Fault, GiveUp, History, Jitter};
    /// use std::time::Duration;
    ///
    /// let policy = BackoffPolicy::builder()
    ///     .max_attempts(2)
    ///     .delay(Delay::Fixed(Duration::from_secs(1)))
    ///     .jitter(Jitter::None)
    ///     .build()?;
    /// let mut rng = Rng::seeded(1);
    /// let now = std::time::Instant::now();
    /// let mut history = History::new(now);
    /// let error = Fault::transient("connection reset");
    ///
    /// let first = history.decide(&policy, &error, now, &mut rng);
    /// assert_eq!(first, Decision::Retry { at: now + Duration::from_secs(1) });
    /// let second = history.decide(&policy, &error, now + Duration::from_secs(1), &mut rng);
    /// assert_eq!(second, Decision::GiveUp { why: GiveUp::Attempts { max: 2 } });
    /// # Ok::<(), ratchet_resilience::Error>(())
    /// ```
    pub fn decide<P>(
        &mut self,
        policy: &P,
        error: &dyn Retryable,
        now: Instant,
        rng: &mut Rng,
    ) -> Decision
    where
        P: RetryPolicy + ?Sized,
    {
        self.failures = self.failures.saturating_add(1);
        match self.delay(policy, error, now, rng) {
            Ok(delay) => {
                self.previous_delay = Some(delay);
                Decision::Retry {
                    at: later(now, delay),
                }
            }
            Err(why) => Decision::GiveUp { why },
        }
    }

    fn delay<P>(
        &self,
        policy: &P,
        error: &dyn Retryable,
        now: Instant,
        rng: &mut Rng,
    ) -> Result<Duration, GiveUp>
    where
        P: RetryPolicy + ?Sized,
    {
        if error.is_cancellation() {
            return Err(GiveUp::Cancelled);
        }
        if !error.is_retryable() {
            return Err(GiveUp::Permanent);
        }
        policy.should_retry(self, error)?;
        let delay = policy.retry_delay(self, error, rng);
        let elapsed = now.saturating_duration_since(self.started);
        if let Some(limit) = policy.time_limit()
            && elapsed.saturating_add(delay) > limit
        {
            return Err(GiveUp::TimeLimit { limit });
        }
        Ok(delay)
    }
}

impl Decision {
    /// The same decision, unless it is a retry that the budget cannot pay for.
    pub fn within(self, budget: &RetryBudget, now: Instant) -> Self {
        match self {
            Self::Retry { .. } if !budget.withdraw(now) => Self::GiveUp {
                why: GiveUp::Budget,
            },
            decided => decided,
        }
    }
}
