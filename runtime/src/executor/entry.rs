//! A job in the queue, and what is known of its attempts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_resilience::retry::RetryHistory;

use super::arrival::Arrival;
use super::attempt_messages::AttemptMessages;
use super::cancelled::CancelReason;
use super::reuse::StorePermit;
use super::routes::RouteId;
use super::times::JobTimes;
use crate::dispatch::PoolKey;
use crate::ids::KindId;
use crate::ids::{PlaceId, Ticket};
use crate::job::Job;
use crate::outcome::{Class, Failure};
use crate::process::SeatId;
use crate::scheduling::Blocker;

/// A job of the queue: it waits for its start, was sent ahead to a worker, or runs.
///
/// There are as many entries as the window is wide, and each is looked at again and again: what few jobs have is in boxes.
#[derive(Debug)]
pub(super) struct JobEntry {
    /// The id under which the scheduler knows the job.
    pub(super) ticket: Ticket,
    /// The job itself.
    pub(super) job: Arc<Job>,
    /// The position of the job in the order of submission.
    pub(super) position: u64,
    /// The kind of worker that performs the job.
    pub(super) kind: KindId,
    /// The route of the job, which says where it can run.
    pub(super) route: RouteId,
    /// Where its attempt runs or lies ahead. It is the local place while the job waits.
    pub(super) at: PlaceId,
    /// What the job does in the queue. `Entries` changes it, and counts the entries by state as it does.
    state: JobState,
    /// The seat on which it runs or lies ahead, if that is on a worker of a pool.
    pub(super) seat: Option<SeatId>,
    /// The number of its attempts that count.
    pub(super) attempts: u32,
    /// The number of its attempts that ended with a crash.
    pub(super) crashes: u32,
    /// The number of its attempts that ended for want of memory and were tried again.
    pub(super) memory_kills: u32,
    /// The moment at which it entered its state.
    pub(super) since: Instant,
    /// What the time of the job was charged to so far.
    pub(super) times: Box<JobTimes>,
    /// What its retry policy knows of its failures.
    pub(super) history: Option<Box<RetryHistory>>,
    /// The failure of its last attempt, if it is to be tried again.
    pub(super) failure: Option<Box<Failure>>,
    /// The start of its first attempt, from which its retry policy counts.
    pub(super) first_start: Option<Instant>,
    /// The moment at which it fails if it has not started. `QueueDeadlines` keeps it.
    pub(super) queue_deadline: Option<Instant>,
    /// The job takes tokens of a rate.
    pub(super) is_rated: bool,
    /// Whether the breaker refused its start when it was last asked.
    pub(super) rejected: bool,
    /// Why it was cancelled, if it was. Then its attempt is its last.
    pub(super) cancelled: Option<Arc<CancelReason>>,
    /// Its terms say after how long it is slow, and it was told that it is.
    pub(super) is_slow: bool,
    /// What its worker has said about its attempt.
    pub(super) said: Option<Box<AttemptMessages>>,
    /// The permit to store its result in the cache.
    pub(super) share: Option<Box<StorePermit>>,
}

/// The state of a job in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobState {
    /// The job waits for its start.
    Waiting,
    /// The job was sent to its worker before its turn. It holds no slot and has not begun.
    Ahead,
    /// An attempt at the job runs and holds all its claims.
    Running,
}

impl JobEntry {
    /// Makes an entry for a job that waits and has had no attempt.
    pub(super) fn new(
        ticket: Ticket,
        arrival: Arrival,
        (kind, route): (KindId, RouteId),
        is_rated: bool,
        share: Option<Box<StorePermit>>,
    ) -> Self {
        Self {
            ticket,
            job: arrival.job,
            position: arrival.position,
            kind,
            route,
            at: PlaceId::LOCAL,
            state: JobState::Waiting,
            seat: None,
            attempts: 0,
            crashes: 0,
            memory_kills: 0,
            since: arrival.times.arrived,
            times: arrival.times,
            history: None,
            failure: None,
            first_start: None,
            queue_deadline: None,
            is_rated,
            rejected: false,
            cancelled: None,
            is_slow: false,
            said: None,
            share,
        }
    }

