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
    /// What the time of the job was charged to so far. It is in a box because a job is passed on often, and each pass would
    /// copy it.
    pub(super) times: Box<JobTimes>,
}

impl Arrival {
    /// Charges the time that the job has waited outside of the queue, since this was last asked, to a blocker.
    pub(super) fn waited_for(&mut self, blocker: Blocker, at: Moment) {
        self.times.waited_for(blocker, at.now, at.paused);
    }
}

/// A moment of a run, by which the time is charged that jobs have waited.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
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
    /// The reason for which the job ends.
    pub(super) failure: Box<Failure>,
    /// It has no name, or the name of another job, so that no other job can mean it.
    pub(super) is_nameless: bool,
}

impl Refused {
    /// Refuses a job for this reason.
    pub(super) fn new(arrival: Arrival, failure: Failure) -> Self {
        Self {
            arrival,
            failure: Box::new(failure),
            is_nameless: false,
        }
    }
}
