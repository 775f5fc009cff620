//! A job before it is queued.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::times::JobTimes;
use crate::job::Job;
use crate::outcome::{Class, Failure};
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

    /// Returns the moment at which the queue timeout of the job passes, if its terms set one.
    pub(super) fn start_deadline(&self) -> Option<Instant> {
        self.times.start_deadline(self.job.terms.timeouts.queue)
    }
}

/// A job that waits for a worker's hello, or for a place that was not reached yet.
#[derive(Debug)]
pub(super) struct UnresolvedJob {
    /// The job that waits.
    pub(super) arrival: Arrival,
    /// The cause to which its waiting time is charged. It holds until the job is resolved again, because each change of
    /// a place or of a kind of worker has all these jobs resolved again.
    pub(super) waits_for: Blocker,
}

impl UnresolvedJob {
    /// Returns the job, charged for its waiting time.
    pub(super) fn charged(self, at: RunInstant) -> Arrival {
        let Self {
            mut arrival,
            waits_for,
        } = self;
        arrival.waited_for(waits_for, at);
        arrival
    }
}

/// Returns the failure of a job that did not start within its queue timeout.
pub(super) fn queue_timeout_failure(job: &Job) -> Failure {
    #[expect(
        clippy::expect_used,
        reason = "only a job with a queue timeout has a deadline for its start"
    )]
    let limit = (job.terms.timeouts.queue).expect("a job that ran into its queue timeout has one");
    let message = format!("it waited for its start for longer than {limit:?}");
    Failure::new(Class::Timeout, message).retryable(false)
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
