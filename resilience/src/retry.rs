//! Trying again: when it helps, how long to wait, when to stop.
//!
//! Without it a dropped connection fails an hour of work. With a simple loop in its place things get worse: those who
//! failed together return together and fail together; a service that is down gets three times its load; a
//! wrong password is tried until the account is locked; a cancelled job comes back; a job that waits for its retry
//! holds the slot another job needs.
//!
//! So retrying is a decision here, and nothing in it sleeps. A [`RetryPolicy`] looks at a [`History`] and at an error
//! that knows whether it is [`Retryable`]; the answer is a [`Decision`], a time not before which to try again or the
//! reason to give up. Whoever has a queue puts the job back with that time. Whoever has none uses a
//! [`RetryExecutor`]:
//!
//! ```
//! use ratchet_resilience::retry::{BackoffPolicy, Fault, RetryExecutor};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), ratchet_resilience::Error> {
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
//! Three limits hold together: attempts, time and, shared by all who call the same thing, a [`RetryBudget`].
//!
//! Do not retry what must happen at most once, unless the other side can tell a repetition. Do not retry at two
//! levels of one call: three attempts of three attempts are nine.

mod backoff;
mod budget;
mod delay;
mod executor;
mod failure;
mod fault;
mod history;
mod policy;

use std::time::Duration;

pub use budget::{RetryBudget, RetryBudgetBuilder};
pub use delay::{Delay, Jitter};
pub use executor::RetryExecutor;
pub use failure::{FailedAttempt, RetryError};
pub use fault::Fault;
pub use history::{Decision, GiveUp, History};
pub use policy::{BackoffPolicy, BackoffPolicyBuilder, ExponentialBackoff};

use crate::Rng;

/// An error that knows whether trying again can help.
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

    /// Whether the call ended because somebody cancelled it. Such an error is never retried.
    fn is_cancellation(&self) -> bool {
        false
    }

    /// How long the other side asks to be left alone. A policy waits no less, up to its own cap.
    fn retry_after(&self) -> Option<Duration> {
        None
    }

    /// The name of the kind of error, by which a policy may choose.
    #[expect(
        clippy::unnecessary_literal_bound,
        reason = "implementations return what they hold"
    )]
    fn class(&self) -> &str {
        ""
    }
}

/// Says whether and after what delay a failed call is tried again.
///
/// [`BackoffPolicy`] is the one to use; write your own where it does not fit. [`History::decide`] asks it, after it
/// has ruled out cancellations and permanent errors. The `mock` feature has `MockRetryPolicy`.
///
/// ```
/// use ratchet_resilience::Rng;
/// use ratchet_resilience::retry::{GiveUp, History, RetryPolicy, Retryable};
/// use std::time::Duration;
///
/// /// One further attempt, at once.
/// struct OnceMore;
///
/// impl RetryPolicy for OnceMore {
///     fn should_retry(&self, history: &History, _error: &dyn Retryable) -> Result<(), GiveUp> {
///         if history.failures() < 2 { Ok(()) } else { Err(GiveUp::Attempts { max: 2 }) }
///     }
///     fn retry_delay(&self, _history: &History, _error: &dyn Retryable, _rng: &mut Rng) -> Duration {
///         Duration::ZERO
///     }
/// }
/// ```
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
pub trait RetryPolicy: Send + Sync {
    /// Whether there may be another attempt, and if not, why. The history includes the failure at hand.
    fn should_retry(&self, history: &History, error: &dyn Retryable) -> Result<(), GiveUp>;

    /// How long to wait before it.
    fn retry_delay(&self, history: &History, error: &dyn Retryable, rng: &mut Rng) -> Duration;

    /// How long after the start of the first attempt the last one may start.
    fn time_limit(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests;
