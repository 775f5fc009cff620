//! The ends of jobs, as a follower records and counts them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ratchet_runtime::{Class, Failure, Job, Journal, JournalError, MaxFailures, Outcome, Status};

use super::reading::PlacedJob;

/// A job that has ended.
pub(super) struct Ended {
    /// The job as it was submitted; `None` if its outcome is recorded already.
    job: Option<Job>,
    /// The position of the job among all jobs.
    pub(super) position: u64,
    /// Its outcome.
    pub(super) outcome: Arc<Outcome>,
}

impl Ended {
    /// Makes the end of a job, which is to be recorded.
    pub(super) fn new(placed: PlacedJob, outcome: Outcome) -> Self {
        Self {
            job: Some(placed.job),
            position: placed.position,
            outcome: Arc::new(outcome),
        }
    }

    /// Makes the end of a job that no node has done.
    pub(super) fn failed(placed: PlacedJob, failure: Failure) -> Self {
        let job = &placed.job;
        let outcome = Outcome::new(job.id.clone(), job.task_name(), Err(failure));
        Self::new(placed, outcome)
    }

    /// Makes the end of a job that an earlier part of the run has recorded.
    pub(super) fn earlier(position: u64, outcome: Arc<Outcome>) -> Self {
        Self {
            job: None,
            position,
            outcome,
        }
    }

    /// Makes the end of a job of which the queue has forgotten how it ended.
    pub(super) fn lost(placed: PlacedJob) -> Self {
        let message = "the queue does not know any more how it ended: ends are kept for a time, or somebody has purged it";
        Self::failed(placed, Failure::new(Class::Host, message).retryable(false))
    }
}

/// Records ends in the journal, before anybody hears of them.
pub(super) fn record(journal: &Mutex<Journal>, ended: &[Ended]) -> Result<(), JournalError> {
    // No call leaves the journal half changed, so the lock is safe to use after a panic in another thread.
    let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
    for Ended { job, outcome, .. } in ended {
        if let Some(job) = job {
            journal.append(job, outcome)?;
        }
    }
    journal.flush()
}

/// Holds outcomes back until those of all earlier jobs are there.
#[derive(Debug, Default)]
pub(super) struct EndOrder {
    /// The position of the next outcome that is passed on.
    next: u64,
    held: BTreeMap<u64, Arc<Outcome>>,
}

impl EndOrder {
    /// Adds outcomes with the positions of their jobs, and returns those whose turn has come.
    pub(super) fn sort(
        &mut self,
        outcomes: impl Iterator<Item = (u64, Arc<Outcome>)>,
    ) -> Vec<Arc<Outcome>> {
        self.held.extend(outcomes);
        let mut ready = Vec::new();
        while let Some(outcome) = self.held.remove(&self.next) {
            self.next += 1;
            ready.push(outcome);
        }
        ready
    }
}

/// Counts jobs that have ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct EndCounts {
    ended: u64,
    failed: u64,
}

impl EndCounts {
    /// Counts a job.
    pub(super) fn count(&mut self, status: Status) {
        self.ended += 1;
        self.failed += u64::from(has_failed(status));
    }

    /// Returns how many jobs have ended.
    pub(super) fn ended(&self) -> u64 {
        self.ended
    }

    /// Returns how many have failed.
    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    /// Whether the rule says to stop. `total` is how many jobs there are, if that is known.
    pub(super) fn breaks(&self, rule: MaxFailures, total: Option<u64>) -> bool {
        rule.is_reached(self.ended, self.failed, total)
    }
}

/// Whether a job did not succeed for a fault of its own.
fn has_failed(status: Status) -> bool {
    matches!(status, Status::Failed | Status::TimedOut | Status::Crashed)
}

#[cfg(test)]
mod tests {
    use ratchet_runtime::Payload;

    use super::*;

    #[test]
    fn outcomes_leave_in_the_order_of_their_jobs() {
        let outcome = |id: u64| {
            let outcome = Outcome::new(id.to_string(), "t", Ok(Payload::null()));
            (id, Arc::new(outcome))
        };
        let mut order = EndOrder::default();
        let mut left = |ids: &[u64]| {
            let sorted = order.sort(ids.iter().map(|id| outcome(*id)));
            let ids: Vec<_> = sorted
                .iter()
                .map(|outcome| outcome.id.to_string())
                .collect();
            ids.join(" ")
        };
        assert_eq!(left(&[2]), "");
        assert_eq!(left(&[3, 0]), "0");
        assert_eq!(left(&[1]), "1 2 3");
        assert_eq!(left(&[4]), "4");
    }
}
