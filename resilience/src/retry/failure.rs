use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use super::GiveUpReason;

/// The error of a call that was given up: it keeps the reason and every attempt that failed.
///
/// ```
/// use ratchet_resilience::retry::{BackoffPolicy, Fault, GiveUpReason, RetryExecutor};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), ratchet_resilience::Error> {
/// let executor = RetryExecutor::new(BackoffPolicy::builder().max_attempts(2).build()?);
/// let given_up = executor.execute(async |_| Err::<(), _>(Fault::transient("reset"))).await.unwrap_err();
/// assert_eq!(given_up.reason(), GiveUpReason::Attempts { max: 2 });
/// assert_eq!(given_up.failures().len(), 2);
/// let last = given_up.into_last().map(Fault::into_inner);
/// assert_eq!(last, Some("reset"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RetryError<E> {
    reason: GiveUpReason,
    failures: Vec<FailedAttempt<E>>,
}

/// One failed attempt of a call.
#[derive(Debug)]
#[non_exhaustive]
pub struct FailedAttempt<E> {
    /// The number of the attempt, counted from 1.
    pub number: u32,
    /// The error it returned.
    pub error: E,
    /// How long the attempt ran.
    pub took: Duration,
}

impl<E> RetryError<E> {
    /// Makes the error of a call that was given up after these failures.
    pub(super) fn new(reason: GiveUpReason, failures: Vec<FailedAttempt<E>>) -> Self {
        Self { reason, failures }
    }

    /// Returns the reason why there is no further attempt.
    pub fn reason(&self) -> GiveUpReason {
        self.reason
    }

    /// Returns the failed attempts in order. There are none if the call was cancelled or rejected before its first.
    pub fn failures(&self) -> &[FailedAttempt<E>] {
        &self.failures
    }

    /// Returns the error of the last attempt.
    pub fn into_last(mut self) -> Option<E> {
        self.failures.pop().map(|failure| failure.error)
    }
}

impl<E: fmt::Display> fmt::Display for RetryError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        for failure in &self.failures {
            write!(f, "; attempt {}: {}", failure.number, failure.error)?;
        }
        Ok(())
    }
}

/// The source is the source of the last attempt's error, since the message already contains the errors themselves.
impl<E: StdError> StdError for RetryError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.failures
            .last()
            .and_then(|failure| failure.error.source())
    }
}
