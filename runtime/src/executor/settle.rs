//! How attempts end, and what follows: another attempt, or the end of the job.

use std::time::{Duration, Instant};

use ratchet_ipc::Payload;
use ratchet_resilience::Rng;
use ratchet_resilience::retry::{RetryDecision, RetryHistory, Retryable};

use super::orchestrator::{Entry, Orchestrator, State, entry_of, expect_known};
use crate::dispatch::{Report, WorkerNumber};
use crate::event::Event;
use crate::ids::Ticket;
use crate::ids::WorkerName;
use crate::outcome::{Class, Failure};
use crate::process::Seats;
use crate::scheduling::{End, Kind};

/// What an attempt came to.
pub(super) struct Attempted {
    pub(super) result: Result<Payload, Box<Failure>>,
    pub(super) worker: Option<WorkerName>,
    pub(super) ran: Duration,
    /// The result may yet be refuted.
    pub(super) provisional: bool,
}

impl Retryable for Failure {
    fn is_retryable(&self) -> bool {
        self.retryable
    }

    fn is_cancellation(&self) -> bool {
        self.class == Class::Cancelled
    }

    fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    fn class(&self) -> &str {
        self.class.as_str()
    }
}

impl Orchestrator {
    /// Whoever works has something to say.
    pub(super) fn hear(&mut self, report: Report) {
        match report {
            Report::Ended {
                ticket,
                result,
                worker,
                ran,
                next,
                provisional,
            } => {
                let attempted = Attempted {
                    result,
                    worker,
                    ran,
                    provisional,
                };
                self.attempt_ended(ticket, attempted, next);
            }
            Report::Confirmed { ticket, in_doubt } => self.confirmed(ticket, in_doubt),
            Report::Refuted { ticket, failure } => self.refuted(ticket, failure),
            Report::Cleared { worker } => self.provisional.cleared(&worker),
            Report::OutOfStep { worker, reason } => self.out_of_step(&worker, reason),
            Report::Filter { kind, worker, news } => {
                self.change_seats(kind, |seats, _| seats.filter_changed(worker, news));
            }
            Report::Returned {
                ticket,
                next,
                withdrawn,
            } => self.returned(ticket, next, withdrawn),
            Report::Step { ticket, step } => {
                if let Some(entry) = self.entry(ticket) {
                    let id = &entry.job.id;
                    self.tell(|| Event::AttemptProgress {
                        id: id.clone(),
                        done: step.done,
                        total: step.total,
                        message: step.message,
                    });
                }
            }
            Report::Log {
                ticket,
                worker,
                level,
                message,
            } => {
                let id = ticket.and_then(|ticket| self.entry(ticket));
                let id = id.map(|entry| entry.job.id.clone());
                self.tell(|| Event::Log {
                    id,
                    worker,
                    level,
                    message,
                });
            }
            Report::Offered { kind, offer } => {
                self.change_seats(kind, |seats, now| seats.offered(offer, now));
            }
            Report::Proven { kind, worker } => {
                self.change_seats(kind, |seats, _| seats.proven(worker));
                self.proven(kind, worker);
            }
            Report::Withdrawn { kind, worker } => {
                self.change_seats(kind, |seats, _| seats.withdrawn(worker));
            }
            Report::DemandWanted { kind } => {
                let demand = self.demand(kind);
                self.performers.demand_again(kind, demand);
            }
            Report::Introduced {
                kind,
                version,
                tasks,
            } => self.kind_introduced(kind, version, tasks),
            Report::Broken { kind, failure } => self.kind_broke(kind, &failure),
            Report::Worker(news) => self.tell(|| Event::Worker(news)),
        }
    }

    pub(super) fn entry(&self, ticket: Ticket) -> Option<&Entry> {
        let entry = self.entries.get(ticket.index())?.as_ref()?;
        (entry.ticket == ticket).then_some(entry)
    }

