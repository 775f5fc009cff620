//! The jobs of a run from the queue to the end of their last attempt.

use std::sync::Arc;
use std::time::Instant;

use ratchet_ipc::JobKey;

use super::arrival::Arrival;
use super::cancelled::CancelReason;
use super::dispatcher::{Dispatcher, Settled, emit_retry};
use super::ended_attempt::EndedAttempt;
use super::entry::{EntryState, JobEntry};
use super::kinds::Kinds;
use super::observers::Turn;
use super::provisional::{Provisional, Suspects};
use super::queue::Queue;
use super::retries::Retries;
use super::steering::JobOutput;
use crate::Error;
use crate::dispatch::StopRequest;
use crate::ids::KindId;
use crate::ids::{Ticket, WorkerName};
use crate::job::Job;
use crate::outcome::{AttemptDetail, AttemptEnd, Class, Failure};
use crate::scheduling::{AfterAttempt, ParallelizationHint};

/// What the end or the return of an attempt means for its job.
#[expect(
    clippy::large_enum_variant,
    reason = "it is matched at once, and a box would cost an allocation for each job"
)]
pub(super) enum Consequence {
    /// The job has left the queue and ends.
    Ends(JobEntry, EndedAttempt),
    /// The job waits in the queue again as if it had not started. It has to end if no job starts any more.
    WaitsAgain,
    /// Nothing has to be done: the job is tried again, its result is held, or it has its outcome already.
    Nothing,
}

/// Owns the queue with its dispatcher, the decision on retries, and the results that are held until they are confirmed.
///
/// A job leaves by the methods that return its [`JobEntry`]. The caller of such a method has to give the job its
/// outcome.
pub(super) struct Execution {
    dispatcher: Dispatcher,
    retries: Retries,
    provisional: Provisional,
}

impl Execution {
    /// Makes the execution of a run. No result is held yet.
    pub(super) fn new(dispatcher: Dispatcher, retries: Retries) -> Self {
        Self {
            dispatcher,
            retries,
            provisional: Provisional::default(),
        }
    }

    /// Returns the dispatcher for reading.
    pub(super) fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    /// Returns the dispatcher, for changes that concern neither retries nor held results.
    pub(super) fn dispatcher_mut(&mut self) -> &mut Dispatcher {
        &mut self.dispatcher
    }

    /// Returns the queue, which holds the jobs that wait, were sent ahead or run.
    pub(super) fn queue(&self) -> &Queue {
        self.dispatcher.queue()
    }

    /// Returns how many jobs are queued or have a held result.
    pub(super) fn queued_or_held(&self) -> usize {
        self.queue().len() + self.provisional.held_count()
    }

    /// Returns how many retries were not made because the retry budget was used up.
    pub(super) fn retries_refused(&self) -> u64 {
        self.retries.refused()
    }

    // What is due by the clock.

