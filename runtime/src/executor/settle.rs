//! How attempts end, and what follows: another attempt, or the job's outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_ipc::{JobKey, Payload};
use ratchet_resilience::retry::{Decision, History, Retryable};
use ratchet_resilience::shutdown::Phase;

use super::breakers::Verdict;
use super::crew::{Assignment, Report};
use super::orchestrator::{Arrival, Entry, Orchestrator, State};
use super::stop::Stopped;
use crate::event::Event;
use crate::job::{Job, Work};
use crate::outcome::{Class, Failure, Outcome};
use crate::scheduling::{End, Kind, Ticket, Workers};
use crate::worker::WorkerName;

/// A job at its end.
pub(super) struct Done {
    pub(super) job: Arc<Job>,
    pub(super) place: u64,
    pub(super) result: Result<Payload, Box<Failure>>,
    pub(super) attempts: u32,
    pub(super) cached: bool,
    pub(super) worker: Option<WorkerName>,
    pub(super) queued: Duration,
    pub(super) duration: Duration,
    /// Its name is none, or another's.
    pub(super) nameless: bool,
}

impl Done {
    /// One that never started.
    pub(super) fn of(arrival: &Arrival, result: Result<Payload, Box<Failure>>) -> Self {
        Self {
            job: Arc::clone(&arrival.job),
            place: arrival.place,
            result,
            attempts: 0,
            cached: false,
            worker: None,
            queued: Duration::ZERO,
            duration: Duration::ZERO,
            nameless: false,
        }
    }
}

