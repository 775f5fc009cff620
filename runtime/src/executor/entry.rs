//! The entry of a job in the queue, with the record of its attempts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_resilience::retry::RetryHistory;

use super::arrival::{Arrival, queue_timeout_failure};
use super::attempt_messages::AttemptMessages;
use super::cancelled::CancelReason;
use super::reuse::CacheKey;
use super::routes::RouteId;
use super::times::JobTimes;
use crate::dispatch::PoolKey;
use crate::ids::KindId;
use crate::ids::{PlaceId, Ticket};
use crate::job::Job;
use crate::outcome::{Class, Failure};
use crate::process::SeatId;
use crate::scheduling::Blocker;

/// A job of the queue, which waits for its start, was sent ahead to a worker, or runs.
///
/// There can be as many entries as the window is wide, and the loop reads each of them often. So what only few jobs
/// have is in boxes, which keeps an entry small.
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
    /// The state of the job in the queue. Only `JobEntries` changes it, because it counts the entries by state.
    state: EntryState,
    /// The seat on which the job runs or was sent ahead; `None` if it waits, or if no worker of a pool performs it.
    pub(super) seat: Option<SeatId>,
    /// How many charged attempts the job has had, with those that a queue has had made elsewhere.
    pub(super) attempts: u32,
    /// How many of its attempts ended with a crash.
    pub(super) crashes: u32,
    /// How many of its attempts ended for want of memory and were followed by another one.
    pub(super) memory_kills: u32,
    /// When the job entered its state.
    pub(super) since: Instant,
    /// The times of the job, charged to attempts and blockers so far.
    pub(super) times: Box<JobTimes>,
    /// The record of its failures, from which its retry policy decides.
    pub(super) history: Option<Box<RetryHistory>>,
    /// The failure of its last attempt, if another attempt is to follow.
    pub(super) failure: Option<Box<Failure>>,
    /// When its first attempt started. Its retry policy counts from then.
    pub(super) first_start: Option<Instant>,
    /// The moment at which the job fails if it has not started. `QueueDeadlines` maintains it.
    pub(super) queue_deadline: Option<Instant>,
    /// Whether the job takes tokens of a rate.
    pub(super) is_rated: bool,
    /// Whether the breaker refused its start when it was last asked.
    pub(super) rejected: bool,
    /// Why the job was cancelled, if it was. Its present attempt is then its last one.
    pub(super) cancelled: Option<Arc<CancelReason>>,
    /// Whether the job was reported as slow, after the time that its terms set.
    pub(super) is_slow: bool,
    /// The messages of its worker about the present attempt.
    pub(super) messages: Option<Box<AttemptMessages>>,
    /// The cache key of the job, if its result is stored or taken from an equal job. A job that waits for the answer to
    /// the result of an equal job has none: the cache has it meanwhile.
    pub(super) cache_key: Option<Box<CacheKey>>,
}

/// The state of a job in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryState {
    /// The job waits for its start.
    Waiting,
    /// The job waits for the result of an equal job, which has started or was sent ahead.
    Parked,
    /// The job was sent ahead to a busy worker. It holds no slot and has not begun.
    Ahead,
    /// An attempt at the job runs and holds all its claims.
    Running,
}

impl EntryState {
    /// Whether a job in this state waits, and was not sent anywhere.
    pub(super) fn is_waiting(self) -> bool {
        matches!(self, Self::Waiting | Self::Parked)
    }
}

impl JobEntry {
    /// Makes an entry for a job that waits and has had no attempt here.
    pub(super) fn new(
        ticket: Ticket,
        arrival: Arrival,
        (kind, route): (KindId, RouteId),
        is_rated: bool,
        cache_key: Option<Box<CacheKey>>,
    ) -> Self {
        let granted = arrival.job.terms.granted.as_ref();
        let attempts = granted.map_or(0, |granted| granted.earlier_attempts);
        Self {
            ticket,
            job: arrival.job,
            position: arrival.position,
            kind,
            route,
            at: PlaceId::LOCAL,
            state: EntryState::Waiting,
            seat: None,
            attempts,
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
            messages: None,
            cache_key,
        }
    }

    /// Returns the entry of a job that left the queue and comes back to it. The record of its attempts is kept.
    pub(super) fn requeued(self, ticket: Ticket, route: RouteId, is_rated: bool) -> Self {
        Self {
            ticket,
            route,
            is_rated,
            state: EntryState::Waiting,
            at: PlaceId::LOCAL,
            seat: None,
            queue_deadline: None,
            ..self
        }
    }

    /// Returns the state of the job in the queue.
    pub(super) fn state(&self) -> EntryState {
        self.state
    }

    /// Returns the pool to which its attempt was given.
    pub(super) fn pool(&self) -> PoolKey {
        PoolKey {
            kind: self.kind,
            place: self.at,
        }
    }

    /// Changes the state. Only `JobEntries` may call this for an entry that it holds, because it has to change its counts
    /// with it.
    pub(super) fn set_state(&mut self, state: EntryState) {
        self.state = state;
    }

    /// Returns the moment at which the queue timeout of the job passes, if its terms set one.
    pub(super) fn deadline_of_first_start(&self) -> Option<Instant> {
        self.times.start_deadline(self.job.terms.timeouts.queue)
    }

    /// Returns the messages about its present attempt. Those about an earlier attempt are dropped.
    pub(super) fn messages_mut(&mut self) -> &mut AttemptMessages {
        let attempt = self.attempts;
        let messages = self
            .messages
            .get_or_insert_with(|| Box::new(AttemptMessages::new(attempt)));
        if messages.attempt != attempt {
            **messages = AttemptMessages::new(attempt);
        }
        messages
    }

    /// Returns for how long the job has been in its state.
    pub(super) fn in_state_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Whether the job waits and has had no charged attempt.
    pub(super) fn is_at_start(&self) -> bool {
        self.state.is_waiting() && self.attempts == 0
    }

    /// Turns the entry back into the job as it arrived, so that it can be resolved again.
    pub(super) fn into_arrival(self) -> Arrival {
        Arrival {
            job: self.job,
            position: self.position,
            times: self.times,
        }
    }

    /// Charges the time until `now` for which the result of the job was held. It counts as waiting for its worker.
    pub(super) fn charge_hold(&mut self, now: Instant) {
        let held = self.in_state_for(now);
        self.times.waits.add(Blocker::Worker, held);
    }

    /// Returns the failure of a job that did not start within its queue timeout.
    pub(super) fn queue_timeout_failure(&self) -> Failure {
        if let (true, Some(limit)) = (self.rejected, self.job.terms.timeouts.queue) {
            let message =
                format!("its breaker did not admit it within its queue timeout of {limit:?}");
            return Failure::new(Class::Breaker, message).retryable(false);
        }
        queue_timeout_failure(&self.job)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::routes::Routes;
    use super::*;
    use crate::scheduling::{Scheduler, SchedulerRequest, SchedulerSettings};

    /// Returns an entry of a job that waits since this moment.
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
