//! The dispatcher starts attempts, sends some ahead of their turn, and settles what follows when they end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_ipc::Payload;

use super::acquisition_trace::{AcquisitionTrace, trace_acquisition};
use super::arrival::{Arrival, Refused};
use super::attempt_messages::AttemptMessages;
use super::breakers::Breakers;
use super::cancelled::CancelReason;
use super::capacity::Capacity;
use super::control::RunControl;
use super::demand::PoolDemand;
use super::ended_attempt::EndedAttempt;
use super::entry::{EntryState, JobEntry};
use super::kinds::Kinds;
use super::observers::Turn;
use super::queue::Queue;
use super::retries::Retries;
use super::reuse::{CacheKey, ParkedAnswer};
use super::seated_queue::{SeatedQueue, Started};
use super::slow::SlowWatch;
use super::snapshot::SnapshotInput;
use crate::breaker::BreakerReport;
use crate::context::AttemptOutput;
use crate::dispatch::StopRequest;
use crate::event::RunEvent;
use crate::ids::KindId;
use crate::ids::{PlaceName, SlotNumber, Ticket, WorkerName};
use crate::outcome::{AttemptEnd, Class, Failure};
use crate::scheduling::{AcquisitionChange, AfterAttempt, Decision, SchedulerLoad};

/// What follows the end of an attempt. The variants hold their job without a box, which saves an allocation for each
/// job.
pub(super) enum Settled {
    /// The job ends with the attempt. It has left the queue.
    Ended(JobEntry, EndedAttempt),
    /// The job has left the queue. It ends with this result if the result is confirmed.
    Provisional(JobEntry, EndedAttempt),
    /// Another attempt follows.
    Again,
    /// The attempt was sent ahead and never began, so the job waits as before.
    Returned,
    /// The job was given up before, so the end of its attempt has no consequence.
    Unknown,
}

/// Starts the jobs of the queue as the scheduler and the breakers allow, and settles what follows when their attempts
/// end.
pub(super) struct Dispatcher {
    seated: SeatedQueue,
    breakers: Breakers,
    /// When the run began.
    began: Instant,
    /// The request that stops every attempt that begins from now on; `None` while the run goes on.
    stopping: Option<StopRequest>,
    /// The request that stops a cancelled job whose attempt, sent ahead, has begun all the same. It is `None` until a
    /// single job is cancelled.
    cancelling: Option<StopRequest>,
    /// The moment at which the scheduler wants to be asked again.
    wake: Option<Instant>,
    /// When each running job becomes slow.
    slow: SlowWatch,
    acquisitions: AcquisitionTrace,
}

impl Dispatcher {
    /// Makes the dispatcher of a run that begins at this moment.
    pub(super) fn new(seated: SeatedQueue, breakers: Breakers, began: Instant) -> Self {
        Self {
            seated,
            breakers,
            began,
            stopping: None,
            cancelling: None,
            wake: None,
            slow: SlowWatch::default(),
            acquisitions: AcquisitionTrace::default(),
        }
    }

    /// Returns the queue, which holds the jobs that wait, were sent ahead or run.
    pub(super) fn queue(&self) -> &Queue {
        self.seated.queue()
    }