    pub(super) fn entry_mut(&mut self, ticket: Ticket) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(ticket.index())?.as_mut()?;
        (entry.ticket == ticket).then_some(entry)
    }

    /// A worker has read what it was given, so that this has begun by now.
    fn proven(&mut self, kind: Kind, worker: WorkerNumber) {
        let Some(ticket) = self.uncertain else { return };
        let seat = self
            .entry(ticket)
            .filter(|entry| entry.kind == kind)
            .and_then(|entry| entry.seat);
        if let (Some(pool), Some(seat)) = (self.performers.pool(kind), seat)
            && pool.seats.number(seat) == worker
        {
            self.began_by_now(ticket);
        }
    }

    /// Changes which seats a pool has, and tells the scheduler how many are free.
    fn change_seats(&mut self, kind: Kind, change: impl FnOnce(&mut Seats, Instant)) {
        let now = self.now;
        if let Some(pool) = self.performers.pool(kind) {
            change(&mut pool.seats, now);
        }
        self.count_workers(kind);
    }

    fn attempt_ended(&mut self, ticket: Ticket, mut attempted: Attempted, next: Option<Ticket>) {
        let now = self.now;
        let Some(entry) = self.entry_mut(ticket) else {
            return; // It was given up, and ended after all.
        };
        if entry.state != State::Running {
            // Sent ahead, and nobody said that its turn had come: nothing is charged to it.
            return self.returned(ticket, None, false);
        }
        let (kind, admission) = (entry.kind, entry.admission.take());
        if let Some(admission) = admission {
            let failure = attempted.result.as_ref().err().map(AsRef::as_ref);
            self.breakers.record(*admission, failure, now);
        }
        let end = match &mut attempted.result {
            Ok(_) => End::Succeeded,
            Err(failure) => self.judge(ticket, failure),
        };
        self.ran.push((kind, attempted.ran));
        self.began_by_now(ticket);
        self.give_back(ticket, end, next);
        match end {
            End::Succeeded if attempted.provisional => self.hold(ticket, attempted),
            End::Succeeded | End::Failed => self.end(ticket, attempted),
            End::Again(when) => {
                self.counts[usize::from(kind.0)].waiting += 1;
                if let (Some(entry), Err(failure)) = (self.entry(ticket), &attempted.result) {
                    self.tell_retry(entry, failure, when);
                }
                let entry = entry_of(&mut self.entries, ticket);
                entry.state = State::Waiting;
                entry.since = now;
                entry.failure = attempted.result.err();
            }
        }
    }

    /// Gives back what an attempt held. An attempt that has begun in its place gets its slot and its seat in the same step.
    fn give_back(&mut self, ticket: Ticket, end: End, next: Option<Ticket>) {
        let now = self.now;
        let is_ahead = |entry: &Entry| entry.state == State::Ahead;
        let next = next.filter(|next| self.entry(*next).is_some_and(is_ahead));
        match next {
            Some(next) => expect_known(self.scheduler.begin_after(ticket, end, next)),
            None => expect_known(self.scheduler.end(ticket, end)),
        };
        let entry = entry_of(&mut self.entries, ticket);
        let (kind, seat) = (entry.kind, entry.seat.take());
        self.counts[usize::from(kind.0)].running -= 1;
        let mut worker = None;
        if let (Some(pool), Some(seat)) = (self.performers.pool(kind), seat) {
            worker = next.map(|_| pool.seats.name(seat).clone());
            pool.seats.ended(seat, next.is_some(), now);
        }
        if let Some(next) = next {
            self.begin(next);
            self.tell_start(next, worker);
        }
        self.count_workers(kind);
    }

    /// Pools learn how long attempts take, by which they send more or fewer ahead.
    pub(super) fn learn(&mut self) {
        let mut ran = std::mem::take(&mut self.ran);
        for (kind, pool) in self.performers.pools_mut() {
            let of_kind = ran.iter().filter(|(other, _)| *other == kind);
            let (jobs, busy) = of_kind.fold((0, Duration::ZERO), |(jobs, busy), (_, ran)| {
                (jobs + 1, busy + *ran)
            });
            pool.seats.learn(jobs, busy);
        }
        ran.clear();
        self.ran = ran;
    }

    /// What follows a failure. It is made another one if it was one too many.
    fn judge(&mut self, ticket: Ticket, failure: &mut Box<Failure>) -> End {
        let (now, crash_limit, goes_on) = (self.now, self.rules.crash_limit, self.is_running());
        let entry = entry_of(&mut self.entries, ticket);
        entry.judge(failure, crash_limit, goes_on, now, &mut self.rng)
    }

    pub(super) fn tell_retry(&self, entry: &Entry, failure: &Failure, when: Instant) {
        self.tell(|| {
            let wait = when.saturating_duration_since(self.now).as_millis();
            Event::AttemptFailed {
                id: entry.job.id.clone(),
                attempt: entry.attempts,
                class: failure.class,
                message: failure.message.clone(),
                retry_in_ms: u64::try_from(wait).unwrap_or(u64::MAX),
            }
        });
    }

    /// An attempt comes back that never began. One that lay ahead may have begun in its place.
    pub(super) fn returned(&mut self, ticket: Ticket, next: Option<Ticket>, withdrawn: bool) {
        let now = self.now;
        let Some(entry) = self.entry(ticket) else {
            return; // It was given up.
        };
        let (kind, state, seat) = (entry.kind, entry.state, entry.seat);
        if let (Some(pool), Some(seat), true) = (self.performers.pool(kind), seat, withdrawn) {
            pool.seats.withdraw(seat);
        }
        match state {
            State::Waiting => return,
            State::Ahead => {
                expect_known(self.scheduler.put_back(ticket));
                self.counts[usize::from(kind.0)].ahead -= 1;
                if let (Some(pool), Some(seat)) = (self.performers.pool(kind), seat) {
                    pool.seats.unstaged(seat, now);
                }
            }
            State::Running => {
                self.forget_uncertain(ticket);
                self.give_back(ticket, End::Again(now), next);
            }
        }
        self.counts[usize::from(kind.0)].waiting += 1;
        let entry = entry_of(&mut self.entries, ticket);
        entry.seat = None;
        if state == State::Running {
            entry.attempts -= 1;
            entry.admission = None;
            entry.since = now;
        }
        entry.state = State::Waiting;
        self.count_workers(kind);
        if let Some(failure) = self.end_of_the_waiting() {
            self.end_waiting(ticket, failure);
        } else {
            self.be_patient_again(ticket);
        }
    }

    /// A job waits for its first start once more, for as long as it has patience left.
    fn be_patient_again(&mut self, ticket: Ticket) {
        let now = self.now;
        let entry = entry_of(&mut self.entries, ticket);
        if entry.attempts > 0 {
            return;
        }
        entry.first_start = None;
        let waited = entry.queued + now.saturating_duration_since(entry.since);
        let limit = entry.job.terms.timeouts.queue;
        let left = limit.map(|limit| limit.saturating_sub(waited));
        entry.patience = left.and_then(|left| now.checked_add(left));
        if let Some(when) = entry.patience {
            self.patience.insert((when, ticket));
        }
    }

    /// A kind of worker is not to be had any more, so those that wait for it wait in vain.
    fn kind_broke(&mut self, kind: Kind, failure: &Failure) {
        self.kinds.broke(kind, failure.clone());
        let waiting = self
            .entries
            .iter()
            .flatten()
            .filter(|entry| entry.kind == kind && entry.state == State::Waiting);
        let waiting: Vec<Ticket> = waiting.map(|entry| entry.ticket).collect();
        for ticket in waiting {
            self.end_waiting(ticket, failure.clone());
        }
        self.resolve_again();
    }
}

impl Entry {
    /// What follows a failure of its attempt. It is made another one if it was one too many.
    pub(super) fn judge(
        &mut self,
        failure: &mut Box<Failure>,
        crash_limit: u32,
        goes_on: bool,
        now: Instant,
        rng: &mut Rng,
    ) -> End {
        if matches!(failure.class, Class::Crash | Class::Memory) {
            self.crashes += 1;
            if self.crashes >= crash_limit && self.job.terms.retry.is_some() {
                let message = format!(
                    "it took {} workers with it: {}",
                    self.crashes, failure.message
                );
                **failure = Failure {
                    class: Class::Poison,
                    message,
                    retryable: false,
                    ..(**failure).clone()
                };
                return End::Failed;
            }
        }
        let (Some(policy), true) = (&self.job.terms.retry, goes_on) else {
            return End::Failed;
        };
        let started = self.first_start.unwrap_or(now);
        let history = self
            .history
            .get_or_insert_with(|| Box::new(RetryHistory::new(started)));
        match history.record_failure(&**policy, &**failure, now, rng) {
            RetryDecision::Retry { at } => End::Again(at),
            RetryDecision::GiveUp { .. } => End::Failed,
        }
    }
}
