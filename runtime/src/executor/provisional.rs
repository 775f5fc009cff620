//! Results that may yet prove wrong: answers of filters, whose lines carry no ids.
//!
//! ```text
//! Ended, provisional --> held --Confirmed--> outcome, in doubt until Cleared
//!                          \---Refuted----> failure: another attempt, or the end of the job
//!                                OutOfStep: what is in doubt is suspect
//! ```
//!
//! A job whose result is held has no slot and no ticket of the scheduler any more. A result that was delivered
//! cannot be withdrawn; if it proves wrong the run names it as suspect, and the journal takes note of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use ratchet_caching::Key;
use ratchet_ipc::JobKey;

use super::kinds::Resolved;
use super::orchestrator::{Arrival, Entry, Orchestrator, State};
use super::settle::Attempted;
use crate::event::Event;
use crate::ids::Ticket;
use crate::ids::WorkerName;
use crate::outcome::{Class, Failure};
use crate::scheduling::End;

/// Owns the jobs whose results are held, and knows which delivered results are in doubt.
#[derive(Default)]
pub(super) struct Provisional {
    held: HashMap<Ticket, (Entry, Attempted)>,
    /// What each worker has answered since its answers were last beyond doubt.
    in_doubt: HashMap<WorkerName, Vec<InDoubt>>,
    /// Jobs whose answer was refuted and that are tried again, by when and by their place.
    again: BTreeMap<(Instant, u64), Entry>,
}

/// A result that was delivered and may be wrong.
struct InDoubt {
    id: JobKey,
    /// Where it is cached.
    cached: Option<Box<Key>>,
}

impl Provisional {
    /// How many results are held.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// When the next job is tried again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again.first_key_value().map(|((when, _), _)| *when)
    }

    /// No result of this worker is in doubt any more.
    pub(super) fn cleared(&mut self, worker: &WorkerName) {
        self.in_doubt.remove(worker);
    }

    fn due(&mut self, now: Instant) -> Option<Entry> {
        let first = self.again.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

impl Orchestrator {
    /// An attempt has succeeded, if its result is confirmed.
    pub(super) fn hold(&mut self, ticket: Ticket, attempted: Attempted) {
        if let Some(entry) = self.forget(ticket) {
            self.provisional.held.insert(ticket, (entry, attempted));
        }
    }

    pub(super) fn confirmed(&mut self, ticket: Ticket, in_doubt: bool) {
        // One that was given up has its outcome already.
        let Some((entry, attempted)) = self.provisional.held.remove(&ticket) else {
            return;
        };
        if let Some(worker) = attempted.worker.as_ref().filter(|_| in_doubt) {
            let in_doubt = InDoubt {
                id: entry.job.id.clone(),
                cached: entry.share.as_ref().map(|share| Box::new(share.key())),
            };
            let list = self.provisional.in_doubt.entry(worker.clone());
            list.or_default().push(in_doubt);
        }
        self.end_with(entry, attempted);
    }

    pub(super) fn refuted(&mut self, ticket: Ticket, mut failure: Box<Failure>) {
        let Some((mut entry, attempted)) = self.provisional.held.remove(&ticket) else {
            return;
        };
        let (now, goes_on) = (self.now, self.is_running());
        let crash_limit = self.rules.crash_limit;
        match entry.judge(&mut failure, crash_limit, goes_on, now, &mut self.rng) {
            End::Succeeded | End::Failed => {
                let result = Err(failure);
                self.end_with(
                    entry,
                    Attempted {
                        result,
                        ..attempted
                    },
                );
            }
            End::Again(when) => {
                self.tell_retry(&entry, &failure, when);
                entry.failure = Some(failure);
                entry.since = now;
                self.provisional.again.insert((when, entry.place), entry);
            }
        }
    }

    /// What this worker has answered since it was last beyond doubt may be the answers to other jobs.
    pub(super) fn out_of_step(&mut self, worker: &WorkerName, reason: String) {
        let Some(in_doubt) = self.provisional.in_doubt.remove(worker) else {
            return;
        };
        self.reuse.withdraw(
            in_doubt
                .iter()
                .filter_map(|one| one.cached.as_deref().copied())
                .collect(),
        );
        let ids: Vec<JobKey> = in_doubt.into_iter().map(|one| one.id).collect();
        self.gauges
            .set(|status| status.suspects.extend(ids.iter().cloned()));
        self.recording.suspect(&ids);
        let worker = worker.clone();
        self.tell(|| Event::JobsSuspect {
            ids,
            worker,
            reason,
        });
    }

    /// Jobs whose answers were refuted go into the queue again when their time has come.
    pub(super) fn try_refuted_again(&mut self) {
        while let Some(entry) = self.provisional.due(self.now) {
            self.enter_again(entry);
        }
    }

    fn enter_again(&mut self, mut entry: Entry) {
        let arrival = Arrival {
            job: Arc::clone(&entry.job),
            place: entry.place,
            since: self.now,
        };
        if let Resolved::Refused(failure) = self.kinds.resolve(&entry.job) {
            return self.end_refuted(entry, failure);
        }
        let (ticket, is_rated) = match self.push(&arrival, entry.kind) {
            Ok(pushed) => pushed,
            Err(failure) => return self.end_refuted(entry, failure),
        };
        let index = ticket.index();
        if self.entries.len() <= index {
            self.entries.resize_with(index + 1, || None);
        }
        self.breakers.arrived(&entry.job);
        self.counts[usize::from(entry.kind.0)].waiting += 1;
        entry.ticket = ticket;
        entry.is_rated = is_rated;
        entry.seat = None;
        entry.state = State::Waiting;
        entry.patience = None;
        self.entries[index] = Some(entry);
    }

    /// A job that was to be tried again ends without that.
    fn end_refuted(&mut self, mut entry: Entry, failure: Failure) {
        // What it came to last says more than why it is not tried again.
        let failure = entry.failure.take().unwrap_or_else(|| Box::new(failure));
        let attempted = Attempted {
            result: Err(failure),
            worker: None,
            ran: std::time::Duration::ZERO,
            provisional: false,
        };
        self.end_with(entry, attempted);
    }

    /// The run stops, so nothing is tried again.
    pub(super) fn end_all_refuted(&mut self, failure: &Failure) {
        while let Some((_, entry)) = self.provisional.again.pop_first() {
            self.end_refuted(entry, failure.clone());
        }
    }

    /// The run does not wait any longer for results to be confirmed.
    pub(super) fn give_up_held(&mut self) {
        for (_, (entry, attempted)) in std::mem::take(&mut self.provisional.held) {
            let message =
                "it had answered, and nothing could confirm its answer before the run ended";
            let result = Err(Box::new(Failure::new(Class::Cancelled, message)));
            self.end_with(
                entry,
                Attempted {
                    result,
                    ..attempted
                },
            );
        }
    }
}
