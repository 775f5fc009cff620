//! A job before it is queued.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::times::JobTimes;
use crate::job::Job;
use crate::outcome::Failure;
use crate::scheduling::Blocker;

/// A job that has come and is not queued yet.
#[derive(Debug)]
pub(super) struct Arrival {
    /// The job itself.
    pub(super) job: Arc<Job>,
    /// The position of the job in the order of submission.
    pub(super) position: u64,
    /// The waiting time of the job so far, by cause. It is boxed because a job is passed on often, and each pass would
    /// copy it.
    pub(super) times: Box<JobTimes>,
}

impl Arrival {
    /// Charges the time since the last call, in which the job waited outside of the queue, to this blocker.
    pub(super) fn waited_for(&mut self, blocker: Blocker, at: RunInstant) {
        self.times.waited_for(blocker, at.now, at.paused);
    }
}

/// The current time of a run, from which waiting times are computed.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunInstant {
    /// The moment, by the clock of work.
    pub(super) now: Instant,
    /// How long the run had been paused by then, in all.
    pub(super) paused: Duration,
}

/// A job that ends without ever being queued.
#[derive(Debug)]
pub(super) struct Refused {
    /// The job that ends without an attempt.
    pub(super) arrival: Arrival,
    /// The reason why the job ends.
    pub(super) failure: Box<Failure>,
    /// Whether the job has no id, or the id of another job, so that no other job can depend on it.
    pub(super) lacks_own_id: bool,
}

impl Refused {
    /// Refuses a job for this reason.
    pub(super) fn new(arrival: Arrival, failure: Failure) -> Self {
        Self {
            arrival,
            failure: Box::new(failure),
            lacks_own_id: false,
        }
    }
}
