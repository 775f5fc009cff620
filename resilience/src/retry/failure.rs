use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use super::{GiveUpReason, Retryable};

/// The error of a call that was given up, with the reason and every failed attempt.
///
/// ```
/// use ratchet_resilience::retry::{BackoffPolicy, Fault, GiveUpReason, RetryExecutor};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), ratchet_resilience::ResilienceError> {
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
    /// The error that it returned, or that it timed out.
    pub error: AttemptError<E>,
    /// How long the attempt ran.
    pub took: Duration,
}

/// The reason why one attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptError<E> {
    /// The attempt returned this error.
    Failed(E),
    /// The attempt took longer than the attempt timeout, and was dropped. It may be retried.
    TimedOut {
        /// How long an attempt may take.
        limit: Duration,
    },
}

impl<E> AttemptError<E> {
    /// Returns the error that the attempt returned; `None` if it timed out.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Failed(error) => Some(error),
            Self::TimedOut { .. } => None,
        }
    }

    fn map<F>(self, change: impl FnOnce(E) -> F) -> AttemptError<F> {
        match self {
            Self::Failed(error) => AttemptError::Failed(change(error)),
            Self::TimedOut { limit } => AttemptError::TimedOut { limit },
        }
    }
}

impl<E: Retryable> Retryable for AttemptError<E> {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Failed(error) => error.is_retryable(),
            Self::TimedOut { .. } => true,
        }
    }

    fn is_cancellation(&self) -> bool {
        matches!(self, Self::Failed(error) if error.is_cancellation())
    }

    fn counts_as_failure(&self) -> bool {
        match self {
            // A cancellation shows nothing about the other side, whatever the error declares.
            Self::Failed(error) => error.counts_as_failure() && !error.is_cancellation(),
            Self::TimedOut { .. } => true,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Failed(error) => error.retry_after(),
            Self::TimedOut { .. } => None,
        }
    }

    /// Returns the class of the error, or `timeout`.
    fn class(&self) -> &str {
        match self {
            Self::Failed(error) => error.class(),
            Self::TimedOut { .. } => "timeout",
        }
    }
}

impl<E: fmt::Display> fmt::Display for AttemptError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::TimedOut { limit } => write!(f, "the attempt took longer than {limit:?}"),
        }
    }
}

/// The source is that of the attempt's error, since this error prints like that one.
impl<E: StdError> StdError for AttemptError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            Self::TimedOut { .. } => None,
        }
    }
}

/// Reports to a listener that an attempt failed and will be followed by another.
#[non_exhaustive]
pub struct RetryNotice<'a> {
    /// The number of the attempt that failed, counted from 1.
    pub attempt: u32,
    /// The error of the attempt, for display.
    pub error: &'a dyn fmt::Display,
    /// The class of the error; empty if it has none, `timeout` if the attempt timed out.
    pub class: &'a str,
    /// How long the call waits before the next attempt. A breaker may make it wait longer.
    pub delay: Duration,
}

impl fmt::Debug for RetryNotice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryNotice")
            .field("attempt", &self.attempt)
            .field("error", &format_args!("{}", self.error))
            .field("class", &self.class)
            .field("delay", &self.delay)
            .finish()
    }
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

    /// Returns the failed attempts in order. The list is empty if the call was cancelled or rejected before its first
    /// attempt.
    pub fn failures(&self) -> &[FailedAttempt<E>] {
        &self.failures
    }

    /// Returns the error of the last attempt; `None` if that attempt timed out, or if there was none.
    pub fn into_last(self) -> Option<E> {
        self.into_last_attempt()?.error.into_inner()
    }

    /// Returns the last failed attempt; `None` if there was none.
    pub fn into_last_attempt(mut self) -> Option<FailedAttempt<E>> {
        self.failures.pop()
    }

    /// Converts the errors to another type.
    pub(super) fn map<F>(self, change: impl Fn(E) -> F) -> RetryError<F> {
        let failures = self.failures.into_iter().map(|failure| FailedAttempt {
            number: failure.number,
            error: failure.error.map(&change),
            took: failure.took,
        });
        RetryError {
            reason: self.reason,
            failures: failures.collect(),
        }
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

/// The source is that of the last attempt's error, since the message already contains the errors themselves.
impl<E: StdError> StdError for RetryError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.failures
            .last()
            .and_then(|failure| failure.error.source())
    }
}
