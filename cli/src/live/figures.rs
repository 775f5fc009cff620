//! The figures of a run in progress that other parts of the command provide for the live server.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ratchet_runtime::Outcome;

use super::message::Failed;

/// How many of the last failures are kept.
const FAILURES: usize = 20;

/// How many characters of the message of a failure are kept.
const MESSAGE: usize = 300;

/// What the live server cannot learn from the loop: how many jobs a stream has, and the last jobs that did not succeed.
#[derive(Debug, Default)]
pub(crate) struct LiveFigures {
    /// The number of all jobs plus one. It is 0 as long as the number is not known.
    total: AtomicU64,
    failures: Mutex<VecDeque<Failed>>,
}

impl LiveFigures {
    /// Stores the number of all jobs.
    pub(crate) fn announce(&self, total: u64) {
        // `Relaxed` is enough: the figure is only shown, and no other access depends on it.
        self.total.store(total.saturating_add(1), Ordering::Relaxed);
    }

    /// Returns the number of all jobs, if it is known.
    pub(super) fn total(&self) -> Option<u64> {
        self.total.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Stores a job that has ended, if it did not succeed.
    pub(crate) fn ended(&self, outcome: &Outcome) {
        let Some(failure) = outcome.failure() else {
            return;
        };
        let failed = Failed {
            id: outcome.id.clone(),
            status: outcome.status().as_str().to_owned(),
            message: failure.message.chars().take(MESSAGE).collect(),
        };
        let mut failures = self.lock();
        if failures.len() == FAILURES {
            failures.pop_front();
        }
        failures.push_back(failed);
    }

    /// Returns the last jobs that did not succeed, the latest at the end.
    pub(super) fn failures(&self) -> Vec<Failed> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Failed>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_of_none_is_known_and_no_total_is_not() {
        let figures = LiveFigures::default();
        assert_eq!(figures.total(), None);
        figures.announce(0);
        assert_eq!(figures.total(), Some(0));
    }
}
