//! How attempts end, and what follows: another attempt, or the end of the job.

use std::time::{Duration, Instant};

use ratchet_ipc::Payload;
use ratchet_resilience::Rng;
use ratchet_resilience::retry::{Decision, History, Retryable};

use super::crew::Report;
use super::orchestrator::{Entry, Orchestrator, State};
use crate::event::Event;
use crate::outcome::{Class, Failure};
use crate::scheduling::{End, Kind, Ticket, Workers};
use crate::worker::WorkerName;

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
            Report::Started { ticket, worker } => self.tell_start(ticket, worker),
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
            Report::Returned { ticket } => self.returned(ticket),
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
            Report::Places {
                kind,
                places,
                ahead,
                edition,
            } => {
                let staff = &mut self.staff[usize::from(kind.0)];
                staff.places = Some((places, ahead));
                staff.edition = edition;
                self.count_workers(kind);
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

    fn attempt_ended(&mut self, ticket: Ticket, mut attempted: Attempted, next: Option<Ticket>) {
        let now = self.now;
        let Some(entry) = self.entry_mut(ticket) else {
            return; // It was given up, and ended after all.
        };
        if entry.state != State::Running {
            // Sent ahead, and nobody said that its turn had come: nothing is charged to it.
            return self.returned(ticket);
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
        self.give_back(ticket, end, next, attempted.worker.as_ref());
        self.staff[usize::from(kind.0)].running -= 1;
        match end {
            End::Succeeded if attempted.provisional => self.hold(ticket, attempted),
            End::Succeeded | End::Failed => self.end(ticket, attempted),
            End::Again(when) => {
                self.staff[usize::from(kind.0)].waiting += 1;
                if let (Some(entry), Err(failure)) = (self.entry(ticket), &attempted.result) {
                    self.tell_retry(entry, failure, when);
                }
                if let Some(entry) = self.entry_mut(ticket) {
                    entry.state = State::Waiting;
                    entry.since = now;
                    entry.failure = attempted.result.err();
                }
            }
        }
        self.count_workers(kind);
    }

    /// Gives back what an attempt held; the one that has begun in its place gets its slot in the same step.
    fn give_back(
        &mut self,
        ticket: Ticket,
        end: End,
        next: Option<Ticket>,
        worker: Option<&WorkerName>,
    ) {
        let is_ahead = |entry: &Entry| entry.state == State::Ahead;
        let next = next.filter(|next| self.entry(*next).is_some_and(is_ahead));
        let given = match next {
            Some(next) => self.scheduler.begin_after(ticket, end, next),
            None => self.scheduler.end(ticket, end),
        };
        if let Err(error) = given {
            tracing::error!(%error, "the scheduler does not know a job that the executor runs");
        }
        if let Some(next) = next {
            self.begin(next);
            self.tell_start(next, worker.cloned());
        }
    }

    /// What follows a failure. It is made another one if it was one too many.
    fn judge(&mut self, ticket: Ticket, failure: &mut Box<Failure>) -> End {
        let (now, crash_limit, goes_on) = (self.now, self.rules.crash_limit, self.is_running());
        let Some(Some(entry)) = self.entries.get_mut(ticket.index()) else {
            return End::Failed;
        };
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

    /// An attempt comes back that never began.
    fn returned(&mut self, ticket: Ticket) {
        let now = self.now;
        let Some(Some(entry)) = self.entries.get_mut(ticket.index()) else {
            return;
        };
        if entry.ticket != ticket || entry.state == State::Waiting {
            return;
        }
        let kind = entry.kind;
        let staff = &mut self.staff[usize::from(kind.0)];
        let put_back = if entry.state == State::Ahead {
            staff.ahead -= 1;
            self.scheduler.put_back(ticket)
        } else {
            staff.running -= 1;
            entry.attempts -= 1;
            entry.admission = None;
            entry.since = now;
            self.scheduler.retry(ticket, now)
        };
        staff.waiting += 1;
        entry.state = State::Waiting;
        if let Err(error) = put_back {
            tracing::error!(%error, "the scheduler does not know a job that was given back");
        }
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
        let Some(Some(entry)) = self.entries.get_mut(ticket.index()) else {
            return;
        };
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

    /// The scheduler's count of free workers is the places there are without the attempts there.
    pub(super) fn count_workers(&mut self, kind: Kind) {
        let staff = &self.staff[usize::from(kind.0)];
        if let Some((places, _)) = staff.places {
            let free = places.saturating_sub(staff.running);
            self.scheduler.set_workers(kind, Workers::Free(free));
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
            .get_or_insert_with(|| Box::new(History::new(started)));
        match history.decide(&**policy, &**failure, now, rng) {
            Decision::Retry { at } => End::Again(at),
            Decision::GiveUp { .. } => End::Failed,
        }
    }
}
