use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use super::Retryable;

/// Any error, with what retrying needs to know about it: for errors whose type is not yours.
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
    kind: Kind,
    class: Cow<'static, str>,
    retry_after: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Transient,
    Permanent,
    Cancelled,
}

impl<E> Fault<E> {
    /// May go away by itself.
    pub fn transient(error: E) -> Self {
        Self::new(error, Kind::Transient)
    }

    /// Will be the same the next time.
    pub fn permanent(error: E) -> Self {
        Self::new(error, Kind::Permanent)
    }

    /// The call was cancelled.
    pub fn cancelled(error: E) -> Self {
        Self::new(error, Kind::Cancelled)
    }

    fn new(error: E, kind: Kind) -> Self {
        Self {
            error,
            kind,
            class: Cow::Borrowed(""),
            retry_after: None,
        }
    }

    /// Names the class of the error, by which a policy may choose.
    #[must_use]
    pub fn class(mut self, class: impl Into<Cow<'static, str>>) -> Self {
        self.class = class.into();
        self
    }

    /// Says how long to wait before the next attempt.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// The error itself.
    pub fn into_inner(self) -> E {
        self.error
    }
}

impl<E> Retryable for Fault<E> {
    fn is_retryable(&self) -> bool {
        self.kind == Kind::Transient
    }

    fn is_cancellation(&self) -> bool {
        self.kind == Kind::Cancelled
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

/// A fault prints as its error, so its source is its error's source.
impl<E: StdError> StdError for Fault<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}
