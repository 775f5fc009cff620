//! How attempts begin, by their turn or sent ahead of it, and what happens when they end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_ipc::HostName;
use ratchet_resilience::shutdown::Phase;

use super::arrival::{Arrival, Refused};
use super::attempt_messages::AttemptMessages;
use super::breakers::Breakers;
use super::cancelled::CancelReason;
use super::control::RunControl;
use super::ended_attempt::EndedAttempt;
use super::entry::{JobEntry, JobState};
use super::kinds::Kinds;
use super::observers::Turn;
use super::queue::{Capacity, KindCounts, Queue};
use super::retries::Retries;
use super::reuse::StorePermit;
use super::seated_queue::{SeatedQueue, Started};
use super::slow::SlowWatch;
use super::snapshot::SnapshotInput;
use crate::Error;
use crate::breaker::BreakerReport;
use crate::context::AttemptOutput;
use crate::dispatch::{Demand, PoolKey, StopRequest, WorkerNumber};
use crate::event::Event;
use crate::ids::KindId;
use crate::ids::{PlaceId, PlaceName, SlotNumber, Ticket, WorkerName};
use crate::outcome::{AttemptEnd, Class, Failure};
use crate::process::Seats;
use crate::scheduling::{
    Acquisition, AcquisitionChange, AfterAttempt, Decision, SchedulerLoad, are_traced,
};

/// The highest number of jobs without a free seat that is reported to a pool.
const MAX_UNSEATED: usize = 1024;

/// What follows the end of an attempt. Variants hold their job unboxed, which saves an allocation for each job.
pub(super) enum Settled {
    /// The job ends with the attempt. It has left the queue.
    Ended(JobEntry, EndedAttempt),
    /// The job has left the queue, and ends with this result if the result is confirmed.
    Provisional(JobEntry, EndedAttempt),
    /// Another attempt follows.
    Again,
    /// The attempt was sent ahead and never began, so the job waits as before.
    Returned,
    /// The job was given up before.
    Unknown,
}

/// What a run expects, which decides how much work pools are told of.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExpectedWork {
    /// How far the run is on the way to its end.
    pub(super) phase: Phase,
    /// Jobs of any kind may still come to the queue.
    pub(super) may_come: bool,
}

