//! Repeats failed calls: decides whether that can help, how long to wait, and when to stop.
//!
//! Without retries, a dropped connection loses an hour of work. But a simple loop of retries makes things worse. Calls
//! that failed together return together and fail together. A service that is down gets three times its load. A wrong
//! password is tried until the account is locked. A cancelled job comes back. A job that waits for its retry holds the
//! slot that another job needs.
//!
//! So a retry is only a decision here, and nothing in it sleeps. A [`RetryHistory`] passes an error, which knows
//! whether it is [`Retryable`], to a [`RetryPolicy`] and returns a [`RetryDecision`]: the time before which the call
//! must not be tried again, or the reason to give up. A caller with a queue puts the job back with that time. A caller
//! without one uses a [`RetryExecutor`]:
//!
//! ```
//! use ratchet_resilience::retry::{BackoffPolicy, Fault, RetryExecutor};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), ratchet_resilience::ResilienceError> {
//! let executor = RetryExecutor::new(BackoffPolicy::builder().max_attempts(4).build()?);
//!
//! let answer = executor
//!     .execute(async |attempt| match attempt {
//!         1 | 2 => Err(Fault::transient("connection reset")),
//!         _ => Ok(42),
//!     })
//!     .await;
//! assert_eq!(answer.unwrap(), 42);
//!
//! let failed = executor.execute(async |_| Err::<(), _>(Fault::permanent("no such user"))).await;
//! assert_eq!(failed.unwrap_err().to_string(), "the error is permanent; attempt 1: no such user");
//! # Ok(())
//! # }
//! ```
//!
//! Three limits apply together: the attempts of a call, its time, and the [`RetryBudget`] that all callers of one
//! service share.
//!
//! Do not retry a call that must happen at most once, unless the other side recognises a repetition. Do not retry at
//! two levels of one call: three attempts of three attempts are nine.

mod backoff;
mod budget;
mod decision;
mod delay;
mod executor;
mod failure;
mod fault;
mod policy;

use std::time::Duration;

pub use budget::{RetryBudget, RetryBudgetBuilder};
pub use decision::{GiveUpReason, RetryDecision, RetryHistory};
pub use delay::{Delay, Jitter};
pub use executor::RetryExecutor;
pub use failure::{AttemptError, FailedAttempt, RetryError, RetryNotice};
pub use fault::Fault;
pub use policy::{BackoffPolicy, BackoffPolicyBuilder, ExponentialBackoff};

use crate::Rng;

/// An error that knows whether another attempt can help.
///
/// [`Fault`] wraps errors whose type is not yours.
///
/// ```
/// use ratchet_resilience::retry::Retryable;
/// use std::time::Duration;
///
/// enum FetchError {
///     NotFound,
///     Throttled { wait: Duration },
/// }
///
/// impl Retryable for FetchError {
///     fn is_retryable(&self) -> bool {
///         matches!(self, Self::Throttled { .. })
///     }
///     fn retry_after(&self) -> Option<Duration> {
///         match self {
///             Self::Throttled { wait } => Some(*wait),
///             Self::NotFound => None,
///         }
///     }
/// }
/// ```
pub trait Retryable {
    /// Whether the same call may succeed later.
    fn is_retryable(&self) -> bool;

    /// Whether the call ended because its caller cancelled it. Such an error is never retried.
    fn is_cancellation(&self) -> bool {
        false
    }

    /// Whether a circuit breaker counts the error against the other side.
    ///
    /// By default it counts the errors that may be retried and are not cancellations. This returns false for an error
    /// that may be retried but is not a fault of the other side, such as the status 429 for a caller that asks too
    /// often.
    fn counts_as_failure(&self) -> bool {
        self.is_retryable() && !self.is_cancellation()
    }

    /// Returns how long the other side asks the caller to wait. A policy waits at least that long, up to its own cap.
    fn retry_after(&self) -> Option<Duration> {
        None
    }

    /// Returns the class of the error. A policy may treat classes differently.
    #[expect(
        clippy::unnecessary_literal_bound,
        reason = "implementations return what they hold"
    )]
    fn class(&self) -> &str {
        ""
    }
}

/// Decides whether a failed call is tried again, and after what delay.
///
/// Use [`BackoffPolicy`], and write your own policy only if that does not fit. [`RetryHistory::record_failure`] calls
/// the policy, except for cancellations and permanent errors. The feature `mock` has `mock::MockRetryPolicy`.
///
/// ```
/// use ratchet_resilience::Rng;
/// use ratchet_resilience::retry::{GiveUpReason, RetryHistory, RetryPolicy, Retryable};
/// use std::time::Duration;
///
/// /// Allows one further attempt, at once.
/// struct OnceMore;
///
/// impl RetryPolicy for OnceMore {
///     fn should_retry(&self, history: &RetryHistory, _error: &dyn Retryable) -> Result<(), GiveUpReason> {
///         if history.failures() < 2 { Ok(()) } else { Err(GiveUpReason::Attempts { max: 2 }) }
///     }
///     fn retry_delay(&self, _history: &RetryHistory, _error: &dyn Retryable, _rng: &mut Rng) -> Duration {
///         Duration::ZERO
///     }
/// }
/// ```
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
pub trait RetryPolicy: Send + Sync {
    /// Allows another attempt, or returns the reason against it. The history includes the current failure.
    fn should_retry(
        &self,
        history: &RetryHistory,
        error: &dyn Retryable,
    ) -> Result<(), GiveUpReason>;

    /// Returns how long to wait before the next attempt.
    fn retry_delay(&self, history: &RetryHistory, error: &dyn Retryable, rng: &mut Rng)
    -> Duration;

    /// Returns how long after the first start of a call its last attempt may start.
    fn time_limit(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests;
