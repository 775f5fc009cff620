//! A job in the queue, and what its attempts come to.

use std::sync::Arc;
use std::time::Instant;

use ratchet_resilience::retry::RetryHistory;

use super::arrival::Arrival;
use super::reuse::Share;
use super::times::JobTimes;
use crate::ids::Ticket;
use crate::job::Job;
use crate::outcome::{Class, Failure};
use crate::process::SeatId;
use crate::scheduling::{Blocker, Kind};

/// A job that waits for its start, lies ahead, or runs.
///
/// There are as many as the window is wide, and each is looked at again and again: what few jobs have is in boxes.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) ticket: Ticket,
    pub(super) job: Arc<Job>,
    pub(super) place: u64,
    pub(super) kind: Kind,
    pub(super) state: State,
    /// Where it runs or lies ahead, if on a worker of a pool.
    pub(super) seat: Option<SeatId>,
    /// Attempts that count.
    pub(super) attempts: u32,
    pub(super) crashes: u32,
    /// Since when it has been in its state.
    pub(super) since: Instant,
    pub(super) times: JobTimes,
    pub(super) history: Option<Box<RetryHistory>>,
    /// What it came to last, if it is to be tried again.
    pub(super) failure: Option<Box<Failure>>,
    pub(super) first_start: Option<Instant>,
    /// When its patience with the queue ends.
    pub(super) patience: Option<Instant>,
    /// It takes tokens of a rate.
    pub(super) is_rated: bool,
    /// A breaker has kept it from starting.
    pub(super) rejected: bool,
    /// Its right to fill the cache.
    pub(super) share: Option<Box<Share>>,
}

/// Where a queued job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    /// Sent to its worker before its turn.
    Ahead,
    Running,
}

impl Entry {
    /// Whether it waits and no attempt at it has been made.
    pub(super) fn is_at_start(&self) -> bool {
        self.state == State::Waiting && self.attempts == 0
    }

    /// The job as it came, so that it can be looked at anew.
    pub(super) fn into_arrival(self) -> Arrival {
        Arrival {
            job: self.job,
            place: self.place,
            since: self.times.arrived,
            times: self.times,
        }
    }

    /// The result of its attempt has waited since then to be confirmed or refuted, which is time of its worker.
    pub(super) fn was_held(&mut self, now: Instant) {
        let held = now.saturating_duration_since(self.since);
        self.times.waits.add(Blocker::Worker, held);
    }

    /// Why a job ends that has waited for its first start for as long as it may.
    pub(super) fn impatience(&self) -> Failure {
        let limit = self.job.terms.timeouts.queue.unwrap_or_default();
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
    use super::*;
    use crate::scheduling::{Request, Scheduler, Settings};

    /// An entry of a job that waits since this moment.
    pub(in crate::executor) fn entry(job: Arc<Job>, since: Instant) -> Entry {
        let mut scheduler = Scheduler::new(Settings::default(), since).unwrap();
        Entry {
            ticket: scheduler.push(Request::new("any"), since).unwrap(),
            job,
            place: 0,
            kind: Kind(0),
            state: State::Waiting,
            seat: None,
            attempts: 0,
            crashes: 0,
            since,
            times: JobTimes::new(since),
            history: None,
            failure: None,
            first_start: None,
            patience: None,
            is_rated: false,
            rejected: false,
            share: None,
        }
    }
}
