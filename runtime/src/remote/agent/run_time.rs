//! For how long a process of the agent surely ran.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts how often all processes were stopped and continued because the dispatcher was stopped.
#[derive(Debug, Clone, Default)]
pub(super) struct Suspensions(Arc<AtomicU64>);

impl Suspensions {
    /// Records that all processes are about to be stopped.
    pub(super) fn begin(&self) {
        self.change(true);
    }

    /// Records that all processes continue.
    pub(super) fn end(&self) {
        self.change(false);
    }

    /// Adds one if that leads to the other state. The count is odd during a suspension.
    fn change(&self, stops: bool) {
        // Relaxed: only the session writes it, and nothing else is ordered by it.
        let count = self.0.load(Ordering::Relaxed);
        if count.is_multiple_of(2) == stops {
            self.0.store(count + 1, Ordering::Relaxed);
        }
    }

    /// Returns how many suspensions have begun or ended.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Measures for how long a process surely ran.
///
/// The agent may be stopped (SIGSTOP) or get no processor, and then it notices the end of a process late. So the time of
/// the notice is no measure. What counts is the last time at which the system said that the process still ran.
#[derive(Debug)]
pub(super) struct RunTime {
    ran: Duration,
    /// When the process was last known to run.
    seen: Instant,
    /// The count of suspensions at that time.
    suspensions: u64,
}

impl RunTime {
    /// Starts to measure a process that was started at this time or before.
    pub(super) fn new(now: Instant, suspensions: u64) -> Self {
        Self {
            ran: Duration::ZERO,
            seen: now,
            suspensions,
        }
    }

    /// Records that the process still ran at this time. The time since the last call does not count if the process was
    /// stopped in it.
    pub(super) fn still_runs(&mut self, now: Instant, suspensions: u64) {
        if suspensions == self.suspensions && suspensions.is_multiple_of(2) {
            self.ran += now.saturating_duration_since(self.seen);
        }
        (self.seen, self.suspensions) = (now, suspensions);
    }

    /// Returns for how long the process surely ran.
    pub(super) fn ran(&self) -> Duration {
        self.ran
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn only_time_at_whose_end_a_process_still_ran_counts() {
        let start = tokio::time::Instant::now().into_std();
        let mut time = RunTime::new(start, 0);
        assert_eq!(time.ran(), Duration::ZERO);
        time.still_runs(start + SECOND, 0);
        // The agent may be stopped now, but the process runs on.
        time.still_runs(start + SECOND * 9, 0);
        assert_eq!(time.ran(), SECOND * 9);
    }

    #[test]
    fn time_in_which_all_processes_were_stopped_does_not_count() {
        let start = tokio::time::Instant::now().into_std();
        let (mut time, suspensions) = (RunTime::new(start, 0), Suspensions::default());
        suspensions.end();
        assert_eq!(suspensions.count(), 0, "nothing was stopped");
        time.still_runs(start + SECOND, suspensions.count());
        for seconds in 2..4 {
            suspensions.begin();
            time.still_runs(start + SECOND * seconds, suspensions.count());
        }
        suspensions.end();
        time.still_runs(start + SECOND * 5, suspensions.count());
        time.still_runs(start + SECOND * 6, suspensions.count());
        assert_eq!(time.ran(), SECOND * 2);
    }
}
