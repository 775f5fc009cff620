//! How jobs come in: from their source, past their needs and the cache, into the queue.

use std::sync::Arc;
use std::time::Duration;

use ratchet_ipc::{HostName, JobKey};
use ratchet_resilience::shutdown::Phase;

use super::conclude::Done;
use super::kinds::Resolved;
use super::needs;
use super::orchestrator::{Arrival, Entry, Orchestrator, State};
use super::reuse::{Consulted, Found, Share};
use super::source::Pulled;
use super::stop::Stopped;
use crate::Error;
use crate::event::Event;
use crate::ids::Ticket;
use crate::job::{Job, Work};
use crate::outcome::{Class, Failure};
use crate::scheduling::{Kind, ParallelizationHint, Request};

/// How many jobs are taken in before reports are looked at again.
const BATCH: usize = 256;

impl Orchestrator {
    /// Pulls jobs as far as there is room, but no more than a batch.
    pub(super) fn take_in(&mut self) {
        for _ in 0..BATCH {
            // Those that were handed over have their outcomes, even if nothing is done any more.
            if self.is_running() && !self.has_room() {
                return;
            }
            match self.source.pull() {
                Pulled::Job { place, job } => self.take(place, job),
                Pulled::Nothing | Pulled::Dry => return,
                Pulled::Panicked(reason) => {
                    return self.stop(Phase::Draining, Stopped::Source { reason });
                }
            }
        }
    }

    /// A job has come.
    pub(super) fn take(&mut self, place: Option<u64>, job: Arc<Job>) {
        let arrival = Arrival {
            job,
            place: place.unwrap_or(self.taken),
            since: self.now,
        };
        self.taken += 1;
        self.living += 1;
        self.weight += arrival.job.weight();
        self.tell(|| Event::JobQueued {
            id: arrival.job.id.clone(),
            task: arrival.job.task_name().into(),
        });
        let id = &arrival.job.id;
        if id.as_str().is_empty() {
            return self.refuse_nameless(&arrival, &Error::NoName);
        }
        let names = self.names.as_mut();
        if self.needs.remembers(id) || !names.is_none_or(|names| names.insert(id.clone())) {
            let id = id.to_string();
            return self.refuse_nameless(&arrival, &Error::DuplicateJob { id });
        }
        self.needs.arrived(id);
        let names = self.names.as_ref();
        let lives = |id: &JobKey| names.is_some_and(|names| names.contains(id));
        let standing = self.needs.admit(arrival, lives);
        self.stand(standing);
    }

    /// Goes on with a job as its needs allow.
    pub(super) fn stand(&mut self, standing: needs::Standing) {
        match standing {
            needs::Standing::Clear(arrival) => self.proceed(arrival),
            needs::Standing::Waits => {}
            needs::Standing::Lost(arrival, need) => {
                let message = format!("it needs `{need}`, which did not succeed");
                self.refuse(&arrival, Failure::new(Class::Need, message));
            }
            needs::Standing::Unknown(arrival, need) => {
                let message = format!(
                    "it needs `{need}`, which has not come before it: give the jobs as a list, or let the executor remember"
                );
                self.refuse(&arrival, Failure::new(Class::Input, message));
            }
        }
    }

    /// A job that needs nobody any more.
    pub(super) fn proceed(&mut self, arrival: Arrival) {
        if let Work::Ended(outcome) = &arrival.job.work {
            let outcome = Arc::clone(outcome);
            return self.pass_on(&arrival, outcome);
        }
        if let Some(failure) = self.end_of_the_waiting() {
            return self.refuse(&arrival, failure);
        }
        match self.kinds.resolve(&arrival.job) {
            Resolved::Later => self.unresolved.push_back(arrival),
            Resolved::Refused(failure) => self.refuse(&arrival, failure),
            Resolved::Known { kind, cacheable } => {
                let doer = self.kinds.doer(kind);
                match self.reuse.wants(&arrival.job, cacheable, doer) {
                    Err(failure) => self.refuse(&arrival, failure),
                    Ok(Some(question)) => self.reuse.consult(arrival, kind, question),
                    Ok(None) => self.queue(arrival, kind, None),
                }
            }
        }
    }

    /// A kind has introduced itself or is given up: some of those that waited for that can go on.
    pub(super) fn resolve_again(&mut self) {
        for arrival in std::mem::take(&mut self.unresolved) {
            self.proceed(arrival);
        }
    }