    /// Returns the next moment at which something is due here. Starts are left out unless the run `is_running`, and
    /// recalls unless it `may_start` jobs.
    pub(super) fn next_timer(&self, is_running: bool, may_start: bool) -> Option<Instant> {
        let may_recall = may_start && self.dispatcher.has_free_slots();
        [
            self.dispatcher.wake().filter(|_| is_running),
            self.dispatcher.next_deadline(),
            self.dispatcher.next_slow(),
            self.dispatcher.recall_at().filter(|_| may_recall),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    // Attempts begin and end.

    /// Starts all jobs that may start. Returns the jobs that end because a breaker has rejected them.
    pub(super) fn start_jobs(
        &mut self,
        most_begun: Option<u64>,
        turn: Turn<'_>,
    ) -> Vec<(JobEntry, Failure)> {
        let rejected = self.dispatcher.start_jobs(most_begun, turn);
        let end = |ticket| {
            let (dispatcher, retries) = (&mut self.dispatcher, &mut self.retries);
            let failure = dispatcher.rejected(ticket, retries, turn.now)?;
            Some((dispatcher.cancel(ticket, turn.now), failure))
        };
        rejected.into_iter().filter_map(end).collect()
    }

    /// Settles the end of an attempt. `next` is the attempt that was sent ahead and has begun in its place.
    pub(super) fn attempt_ended(
        &mut self,
        ticket: Ticket,
        attempted: EndedAttempt,
        next: Option<Ticket>,
        turn: Turn<'_>,
    ) -> Consequence {
        let (dispatcher, retries) = (&mut self.dispatcher, &mut self.retries);
        match dispatcher.ended(ticket, attempted, next, retries, turn) {
            Settled::Ended(entry, attempted) => Consequence::Ends(entry, attempted),
            Settled::Provisional(mut entry, attempted) => {
                entry.since = turn.now;
                self.provisional.hold(entry, attempted);
                Consequence::Nothing
            }
            Settled::Returned => Consequence::WaitsAgain,
            Settled::Again | Settled::Unknown => Consequence::Nothing,
        }
    }

    /// Takes back an attempt that never began, as [`Dispatcher::returned`] does.
    pub(super) fn attempt_returned(
        &mut self,
        ticket: Ticket,
        next: Option<Ticket>,
        withdrawn: bool,
        turn: Turn<'_>,
    ) -> Consequence {
        if self.dispatcher.returned(ticket, next, withdrawn, turn) {
            Consequence::WaitsAgain
        } else {
            Consequence::Nothing
        }
    }

    /// Ends a job whose result is confirmed. If the result is `in_doubt`, it may still prove wrong.
    pub(super) fn confirmed(
        &mut self,
        ticket: Ticket,
        in_doubt: bool,
        now: Instant,
    ) -> Consequence {
        let Some((mut entry, attempted)) = self.provisional.confirm(ticket, in_doubt) else {
            return Consequence::Nothing; // It was given up and has its outcome already.
        };
        entry.charge_hold(now);
        Consequence::Ends(entry, attempted)
    }

    /// Decides what follows for a job whose held result proved to be the answer to something else.
    pub(super) fn refuted(
        &mut self,
        ticket: Ticket,
        mut failure: Box<Failure>,
        kinds: &Kinds,
        turn: Turn<'_>,
    ) -> Consequence {
        let Some((mut entry, attempted)) = self.provisional.refute(ticket) else {
            return Consequence::Nothing; // It was given up and has its outcome already.
        };
        entry.charge_hold(turn.now);
        if let Some(reason) = &entry.cancelled {
            *failure = reason.while_running(*failure);
        }
        match self.retries.decide(&mut entry, &mut failure, turn.now) {
            AfterAttempt::Over => {
                let result = Err(failure);
                let attempted = EndedAttempt {
                    result,
                    ..attempted
                };
                Consequence::Ends(entry, attempted)
            }
            AfterAttempt::Again(when) => {
                emit_retry(&entry, &failure, when, turn);
                let end = AttemptEnd::Failed(failure.class);
                let detail = attempted.detail(entry.attempts, end, turn.observers.wall());
                entry.times.push(AttemptDetail {
                    failure: Some(failure.clone()),
                    ..detail
                });
                entry.failure = Some(failure);
                entry.since = turn.now;
                // The pools of its kind may have broken since it has left the queue.
                let refused = match kinds.check(&entry.job) {
                    Ok(()) => self.dispatcher.requeue(entry, kinds, when, turn.now),
                    Err(refusal) => Err((Box::new(entry), refusal)),
                };
                match refused {
                    Ok(()) => Consequence::Nothing,
                    Err((entry, refusal)) => {
                        let (entry, failure) = ends_with_last_failure(*entry, refusal);
                        Consequence::Ends(entry, EndedAttempt::none(Err(failure)))
                    }
                }
            }
        }
    }

    /// Records that no result of this worker is in doubt any more.
    pub(super) fn cleared(&mut self, worker: &WorkerName) {
        self.provisional.cleared(worker);
    }

    /// Takes the results of this worker that are in doubt, because they may be the answers to other jobs.
    pub(super) fn take_suspects(&mut self, worker: &WorkerName) -> Option<Suspects> {
        self.provisional.take_suspects(worker)
    }

    // Workers come and go.

    /// Returns the jobs of a kind that were given to its workers and that no hint binds. It returns nothing if the
    /// workers of the kind have already declared their hints.
    pub(super) fn unbound(&self, kind: KindId, kinds: &Kinds) -> Vec<Ticket> {
        if !kinds.is_guessed(kind) {
            return Vec::new();
        }
        let is_unbound = |entry: &JobEntry| {
            entry.kind == kind && !entry.is_at_start() && is_unbound(entry, kinds)
        };
        self.queue().tickets(is_unbound)
    }

    /// Counts those of the jobs that a hint now binds.
    pub(super) fn count_bound(&self, tickets: &[Ticket], kinds: &Kinds) -> usize {
        let is_bound = |ticket: &&Ticket| {
            let entry = self.queue().find(**ticket);
            entry.is_some_and(|entry| !is_unbound(entry, kinds))
        };
        tickets.iter().filter(is_bound).count()
    }

    /// Removes from the queue the jobs of a kind that were never given to a worker, and returns them in the order in
    /// which they came. They can then be resolved again.
    pub(super) fn take_untried(&mut self, kind: KindId, now: Instant) -> Vec<Arrival> {
        let queue = self.dispatcher.queue();
        let mut waiting = queue.tickets(|entry| entry.kind == kind && entry.is_at_start());
        waiting.sort_unstable_by_key(|ticket| queue.get(*ticket).position);
        let paused = queue.time_paused();
        let taken = waiting.into_iter().map(|ticket| {
            let mut entry = self.dispatcher.cancel(ticket, now);
            entry.times.skip_to(now, paused);
            entry.into_arrival()
        });
        taken.collect()
    }

    /// Removes all waiting jobs of a kind from the queue, and returns them.
    pub(super) fn cancel_waiting_for(&mut self, kind: KindId, now: Instant) -> Vec<JobEntry> {
        self.cancel_all(
            |entry| entry.kind == kind && entry.state().is_waiting(),
            now,
        )
    }

    /// Removes and returns the waiting jobs for which the condition holds.
    fn cancel_all(&mut self, is_wanted: impl Fn(&JobEntry) -> bool, now: Instant) -> Vec<JobEntry> {
        let tickets = self.queue().tickets(is_wanted).into_iter();
        tickets
            .map(|ticket| self.dispatcher.cancel(ticket, now))
            .collect()
    }

    // Single jobs are cancelled.

    /// Cancels the queued jobs for which the condition holds. A running job is asked to `stop`, or killed if it was
    /// cancelled before. Returns the jobs that waited, and the ids of those whose attempts have yet to end.
    pub(super) fn cancel_wanted(
        &mut self,
        is_wanted: impl Fn(&Job) -> bool,
        reason: &Arc<CancelReason>,
        stop: StopRequest,
        now: Instant,
    ) -> (Vec<JobEntry>, Vec<JobKey>) {
        let mut ended = Vec::new();
        let mut asked = Vec::new();
        for ticket in self.queue().tickets(|entry| is_wanted(&entry.job)) {
            let entry = self.queue().get(ticket);
            if entry.state().is_waiting() {
                ended.push(self.dispatcher.cancel(ticket, now));
            } else {
                asked.push(entry.job.id.clone());
                self.dispatcher.cancel_started(ticket, stop, reason);
            }
        }
        let is_held = |entry: &JobEntry| is_wanted(&entry.job);
        self.provisional
            .cancel_held(is_held, reason, |entry| asked.push(entry.job.id.clone()));
        (ended, asked)
    }

    /// Returns why a queued job was cancelled, if it was.
    pub(super) fn cancelled(&self, ticket: Ticket) -> Option<&CancelReason> {
        self.queue().find(ticket)?.cancelled.as_deref()
    }

    /// Returns what a running job has printed so far.
    pub(super) fn output(&self, id: &JobKey) -> Option<JobOutput> {
        let mut entries = self.queue().entries();
        let entry =
            entries.find(|entry| entry.state() == EntryState::Running && entry.job.id == *id)?;
        let printed = self.dispatcher.output_here(entry.ticket);
        Some(JobOutput::new(
            entry.attempts,
            printed,
            entry.messages.as_deref(),
        ))
    }

    /// Changes the number of slots of the local place, as [`Capacity::set_slots`](super::capacity::Capacity::set_slots) does.
    pub(super) fn set_slots<'a>(
        &'a mut self,
        slots: u32,
        unqueued: impl Iterator<Item = &'a Job>,
        kinds: &Kinds,
        now: Instant,
    ) -> Result<(), Error> {
        // The jobs whose results are held may yet be tried again.
        let held = self.provisional.held_jobs();
        let unqueued = unqueued.chain(held.map(|entry| &*entry.job));
        self.dispatcher
            .capacity()
            .set_slots(slots, unqueued, kinds, now)
    }

    /// Iterates over the ids of all jobs that are queued or whose results are held.
    pub(super) fn ids(&self) -> impl Iterator<Item = &JobKey> {
        let queued = self.queue().entries();
        let all = queued.chain(self.provisional.held_jobs());
        all.map(|entry| &entry.job.id)
    }

    // The run stops.

    /// Ends retries: from now on, a failed attempt ends its job.
    pub(super) fn end_retries(&mut self) {
        self.retries.end();
    }

    /// Removes all waiting jobs, and returns each with the failure of its last attempt, or with `refusal` if it had
    /// none.
    pub(super) fn cancel_all_waiting(
        &mut self,
        refusal: &Failure,
        now: Instant,
    ) -> Vec<(JobEntry, Box<Failure>)> {
        let waiting = self.cancel_all(|entry| entry.state().is_waiting(), now);
        let ends = |entry| ends_with_last_failure(entry, refusal.clone());
        waiting.into_iter().map(ends).collect()
    }

    /// Removes all jobs in any state, because the run does not wait for them any longer.
    pub(super) fn give_up(&mut self, now: Instant) -> Vec<(JobEntry, EndedAttempt)> {
        let held = self.provisional.give_up_held().map(|(mut entry, held)| {
            entry.charge_hold(now);
            let message = "it had answered, but the answer was not confirmed before the run ended";
            let result = Err(Box::new(Failure::new(Class::Cancelled, message)));
            (entry, EndedAttempt { result, ..held })
        });
        let mut given_up: Vec<_> = held.collect();
        for ticket in self.queue().tickets(|_| true) {
            let slot = self.dispatcher.slot(ticket);
            let place = self.dispatcher.place_of(ticket);
            let mut entry = self.dispatcher.give_up(ticket, now);
            let message = "it was killed, but had not ended when the run ended";
            let failure = Box::new(Failure::new(Class::Cancelled, message));
            let mut attempted = EndedAttempt::none(Err(failure));
            if entry.state() == EntryState::Running {
                attempted.ran = entry.in_state_for(now);
                attempted.began = Some(entry.since);
                attempted.slot = slot;
                attempted.place = place;
                entry.times.first_began.get_or_insert(entry.since);
            }
            given_up.push((entry, attempted));
        }
        given_up
    }
}

/// Ends a job with the failure of its last attempt, because that says more than the reason why it is not tried again.
fn ends_with_last_failure(mut entry: JobEntry, refusal: Failure) -> (JobEntry, Box<Failure>) {
    let last = entry.failure.take();
    (entry, last.unwrap_or_else(|| Box::new(refusal)))
}

/// Whether no hint binds a job, as far as its worker has said.
fn is_unbound(entry: &JobEntry, kinds: &Kinds) -> bool {
    let hint = kinds.hint(&entry.job);
    hint.is_ok_and(|hint| *hint == ParallelizationHint::FullyParallel)
}