/// What an attempt came to.
struct Attempted {
    result: Result<Payload, Box<Failure>>,
    worker: Option<WorkerName>,
    ran: Duration,
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
            } => {
                let attempted = Attempted {
                    result,
                    worker,
                    ran,
                };
                self.attempt_ended(ticket, attempted, next);
            }
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
            Report::Introduced { kind, tasks } => {
                self.kinds.introduced(kind, tasks);
                self.resolve_again();
            }
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

    /// The scheduler lets a job start.
    pub(super) fn start(&mut self, ticket: Ticket) {
        let now = self.now;
        let Some(Some(entry)) = self.entries.get_mut(ticket.index()) else {
            return; // Every ticket has its entry until its end.
        };
        let staff = &mut self.staff[usize::from(entry.kind.0)];
        let name = self.kinds.name(entry.kind);
        let verdict = self.breakers.admit(&entry.job, entry.kind, name, now);
        match verdict {
            Verdict::Free => {}
            Verdict::Admitted(admission) => entry.admission = Some(admission),
            Verdict::Rejected { until } => {
                entry.rejected = true;
                let kind = entry.kind;
                if let Err(error) = self.scheduler.retry(ticket, until) {
                    tracing::error!(%error, "the scheduler does not know a job that it has started");
                }
                self.count_workers(kind);
                return;
            }
        }
        staff.waiting -= 1;
        staff.running += 1;
        entry.start(now);
        if let Some(when) = entry.patience.take() {
            self.patience.remove(&(when, ticket));
        }
        let assignment = Assignment {
            ticket,
            job: Arc::clone(&entry.job),
            number: entry.attempts,
            kind: entry.kind,
            ahead: false,
            edition: staff.edition,
        };
        let is_here = staff.places.is_none();
        self.router.start(assignment);
        if is_here {
            self.tell_start(ticket, None);
        }
    }

    fn tell_start(&self, ticket: Ticket, worker: Option<WorkerName>) {
        if let Some(entry) = self.entry(ticket) {
            self.tell(|| Event::AttemptStarted {
                id: entry.job.id.clone(),
                attempt: entry.attempts,
                worker,
            });
        }
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
            self.breakers.record(admission, failure, now);
        }
        let end = match &mut attempted.result {
            Ok(_) => End::Succeeded,
            Err(failure) => self.judge(ticket, failure),
        };
        self.give_back(ticket, end, next, attempted.worker.as_ref());
        self.staff[usize::from(kind.0)].running -= 1;
        match end {
            End::Succeeded | End::Failed => self.end(ticket, attempted),
            End::Again(when) => {
                self.staff[usize::from(kind.0)].waiting += 1;
                self.tell_retry(ticket, &attempted, when);
                if let Some(entry) = self.entry_mut(ticket) {
                    entry.state = State::Waiting;
                    entry.since = now;
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

    /// One that was sent ahead has begun.
    fn begin(&mut self, ticket: Ticket) {
        let now = self.now;
        let Some(Some(entry)) = self.entries.get_mut(ticket.index()) else {
            return;
        };
        let staff = &mut self.staff[usize::from(entry.kind.0)];
        staff.ahead -= 1;
        staff.running += 1;
        entry.start(now);
        if let Some(when) = entry.patience.take() {
            self.patience.remove(&(when, ticket));
        }
    }

    /// What follows a failure. It is made another one if it was one too many.
    fn judge(&mut self, ticket: Ticket, failure: &mut Box<Failure>) -> End {
        let (now, crash_limit, goes_on) = (self.now, self.rules.crash_limit, self.is_running());
        let Some(Some(entry)) = self.entries.get_mut(ticket.index()) else {
            return End::Failed;
        };
        if matches!(failure.class, Class::Crash | Class::Memory) {
            entry.crashes += 1;
            if entry.crashes >= crash_limit && entry.job.terms.retry.is_some() {
                let message = format!(
                    "it took {} workers with it: {}",
                    entry.crashes, failure.message
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
        let (Some(policy), true) = (&entry.job.terms.retry, goes_on) else {
            return End::Failed;
        };
        let started = entry.first_start.unwrap_or(now);
        let history = entry.history.get_or_insert_with(|| History::new(started));
        match history.decide(&**policy, &**failure, now, &mut self.rng) {
            Decision::Retry { at } => End::Again(at),
            Decision::GiveUp { .. } => End::Failed,
        }
    }

    fn tell_retry(&self, ticket: Ticket, attempted: &Attempted, when: Instant) {
        let (Some(entry), Err(failure)) = (self.entry(ticket), &attempted.result) else {
            return;
        };
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

    /// A job ends with what its attempt came to.
    fn end(&mut self, ticket: Ticket, attempted: Attempted) {
        let Some(entry) = self.forget(ticket) else {
            return;
        };
        let Attempted {
            result,
            worker,
            ran,
        } = attempted;
        // Without a result the right passes to whoever waits for it.
        if let (Some(share), Ok(payload)) = (entry.share, &result) {
            self.reuse.store(*share, payload);
        }
        self.conclude(Done {
            job: entry.job,
            place: entry.place,
            result,
            attempts: entry.attempts,
            cached: false,
            worker,
            queued: entry.queued,
            duration: ran,
            nameless: false,
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

    /// A job that waits has its end.
    pub(super) fn end_waiting(&mut self, ticket: Ticket, failure: Failure) {
        if let Err(error) = self.scheduler.cancel(ticket) {
            tracing::error!(%error, "the scheduler does not know a job that waits");
        }
        let now = self.now;
        let Some(entry) = self.forget(ticket) else {
            return;
        };
        self.staff[usize::from(entry.kind.0)].waiting -= 1;
        self.conclude(Done {
            job: entry.job,
            place: entry.place,
            result: Err(Box::new(failure)),
            attempts: entry.attempts,
            cached: false,
            worker: None,
            queued: entry.queued + now.saturating_duration_since(entry.since),
            duration: Duration::ZERO,
            nameless: false,
        });
    }

    pub(super) fn forget(&mut self, ticket: Ticket) -> Option<Entry> {
        let entry = self.entries.get_mut(ticket.index())?.take()?;
        if let Some(when) = entry.patience {
            self.patience.remove(&(when, ticket));
        }
        self.breakers.left(&entry.job, self.now);
        Some(entry)
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

    /// Every job comes here once: its outcome is made, counted, told, and sent on its way.
    pub(super) fn conclude(&mut self, done: Done) {
        let Done {
            job,
            place,
            result,
            attempts,
            cached,
            worker,
            queued,
            duration,
            nameless,
        } = done;
        if let (Some(names), false) = (&mut self.names, nameless) {
            names.remove(&job.id);
        }
        self.living -= 1;
        let task = match &job.work {
            Work::Task { task, .. } | Work::Refused { task, .. } => task.clone(),
            Work::Closure(_) => self.closure.clone(),
            Work::Command(_) | Work::Ended(_) => job.task_name().into(),
        };
        let outcome = Arc::new(Outcome {
            id: job.id.clone(),
            task,
            host: job.host.clone(),
            result,
            attempts,
            cached,
            worker,
            queued,
            duration,
        });
        self.tally.count(outcome.status());
        if !nameless {
            self.tell_dependents(&job.id, outcome.is_success());
        }
        if self.recording.is_wanted() {
            self.recording.push(job, place, outcome);
        } else {
            self.leave(place, outcome);
        }
    }

    /// A job that had ended before it came counts and is needed like any other.
    pub(super) fn pass_on(&mut self, arrival: &Arrival, outcome: Arc<Outcome>) {
        let id = &arrival.job.id;
        if let Some(names) = &mut self.names {
            names.remove(id);
        }
        self.living -= 1;
        self.tally.count(outcome.status());
        self.tell_dependents(id, outcome.is_success());
        self.leave(arrival.place, outcome);
    }

    fn tell_dependents(&mut self, id: &JobKey, well: bool) {
        if self.needs.cares(id, well) {
            self.ended.push_back((id.clone(), well));
        }
    }

    /// An outcome is final, and may be heard of.
    pub(super) fn leave(&mut self, place: u64, outcome: Arc<Outcome>) {
        self.tell(|| Event::JobEnded {
            outcome: Arc::clone(&outcome),
        });
        self.outgoing.push(place, outcome);
    }

    /// Jobs that needed one that has ended can go on, or cannot.
    pub(super) fn release_dependents(&mut self) {
        while let Some((id, well)) = self.ended.pop_front() {
            for standing in self.needs.ended(&id, well) {
                self.stand(standing);
            }
        }
    }

    /// What the ledger has taken note of may be heard of.
    pub(super) fn recorded(&mut self) {
        while let Some((place, outcome)) = self.recording.pop() {
            self.leave(place, outcome);
        }
        if let Some(reason) = self.recording.failure() {
            self.stop(Phase::Cancelling, Stopped::Ledger { reason });
        }
    }
}

impl Entry {
    /// It has begun.
    fn start(&mut self, now: Instant) {
        self.state = State::Running;
        self.queued += now.saturating_duration_since(self.since);
        self.since = now;
        self.first_start.get_or_insert(now);
        self.attempts += 1;
    }
}