    /// The cache has answered.
    pub(super) fn consulted(&mut self, consulted: Consulted) {
        let Consulted {
            arrival,
            kind,
            found,
        } = consulted;
        match found {
            Found::Result(payload) => {
                let queued = self.now.saturating_duration_since(arrival.since);
                self.conclude(Done {
                    cached: true,
                    queued,
                    ..Done::of(&arrival, Ok(payload))
                });
            }
            Found::Share(share) => self.queue(arrival, kind, Some(share)),
            Found::Nothing => self.queue(arrival, kind, None),
            Found::Refused(failure) => self.refuse(&arrival, failure),
        }
    }

    fn queue(&mut self, arrival: Arrival, kind: Kind, share: Option<Box<Share>>) {
        if let Some(failure) = self.end_of_the_waiting() {
            return self.refuse(&arrival, failure);
        }
        match self.push(&arrival, kind) {
            Ok((ticket, is_rated)) => self.enter(ticket, arrival, kind, is_rated, share),
            Err(failure) => self.refuse(&arrival, failure),
        }
    }

    pub(super) fn push(
        &mut self,
        arrival: &Arrival,
        kind: Kind,
    ) -> Result<(Ticket, bool), Failure> {
        let (job, terms) = (&arrival.job, &arrival.job.terms);
        let wrong = |error: Error| Failure::new(Class::Input, error.to_string());
        self.limits.clear();
        for name in &terms.limits {
            self.limits.push(self.scheduler.limit(name).map_err(wrong)?);
        }
        let hint = self.kinds.hint(job)?;
        let task = match &job.work {
            Work::Task { task, .. } => task.as_str(),
            Work::Command(_) | Work::Closure(_) | Work::Refused { .. } | Work::Ended(_) => {
                job.task_name()
            }
        };
        let names_rate = self.limits.iter().any(|id| self.scheduler.is_rate(*id));
        let is_rated = names_rate || matches!(hint, ParallelizationHint::RateLimited { .. });
        let kind = if is_rated { self.rated(kind) } else { kind };
        let request = Request {
            task,
            kind,
            priority: terms.priority,
            slots: terms.slots,
            hint,
            host: job.host.as_ref().map(HostName::as_str),
            limits: &self.limits,
            needs: &[],
        };
        let ticket = self.scheduler.push(request, self.now).map_err(wrong)?;
        Ok((ticket, is_rated))
    }

    fn enter(
        &mut self,
        ticket: Ticket,
        arrival: Arrival,
        kind: Kind,
        is_rated: bool,
        share: Option<Box<Share>>,
    ) {
        if is_rated && !self.has_rates {
            self.has_rates = true;
            self.count_all_workers();
        }
        let patience = arrival.job.terms.timeouts.queue;
        let patience = patience.and_then(|limit| arrival.since.checked_add(limit));
        if let Some(when) = patience {
            self.patience.insert((when, ticket));
        }
        let index = ticket.index();
        if self.entries.len() <= index {
            self.entries.resize_with(index + 1, || None);
        }
        self.breakers.arrived(&arrival.job);
        self.entries[index] = Some(Entry {
            ticket,
            job: arrival.job,
            place: arrival.place,
            kind,
            state: State::Waiting,
            seat: None,
            attempts: 0,
            crashes: 0,
            since: arrival.since,
            queued: Duration::ZERO,
            history: None,
            failure: None,
            first_start: None,
            patience,
            is_rated,
            rejected: false,
            admission: None,
            share,
        });
        self.counts[usize::from(kind.0)].waiting += 1;
    }

    /// A job that never gets to the queue.
    fn refuse(&mut self, arrival: &Arrival, failure: Failure) {
        let queued = self.now.saturating_duration_since(arrival.since);
        self.conclude(Done {
            queued,
            ..Done::of(arrival, Err(Box::new(failure)))
        });
    }

    /// A job whose name is none, or that of another.
    fn refuse_nameless(&mut self, arrival: &Arrival, error: &Error) {
        let failure = match &arrival.job.work {
            // Whoever refused it knows better what is wrong with it, and where it stands.
            Work::Refused { failure, .. } => (**failure).clone(),
            _ => Failure::new(Class::Input, error.to_string()),
        };
        self.conclude(Done {
            nameless: true,
            ..Done::of(arrival, Err(Box::new(failure)))
        });
    }
}
