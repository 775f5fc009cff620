use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use super::GiveUp;

/// A call that failed for good: why it was given up, and every attempt of it that failed.
#[derive(Debug)]
pub struct RetryError<E> {
    why: GiveUp,
    failures: Vec<FailedAttempt<E>>,
}

/// One attempt that failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct FailedAttempt<E> {
    /// Counted from 1.
    pub number: u32,
    /// What it failed with.
    pub error: E,
    /// How long it ran.
    pub took: Duration,
}

impl<E> RetryError<E> {
    pub(super) fn new(why: GiveUp, failures: Vec<FailedAttempt<E>>) -> Self {
        Self { why, failures }
    }

    /// Why there is no further attempt.
    pub fn why(&self) -> GiveUp {
        self.why
    }

    /// The attempts that failed, the first one first. Empty if the call was cancelled or rejected before one did.
    pub fn failures(&self) -> &[FailedAttempt<E>] {
        &self.failures
    }

    /// The error of the last attempt.
    pub fn into_last(mut self) -> Option<E> {
        self.failures.pop().map(|failure| failure.error)
    }
}

impl<E: fmt::Display> fmt::Display for RetryError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)?;
        for failure in &self.failures {
            write!(f, "; attempt {}: {}", failure.number, failure.error)?;
        }
        Ok(())
    }
}

/// The errors of the attempts stand in the message, so the source is what lies behind the last of them.
impl<E: StdError> StdError for RetryError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.failures
            .last()
            .and_then(|failure| failure.error.source())
    }
}
