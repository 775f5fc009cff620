use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use super::Retryable;

/// Wraps any error with the information whether it may be retried, for errors whose type is not yours.
///
/// ```
/// use ratchet_resilience::retry::{Fault, Retryable};
/// use std::time::Duration;
///
/// let busy = Fault::transient("503 service unavailable")
///     .class("throttled")
///     .retry_after(Duration::from_secs(2));
/// assert!(busy.is_retryable());
/// assert_eq!(busy.to_string(), "503 service unavailable");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault<E> {
    error: E,
    retryability: Retryability,
    class: Cow<'static, str>,
    retry_after: Option<Duration>,
    /// Whether circuit breakers ignore the error.
    is_ignored_by_breakers: bool,
}

/// Whether another attempt can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retryability {
    /// Another attempt may succeed.
    Transient,
    /// Another attempt would fail in the same way.
    Permanent,
    /// The caller has cancelled the call, so no attempt follows.
    Cancelled,
}

impl<E> Fault<E> {
    /// Wraps an error that may not occur again.
    pub fn transient(error: E) -> Self {
        Self::new(error, Retryability::Transient)
    }

    /// Wraps an error that another attempt would return again.
    pub fn permanent(error: E) -> Self {
        Self::new(error, Retryability::Permanent)
    }

    /// Wraps the error of a call that its caller cancelled.
    pub fn cancelled(error: E) -> Self {
        Self::new(error, Retryability::Cancelled)
    }

    fn new(error: E, retryability: Retryability) -> Self {
        Self {
            error,
            retryability,
            class: Cow::Borrowed(""),
            retry_after: None,
            is_ignored_by_breakers: false,
        }
    }

    /// Names the class of the error. A policy may treat classes differently.
    #[must_use]
    pub fn class(mut self, class: impl Into<Cow<'static, str>>) -> Self {
        self.class = class.into();
        self
    }

    /// Sets how long the other side asks the caller to wait.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Makes circuit breakers ignore the error, because the other side is not at fault.
    ///
    /// ```
    /// # use ratchet_resilience::retry::{Fault, Retryable};
    /// let throttled = Fault::transient("429 too many requests").ignored_by_breakers();
    /// assert!(throttled.is_retryable() && !throttled.counts_as_failure());
    /// ```
    #[must_use]
    pub fn ignored_by_breakers(mut self) -> Self {
        self.is_ignored_by_breakers = true;
        self
    }

    /// Returns the wrapped error.
    pub fn into_inner(self) -> E {
        self.error
    }
}

impl<E> Retryable for Fault<E> {
    fn is_retryable(&self) -> bool {
        self.retryability == Retryability::Transient
    }

    fn is_cancellation(&self) -> bool {
        self.retryability == Retryability::Cancelled
    }

    fn counts_as_failure(&self) -> bool {
        self.is_retryable() && !self.is_ignored_by_breakers
    }

    fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    fn class(&self) -> &str {
        &self.class
    }
}

impl<E: fmt::Display> fmt::Display for Fault<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

/// The source is that of the wrapped error, since a fault already prints like its error.
impl<E: StdError> StdError for Fault<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}
