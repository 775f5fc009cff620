//! The time at which an attempt last reported progress.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::suspension::working_now;

/// The time at which an attempt last reported progress, by the work clock. Two threads share it.
#[derive(Debug)]
pub(crate) struct LastProgress {
    /// When the attempt began, from which `at` counts.
    started: Instant,
    /// The time of the report, in nanoseconds after `started`.
    at: AtomicU64,
}

impl LastProgress {
    /// Makes the record of an attempt that starts now.
    pub(crate) fn new() -> Self {
        Self {
            started: working_now(),
            at: AtomicU64::new(0),
        }
    }

    /// Records that the attempt reports progress now.
    pub(crate) fn note(&self) {
        let nanos = u64::try_from((working_now() - self.started).as_nanos()).unwrap_or(u64::MAX);
        // Relaxed: the clock reads only this number, and reads it again later.
        self.at.store(nanos, Ordering::Relaxed);
    }

    /// Returns the time of the last report, or of the start.
    pub(crate) fn at(&self) -> Instant {
        let nanos = self.at.load(Ordering::Relaxed);
        self.started
            .checked_add(Duration::from_nanos(nanos))
            .unwrap_or(self.started)
    }
}
