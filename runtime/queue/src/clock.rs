//! Moments of a queue, and the clock that tests drive.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A moment by the clock of a queue, in microseconds. Only moments of one queue can be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The latest moment, which never comes.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// Makes the moment this many microseconds after the start of the clock.
    pub fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since the start of the clock.
    pub fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns the moment this much later, rounded down to a microsecond.
    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(micros(time)))
    }

    /// Returns the time from an earlier moment until this one, and nothing if that moment is a later one.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} µs", self.0)
    }
}

/// Returns the whole microseconds of a duration; half a million years fit.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A clock that stands still until a test moves it on.
///
/// Its clones show the same time.
#[derive(Clone, Debug)]
pub struct DrivenClock(Arc<AtomicU64>);

impl DrivenClock {
    /// Makes a clock that shows this moment.
    pub fn new(start: Moment) -> Self {
        Self(Arc::new(AtomicU64::new(start.0)))
    }

    /// Returns the moment that it shows.
    pub fn now(&self) -> Moment {
        // Relaxed: nothing else is published with the time.
        Moment(self.0.load(Ordering::Relaxed))
    }

    /// Moves it on.
    pub fn advance(&self, time: Duration) {
        self.0.fetch_add(micros(time), Ordering::Relaxed);
    }
}