/// Starts the jobs of the queue, as scheduler and breakers allow, and settles what follows when their attempts end.
pub(super) struct Dispatcher {
    seated: SeatedQueue,
    breakers: Breakers,
    /// When the run began.
    began: Instant,
    /// How to stop attempts that still begin while the run stops.
    stopping: Option<StopRequest>,
    /// How to stop a job that was cancelled individually and begins all the same; `None` before the first such job.
    cancelling: Option<StopRequest>,
    /// The moment at which the scheduler wants to be asked again.
    wake: Option<Instant>,
    /// When jobs become slow that run.
    slow: SlowWatch,
    /// The jobs that came to the queue in this turn, if anybody is told which of them wait.
    queued: Vec<Ticket>,
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
            queued: Vec::new(),
        }
    }

    /// The jobs that wait, lie ahead or run.
    pub(super) fn queue(&self) -> &Queue {
        self.seated.queue()
    }

    /// Collects what is known of the queue and of performers, to make a snapshot of.
    pub(super) fn view<'a>(
        &'a self,
        kinds: &'a Kinds,
        control: &'a RunControl,
        now: Instant,
    ) -> SnapshotInput<'a> {
        SnapshotInput {
            now,
            queue: self.seated.queue(),
            performers: self.seated.performers(),
            places: self.seated.places(),
            kinds,
            control,
        }
    }

    /// Returns how many jobs wait and run, and how many slots they fill.
    pub(super) fn load(&self) -> SchedulerLoad {
        self.seated.load()
    }

    /// Returns how many jobs lack nothing but slots and workers.
    pub(super) fn ready(&self) -> usize {
        self.queue().scheduler().unclaimed()
    }

    /// Returns how many attempts may be sent ahead at most.
    pub(super) fn room_ahead(&self) -> u32 {
        let pools = self.seated.performers().pools();
        // What workers say of themselves can be any number.
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

    /// Whether what comes back from a worker's pipe could begin elsewhere.
    pub(super) fn has_free_slots(&self) -> bool {
        let load = self.load();
        load.slots_used < load.slots
    }

    /// Takes a job into the queue.
    pub(super) fn enqueue(
        &mut self,
        arrival: Arrival,
        kind: KindId,
        kinds: &Kinds,
        share: Option<Box<StorePermit>>,
        now: Instant,
    ) -> Result<(), Box<Refused>> {
        let ticket = self.seated.push(arrival, kind, kinds, share, now)?;
        self.arrived(ticket);
        Ok(())
    }

    /// Takes a job into the queue again, with what is known of its attempts.
    pub(super) fn requeue(
        &mut self,
        entry: JobEntry,
        kinds: &Kinds,
        now: Instant,
    ) -> Result<(), (Box<JobEntry>, Failure)> {
        let ticket = self.seated.requeue(entry, kinds, now)?;
        self.arrived(ticket);
        Ok(())
    }

    /// Tells the breakers of a job that was queued.
    fn arrived(&mut self, ticket: Ticket) {
        let entry = self.seated.queue().get(ticket);
        self.breakers.arrived(entry.kind, entry.job.host.as_ref());
        if are_traced() {
            self.queued.push(ticket);
        }
    }

    /// Tells of the jobs that came to the queue in this turn and have to wait.
    fn tell_waiting(&mut self) {
        for ticket in std::mem::take(&mut self.queued) {
            let entry = self.queue().find(ticket);
            if entry.is_some_and(|entry| entry.state() == JobState::Waiting) {
                self.tell_acquisition(ticket, AcquisitionChange::Waits);
            }
        }
    }

    /// Tells what becomes of the claims of a job's hint, if anybody listens.
    fn tell_acquisition(&self, ticket: Ticket, change: AcquisitionChange) {
        if !are_traced() {
            return;
        }
        let queue = self.queue();
        if let (Some(entry), Some(hint)) = (queue.find(ticket), queue.scheduler().hint_name(ticket))
        {
            let acquisition = Acquisition {
                hint,
                host: entry.job.host.as_ref().map(HostName::as_str),
                task: entry.job.task_name(),
                job: Some(entry.job.id.as_str()),
            };
            acquisition.tell(change);
        }
    }

    /// Charges the time until `now` to what kept jobs waiting, so this comes before any change of a turn.
    pub(super) fn pass_time(&mut self, now: Instant) {
        self.seated.pass_time(now);
    }

    /// Lets nothing start in this turn.
    pub(super) fn start_nothing(&mut self) {
        self.wake = None;
        self.tell_waiting();
    }

    /// Starts what may start. Returns the jobs that breakers have rejected and that do not wait for them.
    #[must_use = "a job that was rejected has failed"]
    pub(super) fn start_jobs(&mut self, turn: Turn<'_>) -> Vec<Ticket> {
        self.wake = None;
        let mut rejected = Vec::new();
        loop {
            self.release_refused(turn.now);
            match self.pop(turn.now, &mut rejected) {
                Decision::Start(ticket) => self.start(ticket, turn),
                // A breaker that has changed meanwhile may admit those that it refused.
                Decision::WaitUntil(_) | Decision::Idle if self.breakers.has_released() => {}
                // The slots of a place that were kept for a job may be free for others.
                Decision::WaitUntil(_) | Decision::Idle if self.seated.update_kept() => {}
                Decision::WaitUntil(when) => {
                    self.wake = Some(when);
                    break;
                }
                Decision::Idle => break,
            }
        }
        self.send_ahead(turn.now);
        self.tell_waiting();
        rejected
    }

    /// Has the scheduler start a job, if its breaker admits it.
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

    /// Lets the jobs that a breaker has refused, and may now admit, ask it again at once.
    fn release_refused(&mut self, now: Instant) {
        for ticket in self.breakers.take_released() {
            // One that has started or waits for its retry by now need not ask.
            let is_refused =
                |entry: &JobEntry| entry.state() == JobState::Waiting && entry.rejected;
            if self.queue().find(ticket).is_some_and(is_refused) {
                self.seated.postpone(ticket, now);
            }
        }
    }

    /// Decides whether a job is retried that its breaker has rejected and that does not wait for the breaker. Returns the
    /// failure with which it ends, unless it is tried again.
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
                // The queue may have been asked already when the next job starts.
                self.wake = Some(self.wake.map_or(when, |wake| wake.min(when)));
                None
            }
            AfterAttempt::Over => Some(*failure),
        }
    }

    /// Starts an attempt at a job that the scheduler lets start.
    fn start(&mut self, ticket: Ticket, turn: Turn<'_>) {
        let entry = self.queue().get(ticket);
        // Whoever checks that no rate is exceeded counts grants, so the grant is told before its worker can begin. Likewise
        // the slots: no number is greater than the number of slots.
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
            Started::Here => self.tell_start(ticket, None, turn),
            Started::On(worker) => self.tell_start(ticket, Some(worker), turn),
            Started::Unsent => {
                self.returned(ticket, None, true, turn);
            }
        }
    }

    /// Emits the event that an attempt has begun on this worker.
    fn tell_start(&mut self, ticket: Ticket, worker: Option<WorkerName>, turn: Turn<'_>) {
        self.tell_acquisition(ticket, AcquisitionChange::Acquired);
        let entry = self.queue().get(ticket);
        let limit = entry.job.terms.slow.filter(|_| !entry.is_slow);
        // A time beyond what the clock can tell never comes.
        if let Some(due) = limit.and_then(|limit| turn.now.checked_add(limit)) {
            self.slow.begin(ticket, due);
        }
        turn.emit_of_job(|| {
            let entry = self.queue().get(ticket);
            Event::AttemptStarted {
                id: entry.job.id.clone(),
                item: entry.job.item.as_ref().map(|item| item.name.clone()),
                attempt: entry.attempts,
                slot: self.seated.slot(ticket),
                place: self.seated.place_of(ticket),
                worker,
            }
        });
    }

    /// Sends fully parallel jobs to workers that are busy, so that these need not wait for the next one.
    fn send_ahead(&mut self, now: Instant) {
        for kind in self.seated.performers().pool_kinds() {
            // A breaker is asked when an attempt begins, and one that is sent ahead begins elsewhere.
            if self.breakers.has_breaker(kind) {
                continue;
            }
            while self.seated.send_one_ahead(kind, now) {}
        }
    }

    /// Settles what follows an attempt that has ended, and in whose place `next` of those that lay ahead has begun.
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
            // It was given up, and ended after all.
            None => return Settled::Unknown,
            Some(entry) if entry.state() != JobState::Running => {
                // Sent ahead, and nobody said that its turn had come: nothing is charged to it.
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
                tell_retry(self.queue().get(ticket), &failure, when, turn);
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

    /// Frees what an attempt held. An attempt that has begun in its place is reported, and stopped if the run stops.
    fn free(&mut self, ticket: Ticket, end: AfterAttempt, next: Option<Ticket>, turn: Turn<'_>) {
        self.tell_acquisition(ticket, AcquisitionChange::Released);
        let begun = self.seated.free(ticket, end, next, turn.now);
        self.begun_ahead(begun, turn);
    }

    /// Tells of an attempt that lay ahead and has begun.
    fn begun_ahead(&mut self, begun: Option<(Ticket, Option<WorkerName>)>, turn: Turn<'_>) {
        if let Some((next, worker)) = begun {
            // It had begun before it could be recalled.
            let cancelling = self.cancelling;
            let cancelling = cancelling.filter(|_| self.queue().get(next).cancelled.is_some());
            if let Some(stop) = self.stopping.or(cancelling) {
                self.seated.stop(next, stop);
            }
            self.tell_start(next, worker, turn);
        }
    }

    /// Takes back an attempt that never began, so that its job waits again. `next` of those that lay ahead may have begun
    /// in its place, and `withdrawn` says that its worker takes no more. Returns whether the job is still there.
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
            // Its worker was gone when it was given to it, and both sides found out.
            JobState::Waiting => return false,
            JobState::Ahead => self.seated.put_back(ticket, withdrawn, turn.now),
            JobState::Running => {
                self.slow.end(ticket);
                self.tell_acquisition(ticket, AcquisitionChange::Released);
                let begun = self.seated.take_back(ticket, next, withdrawn, turn);
                self.begun_ahead(begun, turn);
                self.breakers.returned(ticket, turn.now);
            }
        }
        true
    }

    /// Takes a job that waits out of the queue.
    pub(super) fn cancel(&mut self, ticket: Ticket, now: Instant) -> JobEntry {
        let entry = self.seated.cancel(ticket);
        self.left(&entry, now);
        entry
    }

    /// Has the attempt of a job be its last, and asks it to `stop` if it has begun. It is killed if it was asked before.
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
            JobState::Ahead => StopRequest::Recall,
            _ if was_cancelled => StopRequest::Kill,
            _ => stop,
        };
        self.seated.stop(ticket, stop);
    }

    /// Returns what a command prints that is performed from this process.
    pub(super) fn output_here(&self, ticket: Ticket) -> Option<Arc<AttemptOutput>> {
        self.seated.performers().output_here(ticket)
    }

    /// Keeps what a worker says about a job.
    pub(super) fn said(&mut self, ticket: Ticket) -> Option<&mut AttemptMessages> {
        // One that was given up may go on for a moment.
        self.queue().find(ticket)?;
        Some(self.seated.entry_mut(ticket).said())
    }

    /// Removes a job from the queue in any state. If its attempt still runs, the report of its end is ignored.
    pub(super) fn give_up(&mut self, ticket: Ticket, now: Instant) -> JobEntry {
        if self.queue().get(ticket).state() == JobState::Running {
            self.tell_acquisition(ticket, AcquisitionChange::Released);
        }
        let entry = self.seated.give_up(ticket);
        self.left(&entry, now);
        entry
    }

    /// Tells the breakers of a job that has left the queue.
    fn left(&mut self, entry: &JobEntry, now: Instant) {
        self.slow.end(entry.ticket);
        let host = entry.job.host.as_ref();
        self.breakers.left(entry.ticket, entry.kind, host, now);
    }

    /// Takes out the next job that has waited for its first start for as long as it may.
    pub(super) fn cancel_past_deadline(&mut self, now: Instant) -> Option<JobEntry> {
        let ticket = self.seated.pop_past_deadline(now)?;
        Some(self.cancel(ticket, now))
    }

    /// Takes note of the next job that is slow by now, and returns it. Each job is returned once.
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

    /// Returns the first moment by which a job has to have started.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.queue().next_deadline()
    }

    /// Stops what runs in this way from now on, if it is to stop, and recalls what lies ahead, for it may not begin any
    /// more.
    pub(super) fn stop_all(&mut self, stop: Option<StopRequest>) {
        self.stopping = stop;
        self.seated.stop_all(stop);
    }

    /// Changes which seats a pool has.
    pub(super) fn change_seats(&mut self, pool: PoolKey, change: impl FnOnce(&mut Seats)) {
        self.seated.change_seats(pool, change);
    }

    /// Notes that a pool has no workers any more. Returns whether no pool of its kind has.
    pub(super) fn pool_broke(&mut self, pool: PoolKey, failure: &Failure) -> bool {
        self.seated.pool_broke(pool, failure)
    }

    /// Sets how many slots a place has, or notes that nothing will ever run there any more.
    pub(super) fn place_changed(&mut self, place: PlaceId, slots: Result<u32, Failure>) {
        match slots {
            Ok(slots) => self.seated.set_place(place, slots),
            Err(failure) => self.seated.place_gone(place, failure),
        }
    }

    /// Notes how long a message takes to a place and back.
    pub(super) fn set_round_trip(&mut self, place: PlaceId, round_trip: Option<Duration>) {
        self.seated.set_round_trip(place, round_trip);
    }

    /// Holds starts at a place back for this reason, or no longer. Refused if there is no such place.
    pub(super) fn hold_place(
        &mut self,
        place: &str,
        reason: Option<String>,
    ) -> Result<(), Failure> {
        self.seated.hold_place(place, reason)
    }

    /// Returns the jobs that wait and can never start any more, each with the reason.
    pub(super) fn unstartable(&self) -> Vec<(Ticket, Failure)> {
        self.seated.unstartable()
    }

    /// Returns the first of the slots that an attempt holds.
    pub(super) fn slot(&self, ticket: Ticket) -> Option<SlotNumber> {
        self.seated.slot(ticket)
    }

    /// Returns the name of the place where an attempt runs, if that is not the local one.
    pub(super) fn place_of(&self, ticket: Ticket) -> Option<PlaceName> {
        self.seated.place_of(ticket)
    }

    /// Changes the number of slots of the local place.
    pub(super) fn set_slots(&mut self, slots: u32) -> Result<(), Error> {
        self.seated.set_slots(slots)
    }

    /// Records that a worker has read its requests, so that its attempt has begun by now.
    pub(super) fn proven(&mut self, pool: PoolKey, worker: WorkerNumber, now: Instant) {
        self.seated.proven(pool, worker, now);
    }

    /// Updates the throughput of pools, which decides how many attempts they send ahead.
    pub(super) fn update_throughput(&mut self) {
        self.seated.update_throughput();
    }

    /// Tells pools how much work is left for them, by which they grow, and replace no worker for which nothing is left.
    /// `unresolved` says how many jobs wait for the hello of a kind.
    pub(super) fn tell_demand(
        &mut self,
        outlook: ExpectedWork,
        unresolved: impl Fn(KindId) -> usize,
    ) {
        for kind in self.seated.performers().pool_kinds() {
            for pool in self.seated.performers().keys_of(kind) {
                let demand = self.demand(pool, outlook, unresolved(kind));
                self.seated.demand(pool, demand);
            }
        }
    }

    /// Tells a pool again how much work is left for it, because it has asked.
    pub(super) fn tell_demand_again(
        &mut self,
        pool: PoolKey,
        outlook: ExpectedWork,
        unresolved: usize,
    ) {
        let demand = self.demand(pool, outlook, unresolved);
        self.seated.demand_again(pool, demand);
    }

    /// Works out how much work is left for a pool.
    pub(super) fn demand(&self, pool: PoolKey, outlook: ExpectedWork, unresolved: usize) -> Demand {
        let counts: KindCounts = self.queue().count(pool.kind);
        let waiting = self.seated.waiting_for(pool) + unresolved;
        let seats = self.seated.performers().seats(pool);
        let free = seats.map_or(0, |seats| seats.free() as usize);
        match outlook.phase {
            Phase::Running if outlook.may_come || waiting > 0 => Demand::Open {
                // Pools start no more workers than they may have, and the figure changes with every job.
                unseated: waiting.saturating_sub(free).min(MAX_UNSEATED),
            },
            Phase::Running if counts.jobs() > 0 => Demand::Last,
            Phase::Running | Phase::Draining | Phase::Cancelling => Demand::Over,
            Phase::Killing => Demand::Killed,
        }
    }

    /// The performers of the jobs.
    #[cfg(test)]
    pub(super) fn performers(&self) -> &super::performers::Performers {
        self.seated.performers()
    }

    /// Takes the breakers whose state has changed since this was asked last.
    pub(super) fn changed_breakers(&mut self) -> Vec<BreakerReport> {
        self.breakers.take_changed()
    }

    /// Reports what the breakers did that have opened.
    pub(super) fn breakers(&self, now: Instant) -> Vec<BreakerReport> {
        self.breakers.reports(now)
    }

    /// Returns the controls of how many jobs run at once.
    pub(super) fn capacity(&mut self) -> Capacity<'_> {
        self.seated.capacity()
    }
}

/// Emits the event that a failed attempt is followed by another one.
pub(super) fn tell_retry(entry: &JobEntry, failure: &Failure, when: Instant, turn: Turn<'_>) {
    turn.emit_of_job(|| {
        let wait = when.saturating_duration_since(turn.now).as_millis();
        Event::AttemptFailed {
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
