//! How jobs end: each comes here once, with its outcome.

use std::sync::Arc;
use std::time::Duration;

use ratchet_ipc::{JobKey, Payload};
use ratchet_resilience::shutdown::Phase;

use super::orchestrator::{Arrival, Entry, Orchestrator, expect_known};
use super::recording::Leaving;
use super::settle::Attempted;
use super::stop::Stopped;
use crate::event::Event;
use crate::ids::Ticket;
use crate::ids::WorkerName;
use crate::job::{Job, Work};
use crate::outcome::{Failure, Outcome};

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

impl Orchestrator {
    /// A job ends with what its attempt came to.
    pub(super) fn end(&mut self, ticket: Ticket, attempted: Attempted) {
        if let Some(entry) = self.forget(ticket) {
            self.end_with(entry, attempted);
        }
    }

    /// A job that is forgotten already ends with what its attempt came to.
    pub(super) fn end_with(&mut self, entry: Entry, attempted: Attempted) {
        let Attempted {
            result,
            worker,
            ran,
            ..
        } = attempted;
        // Without a result the right passes to whoever waits for it.
        if let (Some(share), Ok(payload)) = (entry.share, &result) {
            self.reuse.store(*share, payload, worker.clone());
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

    /// A job that waits has its end.
    pub(super) fn end_waiting(&mut self, ticket: Ticket, failure: Failure) {
        expect_known(self.scheduler.cancel(ticket));
        let now = self.now;
        let Some(entry) = self.forget(ticket) else {
            return;
        };
        self.counts[usize::from(entry.kind.0)].waiting -= 1;
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
        debug_assert!(
            self.uncertain != Some(ticket),
            "a job that ends has begun by then"
        );
        if let Some(when) = entry.patience {
            self.patience.remove(&(when, ticket));
        }
        self.breakers.left(&entry.job, self.now);
        Some(entry)
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
        self.living -= 1;
        self.weight -= job.weight();
        let task = match &job.work {
            Work::Task { task, .. } | Work::Refused { task, .. } => task.clone(),
            Work::Closure(_) => self.closure.clone(),
            Work::Command(_) | Work::Ended(_) => job.task_name().into(),
        };
        let outcome = Arc::new(Outcome {
            id: job.id.clone(),
            item: job.item.as_ref().map(|item| item.name.clone()),
            task,
            host: job.host.clone(),
            result,
            attempts,
            cached,
            worker,
            queued,
            duration,
        });
        self.weight_out += outcome.weight();
        self.tally.count(outcome.status());
        let leaving = Leaving {
            place,
            outcome,
            nameless,
        };
        if self.recording.is_wanted() {
            let awaited = self.needs.awaits(&job.id);
            self.recording.push(job, leaving, awaited);
        } else {
            self.leave(leaving);
        }
    }

    /// A job that had ended before it came counts and is needed like any other.
    pub(super) fn pass_on(&mut self, arrival: &Arrival, outcome: Arc<Outcome>) {
        self.living -= 1;
        self.weight_out += outcome.weight();
        self.tally.count(outcome.status());
        self.leave(Leaving {
            place: arrival.place,
            outcome,
            nameless: false,
        });
    }

    /// An outcome is final: it may be heard of, and who needed it may go on. Not before it is recorded, or a run that is
    /// taken up again would do a job once more upon which others have built already.
    fn leave(&mut self, leaving: Leaving) {
        let Leaving {
            place,
            outcome,
            nameless,
        } = leaving;
        if !nameless {
            self.let_go(&outcome.id, outcome.is_success());
        }
        self.tell(|| Event::JobEnded {
            outcome: Arc::clone(&outcome),
        });
        self.outgoing.push(place, outcome);
    }

    fn let_go(&mut self, id: &JobKey, well: bool) {
        if let Some(names) = &mut self.names {
            names.remove(id);
        }
        if self.needs.cares(id, well) {
            self.ended.push_back((id.clone(), well));
        }
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
        while let Some(leaving) = self.recording.pop() {
            self.leave(leaving);
        }
        if let Some(reason) = self.recording.failure() {
            self.stop(Phase::Cancelling, Stopped::Ledger { reason });
        }
    }
}