    /// Returns the entry of a job that had left the queue and comes back to it, with what is known of its attempts.
    pub(super) fn requeued(self, ticket: Ticket, route: RouteId, is_rated: bool) -> Self {
        Self {
            ticket,
            route,
            is_rated,
            state: JobState::Waiting,
            at: PlaceId::LOCAL,
            seat: None,
            queue_deadline: None,
            ..self
        }
    }

    /// Returns what the job does in the queue.
    pub(super) fn state(&self) -> JobState {
        self.state
    }

    /// The pool to which its attempt was given.
    pub(super) fn pool(&self) -> PoolKey {
        PoolKey {
            kind: self.kind,
            place: self.at,
        }
    }

    /// Changes the state. Only `Entries` may call it for an entry that it has, or its counts would be wrong.
    pub(super) fn set_state(&mut self, state: JobState) {
        self.state = state;
    }

    /// Returns the moment at which the job fails if its first attempt has not started, where its terms set one.
    pub(super) fn deadline_of_first_start(&self) -> Option<Instant> {
        let limit = self.job.terms.timeouts.queue?;
        // A limit beyond what the clock can tell is no limit.
        self.times.arrived.checked_add(limit)
    }

    /// What is said about its attempt.
    pub(super) fn said(&mut self) -> &mut AttemptMessages {
        let attempt = self.attempts;
        let said = self
            .said
            .get_or_insert_with(|| Box::new(AttemptMessages::new(attempt)));
        if said.attempt != attempt {
            **said = AttemptMessages::new(attempt);
        }
        said
    }

    /// Returns for how long the job has been in its state.
    pub(super) fn in_state_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Whether the job waits and no attempt at it has been made.
    pub(super) fn is_at_start(&self) -> bool {
        self.state == JobState::Waiting && self.attempts == 0
    }

    /// Returns the job as it came, so that it can be looked at anew.
    pub(super) fn into_arrival(self) -> Arrival {
        Arrival {
            job: self.job,
            position: self.position,
            times: self.times,
        }
    }

    /// Charges the time for which the job's result was held, until now, as a wait for its worker.
    pub(super) fn charge_hold(&mut self, now: Instant) {
        let held = self.in_state_for(now);
        self.times.waits.add(Blocker::Worker, held);
    }

    /// Returns the failure of a job that did not start within its queue timeout.
    pub(super) fn queue_timeout_failure(&self) -> Failure {
        #[expect(
            clippy::expect_used,
            reason = "only a job with a queue timeout has a deadline in the queue"
        )]
        let limit =
            (self.job.terms.timeouts.queue).expect("a job that ran into its queue timeout has one");
        let failure = if self.rejected {
            let message = format!("its breaker was open for as long as it may wait, {limit:?}");
            Failure::new(Class::Breaker, message)
        } else {
            let message = format!("it waited for its start for longer than {limit:?}");
            Failure::new(Class::Timeout, message)
        };
        failure.retryable(false)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::routes::Routes;
    use super::*;
    use crate::scheduling::{Scheduler, SchedulerRequest, SchedulerSettings};

    /// An entry of a job that waits since this moment.
    pub(in crate::executor) fn entry(job: Arc<Job>, since: Instant) -> JobEntry {
        let mut scheduler = Scheduler::new(SchedulerSettings::default(), since).unwrap();
        let ticket = scheduler.push(SchedulerRequest::new("any"), since).unwrap();
        let arrival = Arrival {
            job,
            position: 0,
            times: Box::new(JobTimes::new(since)),
        };
        let route = Routes::new(1).plain(KindId(0), false);
        JobEntry::new(ticket, arrival, (KindId(0), route), false, None)
    }
}