    /// Returns what a snapshot is made of: the queue, the performers and the places.
    pub(super) fn view<'a>(
        &'a self,
        kinds: &'a Kinds,
        control: &'a RunControl,
        now: Instant,
    ) -> SnapshotInput<'a> {
        SnapshotInput {
            now,
            seated: &self.seated,
            kinds,
            control,
        }
    }

    /// Returns how many jobs wait and run, and how many slots they fill.
    pub(super) fn load(&self) -> SchedulerLoad {
        self.seated.load()
    }

    /// Returns how many jobs wait for nothing but a slot or a worker.
    pub(super) fn ready(&self) -> usize {
        self.queue().scheduler().waiting_without_claims()
    }

    /// Returns how many attempts may be sent ahead to all workers together.
    pub(super) fn room_ahead(&self) -> u32 {
        let pools = self.seated.performers().pools();
        // Workers declare their own concurrency, which can be any number, so the sum could overflow.
        pools.fold(0, |sum: u32, pool| {
            sum.saturating_add(pool.seats.room_ahead())
        })
    }

    /// Returns the moment at which the scheduler wants to be asked again.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.wake
    }

    /// Returns the moment at which [`recall`](Self::recall) has something to do.
    pub(super) fn recall_at(&self) -> Option<Instant> {
        self.seated.performers().recall_at()
    }

    /// Recalls unread attempts from the pipes of busy workers while other workers of the same pool are idle.
    pub(super) fn recall(&mut self, now: Instant) {
        if self.has_free_slots() {
            self.seated.recall(now);
        }
    }

    /// Whether a slot is free, so that an attempt that is recalled could begin on another worker.
    pub(super) fn has_free_slots(&self) -> bool {
        let load = self.load();
        load.slots_used < load.slots
    }

    /// Puts a job into the queue.
    pub(super) fn enqueue(
        &mut self,
        arrival: Arrival,
        kind: KindId,
        kinds: &Kinds,
        cache_key: Option<Box<CacheKey>>,
        now: Instant,
    ) -> Result<(), Box<Refused>> {
        let ticket = self.seated.push(arrival, kind, kinds, cache_key, now)?;
        self.arrived(ticket);
        Ok(())
    }

    /// Puts a job into the queue again, with the record of its attempts. Another one follows at `not_before` at the
    /// earliest.
    pub(super) fn requeue(
        &mut self,
        entry: JobEntry,
        kinds: &Kinds,
        not_before: Instant,
        now: Instant,
    ) -> Result<(), (Box<JobEntry>, Failure)> {
        let ticket = self.seated.requeue(entry, kinds, (not_before, now))?;
        self.arrived(ticket);
        Ok(())
    }

    /// Tells the breakers that a job was queued.
    fn arrived(&mut self, ticket: Ticket) {
        let entry = self.seated.queue().get(ticket);
        self.breakers.arrived(entry.kind, entry.job.host.as_ref());
        self.acquisitions.note_queued(ticket);
    }

    /// Charges the time until `now` to the blockers of waiting jobs. It has to come before any change of a turn,
    /// because the time belongs to the state before the change.
    pub(super) fn pass_time(&mut self, now: Instant) {
        self.seated.pass_time(now);
    }

    /// Ends a turn in which no job may start.
    pub(super) fn start_nothing(&mut self) {
        self.wake = None;
        self.acquisitions.end_turn(self.seated.queue());
    }

    /// Starts all jobs that may start. Returns the jobs that their breaker has rejected and that do not wait for it.
    #[must_use = "a job that was rejected has failed"]
    pub(super) fn start_jobs(&mut self, most_begun: Option<u64>, turn: Turn<'_>) -> Vec<Ticket> {
        self.wake = None;
        let mut rejected = Vec::new();
        loop {
            self.release_refused(turn.now);
            match self.pop(turn.now, &mut rejected) {
                Decision::Start(ticket) => self.start(ticket, turn),
                // A breaker has changed in this loop, and may admit jobs that it refused before.
                Decision::WaitUntil(_) | Decision::Idle if self.breakers.has_released() => {}
                // The slots that a place kept for a job may be free for other jobs again.
                Decision::WaitUntil(_) | Decision::Idle if self.seated.update_reserved() => {}
                Decision::WaitUntil(when) => {
                    self.wake = Some(when);
                    break;
                }
                Decision::Idle => break,
            }
        }
        self.send_ahead(most_begun, turn.now);
        self.acquisitions.end_turn(self.seated.queue());
        rejected
    }

    /// Asks the scheduler for the next job to start, and passes over jobs that their breaker refuses.
    fn pop(&mut self, now: Instant, rejected: &mut Vec<Ticket>) -> Decision {
        let breakers = &mut self.breakers;
        self.seated.pop_if(now, |entry| {
            let host = entry.job.host.as_ref();
            let admitted = breakers.admit(entry.ticket, entry.kind, host, now);
            admitted.map_err(|refusal| {
                if refusal.fails {
                    rejected.push(entry.ticket);
                }
                refusal.retry_at
            })
        })
    }

    /// Lets the jobs that a breaker has refused and may admit now be asked for again at once.
    fn release_refused(&mut self, now: Instant) {
        for ticket in self.breakers.take_released() {
            // A job that has started since, or waits for its retry, does not wait for the breaker.
            let is_refused = |entry: &JobEntry| entry.state().is_waiting() && entry.rejected;
            if self.queue().find(ticket).is_some_and(is_refused) {
                self.seated.postpone(ticket, now);
            }
        }
    }

    /// Decides whether a job that its breaker has rejected, and that does not wait for the breaker, is tried again.
    /// Returns the failure with which the job ends, or `None` if it is tried again.
    pub(super) fn rejected(
        &mut self,
        ticket: Ticket,
        retries: &mut Retries,
        now: Instant,
    ) -> Option<Failure> {
        let entry = self.seated.entry_mut(ticket);
        let why = self
            .breakers
            .why_refused(entry.kind, entry.job.host.as_ref());
        let mut failure = Box::new(Failure::new(Class::Breaker, why));
        match retries.judge_rejection(entry, &mut failure, now) {
            AfterAttempt::Again(when) => {
                entry.failure = Some(failure);
                self.seated.postpone(ticket, when);
                // `wake` was computed before this retry was known, so it is moved forward if the retry is due earlier.
                self.wake = Some(self.wake.map_or(when, |wake| wake.min(when)));
                None
            }
            AfterAttempt::Over => Some(*failure),
        }
    }

    /// Starts an attempt of a job that the scheduler has let start.
    fn start(&mut self, ticket: Ticket, turn: Turn<'_>) {
        let entry = self.queue().get(ticket);
        // A test checks rates by counting these lines, so each line has to come before its worker can begin. The slot
        // is here so that a test can check that no number exceeds the number of slots.
        let last_slot = || self.queue().scheduler().last_slot(ticket);
        tracing::trace!(
            target: "ratchet_runtime::grants",
            job = entry.job.id.as_str(),
            attempt = entry.attempts + 1,
            after_ns = nanos(turn.now.saturating_duration_since(self.began)),
            last_slot = last_slot().map(SlotNumber::get),
            "an attempt may begin"
        );
        match self.seated.start(ticket, turn.now) {
            Started::Here => self.emit_start(ticket, None, turn),
            Started::On(worker) => self.emit_start(ticket, Some(worker), turn),
            Started::Unsent => {
                self.returned(ticket, None, true, turn);
            }
        }
    }

    /// Emits the event that an attempt has begun, on this worker if it has one.
    fn emit_start(&mut self, ticket: Ticket, worker: Option<WorkerName>, turn: Turn<'_>) {
        trace_acquisition(self.queue(), ticket, AcquisitionChange::Acquired);
        let entry = self.queue().get(ticket);
        let limit = entry.job.terms.slow.filter(|_| !entry.is_slow);
        // A limit beyond the range of the clock never passes.
        if let Some(due) = limit.and_then(|limit| turn.now.checked_add(limit)) {
            self.slow.begin(ticket, due);
        }
        turn.emit_of_job(|| {
            let entry = self.queue().get(ticket);
            RunEvent::AttemptStarted {
                id: entry.job.id.clone(),
                item: entry.job.item.as_ref().map(|item| item.name.clone()),
                attempt: entry.attempts,
                slot: self.seated.slot(ticket),
                place: self.seated.place_of(ticket),
                worker,
            }
        });
    }

    /// Sends fully parallel jobs ahead to busy workers, so that these workers do not idle between two jobs. With those that
    /// run, there are no more than `most_begun`.
    fn send_ahead(&mut self, most_begun: Option<u64>, now: Instant) {
        let mut room = most_begun.map_or(u64::MAX, |most| {
            most.saturating_sub(self.queue().count_begun() as u64)
        });
        for kind in self.seated.performers().pool_kinds() {
            // A breaker has to be asked when an attempt begins. An attempt that was sent ahead begins on its worker,
            // without the loop.
            if self.breakers.has_breaker(kind) {
                continue;
            }
            while room > 0 && self.seated.send_one_ahead(kind, now) {
                room -= 1;
            }
        }
    }

    /// Settles what follows the end of an attempt. `next` is the attempt that was sent ahead and has begun in its
    /// place.
    pub(super) fn ended(
        &mut self,
        ticket: Ticket,
        mut attempted: EndedAttempt,
        next: Option<Ticket>,
        retries: &mut Retries,
        turn: Turn<'_>,
    ) -> Settled {
        let now = turn.now;
        match self.queue().find(ticket) {
            // The job was given up before, and its attempt has ended only now.
            None => return Settled::Unknown,
            Some(entry) if entry.state() != EntryState::Running => {
                // The attempt was sent ahead and was never reported to have begun, so nothing is charged to it.
                self.returned(ticket, None, false, turn);
                return Settled::Returned;
            }
            Some(entry) => {
                if let Err(failure) = &mut attempted.result
                    && let Some(reason) = &entry.cancelled
                {
                    **failure = reason.while_running((**failure).clone());
                }
            }
        }
        let failure = attempted.result.as_ref().err().map(AsRef::as_ref);
        self.slow.end(ticket);
        self.breakers.ended(ticket, failure, now);
        self.seated.note_end(ticket, &mut attempted, now);
        let entry = self.seated.entry_mut(ticket);
        retries.count_attempt(entry, now);
        let end = match &mut attempted.result {
            Ok(_) => AfterAttempt::Over,
            Err(failure) => retries.decide(entry, failure, now),
        };
        self.free(ticket, end, next, turn);
        if let (AfterAttempt::Again(_), Err(failure)) = (end, &attempted.result) {
            let entry = self.seated.entry_mut(ticket);
            let end = AttemptEnd::Failed(failure.class);
            let detail = attempted.detail(entry.attempts, end, turn.observers.wall());
            entry.times.push(detail);
        }
        match (end, attempted.result) {
            (AfterAttempt::Again(when), Err(failure)) => {
                emit_retry(self.queue().get(ticket), &failure, when, turn);
                let lacked_memory = failure.class == Class::Memory;
                self.seated.wait_again(ticket, failure, now);
                if lacked_memory {
                    self.seated.raise_memory(ticket, now);
                }
                Settled::Again
            }
            (_, result) => {
                attempted.result = result;
                let entry = self.seated.take(ticket);
                self.left(&entry, now);
                if attempted.provisional && attempted.result.is_ok() {
                    Settled::Provisional(entry, attempted)
                } else {
                    Settled::Ended(entry, attempted)
                }
            }
        }
    }

    /// Frees the claims and the seat of an attempt. If `next` has begun in its place, that is reported.
    fn free(&mut self, ticket: Ticket, end: AfterAttempt, next: Option<Ticket>, turn: Turn<'_>) {
        trace_acquisition(self.queue(), ticket, AcquisitionChange::Released);
        let begun = self.seated.free(ticket, end, next, turn.now);
        self.begun_ahead(begun, turn);
    }

    /// Emits the event of an attempt that was sent ahead and has begun. If the run stops, or the job was cancelled, the
    /// attempt is stopped.
    fn begun_ahead(&mut self, begun: Option<(Ticket, Option<WorkerName>)>, turn: Turn<'_>) {
        if let Some((next, worker)) = begun {
            // The attempt had begun before the recall reached it, so it has to be stopped instead.
            let cancelling = self.cancelling;
            let cancelling = cancelling.filter(|_| self.queue().get(next).cancelled.is_some());
            if let Some(stop) = self.stopping.or(cancelling) {
                self.seated.stop(next, stop);
            }
            self.emit_start(next, worker, turn);
        }
    }

    /// Takes back an attempt that never began, so that its job waits again. `next` is an attempt that was sent ahead
    /// and has begun in its place. `withdrawn` says that the worker takes no more attempts. Returns whether the job is
    /// waiting again because of this report.
    pub(super) fn returned(
        &mut self,
        ticket: Ticket,
        next: Option<Ticket>,
        withdrawn: bool,
        turn: Turn<'_>,
    ) -> bool {
        let Some(entry) = self.queue().find(ticket) else {
            return false; // It was given up.
        };
        match entry.state() {
            // The job waits already, because the loss of its worker was noticed on both sides.
            EntryState::Waiting | EntryState::Parked => return false,
            EntryState::Ahead => self.seated.put_back(ticket, withdrawn, turn.now),
            EntryState::Running => {
                self.slow.end(ticket);
                trace_acquisition(self.queue(), ticket, AcquisitionChange::Released);
                let begun = self.seated.take_back(ticket, next, withdrawn, turn);
                self.begun_ahead(begun, turn);
                self.breakers.returned(ticket, turn.now);
            }
        }
        true
    }

    /// Removes a waiting job from the queue.
    pub(super) fn cancel(&mut self, ticket: Ticket, now: Instant) -> JobEntry {
        let entry = self.seated.cancel(ticket);
        self.left(&entry, now);
        entry
    }

    /// Lets an equal job compute, because the job with this ticket has ended without a result.
    pub(super) fn failed(&mut self, ticket: Ticket, cache_key: Box<CacheKey>) {
        self.seated.failed(ticket, cache_key);
    }

    /// Returns the parked jobs that are equal to one that has ended with a result. The caller has to get the
    /// [answer](Self::answered) to each from the cache.
    pub(super) fn succeeded(
        &mut self,
        ticket: Ticket,
        cache_key: &CacheKey,
    ) -> Vec<(Ticket, Box<CacheKey>)> {
        self.seated.succeeded(ticket, cache_key)
    }

    /// Applies the answer of the cache to a parked job. If the job ends with the result of an equal one, it is removed and
    /// returned with that.
    pub(super) fn answered(
        &mut self,
        ticket: Ticket,
        answer: ParkedAnswer,
        now: Instant,
    ) -> Option<(JobEntry, Payload)> {
        self.queue().find(ticket)?; // It may have been cancelled.
        match answer {
            ParkedAnswer::Result(payload) => Some((self.cancel(ticket, now), payload)),
            ParkedAnswer::Compute(cache_key) => {
                self.seated.compute_alone(ticket, cache_key);
                None
            }
        }
    }

    /// Cancels a job that has an attempt: the attempt becomes the last one. It is recalled if it was sent ahead, asked
    /// to `stop` if it runs, and killed if the job was cancelled before.
    pub(super) fn cancel_started(
        &mut self,
        ticket: Ticket,
        stop: StopRequest,
        reason: &Arc<CancelReason>,
    ) {
        self.cancelling = Some(stop);
        let entry = self.seated.entry_mut(ticket);
        let was_cancelled = entry.cancelled.is_some();
        entry.cancelled.get_or_insert_with(|| Arc::clone(reason));
        let stop = match entry.state() {
            EntryState::Ahead => StopRequest::Recall,
            _ if was_cancelled => StopRequest::Kill,
            _ => stop,
        };
        self.seated.stop(ticket, stop);
    }

    /// Returns the output of an attempt that is performed in this process.
    pub(super) fn output_here(&self, ticket: Ticket) -> Option<Arc<AttemptOutput>> {
        self.seated.performers().output_here(ticket)
    }

    /// Returns the messages of a job's attempt, so that another one can be added; `None` if the job is not in the
    /// queue.
    pub(super) fn messages_mut(&mut self, ticket: Ticket) -> Option<&mut AttemptMessages> {
        // The attempt of a job that was given up may go on for a moment and still report.
        self.queue().find(ticket)?;
        Some(self.seated.entry_mut(ticket).messages_mut())
    }

    /// Removes a job from the queue in any state. If its attempt still runs, the report of its end is ignored.
    pub(super) fn give_up(&mut self, ticket: Ticket, now: Instant) -> JobEntry {
        if self.queue().get(ticket).state() == EntryState::Running {
            trace_acquisition(self.queue(), ticket, AcquisitionChange::Released);
        }
        let entry = self.seated.give_up(ticket);
        self.left(&entry, now);
        entry
    }

    /// Tells the breakers and the slow watch that a job has left the queue.
    fn left(&mut self, entry: &JobEntry, now: Instant) {
        self.slow.end(entry.ticket);
        let host = entry.job.host.as_ref();
        self.breakers.left(entry.ticket, entry.kind, host, now);
    }

    /// Removes and returns the next job whose queue timeout has passed before its first start.
    pub(super) fn cancel_past_deadline(&mut self, now: Instant) -> Option<JobEntry> {
        let ticket = self.seated.pop_past_deadline(now)?;
        Some(self.cancel(ticket, now))
    }

    /// Marks the next running job that has become slow by now, and returns it. Each job is returned once.
    pub(super) fn pop_slow(&mut self, now: Instant) -> Option<&JobEntry> {
        let ticket = self.slow.pop(now)?;
        let entry = self.seated.entry_mut(ticket);
        entry.is_slow = true;
        Some(entry)
    }

    /// Returns when the next job becomes slow.
    pub(super) fn next_slow(&self) -> Option<Instant> {
        self.slow.next()
    }

    /// Returns the next moment at which a queue timeout passes.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.queue().next_deadline()
    }

    /// Sends this request to every running attempt, and to each that begins later. Attempts that were sent ahead are
    /// recalled, because they may not begin any more.
    pub(super) fn stop_all(&mut self, stop: Option<StopRequest>) {
        self.stopping = stop;
        self.seated.stop_all(stop);
    }

    /// Returns the first of the slots that an attempt holds.
    pub(super) fn slot(&self, ticket: Ticket) -> Option<SlotNumber> {
        self.seated.slot(ticket)
    }

    /// Returns the name of the place where an attempt runs; `None` for the local place.
    pub(super) fn place_of(&self, ticket: Ticket) -> Option<PlaceName> {
        self.seated.place_of(ticket)
    }

    /// Returns the performers of the jobs.
    #[cfg(test)]
    pub(super) fn performers(&self) -> &super::performers::Performers {
        self.seated.performers()
    }

    /// Takes the reports of the breakers whose state has changed since the last call.
    pub(super) fn changed_breakers(&mut self) -> Vec<BreakerReport> {
        self.breakers.take_changed()
    }

    /// Returns the reports of all breakers that have opened.
    pub(super) fn breakers(&self, now: Instant) -> Vec<BreakerReport> {
        self.breakers.reports(now)
    }

    /// Returns the handle through which pools are told how much work is left for them.
    pub(super) fn pool_demand(&mut self) -> PoolDemand<'_> {
        self.seated.pool_demand()
    }

    /// Returns the handle through which seats, slots and limits change.
    pub(super) fn capacity(&mut self) -> Capacity<'_> {
        self.seated.capacity()
    }
}

/// Emits the event that another attempt follows a failed one.
pub(super) fn emit_retry(entry: &JobEntry, failure: &Failure, when: Instant, turn: Turn<'_>) {
    turn.emit_of_job(|| {
        let wait = when.saturating_duration_since(turn.now).as_millis();
        RunEvent::AttemptFailed {
            id: entry.job.id.clone(),
            attempt: entry.attempts,
            class: failure.class,
            message: failure.message.clone(),
            retry_in_ms: u64::try_from(wait).unwrap_or(u64::MAX),
        }
    });
}

/// Returns a duration in whole nanoseconds.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
