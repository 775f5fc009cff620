//! The queue of a run together with the seats of its performers and the slots of its places.

use std::sync::Arc;
use std::time::Instant;

use ratchet_ipc::HostName;
use tokio::task::JoinSet;

use super::arrival::{Arrival, Refused};
use super::capacity::Capacity;
use super::demand::PoolDemand;
use super::ended_attempt::EndedAttempt;
use super::entry::{EntryState, JobEntry};
use super::kinds::Kinds;
use super::observers::Turn;
use super::performers::Performers;
use super::places::Places;
use super::queue::{Freed, Queue};
use super::reuse::CacheKey;
use super::routes::{Route, RouteId};
use super::seating::{KnownRoutes, Seating};
use crate::dispatch::{Assignment, PoolKey, ReplyTo, Reporter, StopRequest};
use crate::ids::KindId;
use crate::ids::{PlaceId, PlaceName, SlotNumber, Ticket, WorkerName};
use crate::job::ResourceNeed;
use crate::outcome::Failure;
use crate::scheduling::{AfterAttempt, Decision, ResourceShare, SchedulerLoad};
use crate::trace_context::RunTrace;

/// Where a started attempt is performed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Started {
    /// This process performs the attempt.
    Here,
    /// The attempt is on its way to this worker of a pool.
    On(WorkerName),
    /// The connection of the worker has ended, so the attempt could not be sent. It still holds its claims and its
    /// seat.
    Unsent,
}

/// Owns the queue of a run and the [`Seating`] of its attempts, and changes both in one step.
///
/// The scheduler lets no job start for which there is no seat or no slot, so it has to know how many jobs of each route
/// can start. Each method of this type that changes the queue, seats or slots tells the scheduler in the same step, and
/// so does each method of [`Capacity`].
pub(super) struct SeatedQueue {
    queue: Queue,
    seating: Seating,
    reporter: Reporter,
    /// The place of the run in a trace, if it is traced.
    trace: Option<RunTrace>,
    /// The tasks that watch the places. Dropping the set ends them.
    _watches: JoinSet<()>,
}

impl SeatedQueue {
    /// Makes the queue of a run from its parts. `reporter` gets the reports of the performers.
    pub(super) fn new(
        queue: Queue,
        performers: Performers,
        places: Places,
        watches: JoinSet<()>,
        reporter: Reporter,
    ) -> Self {
        let mut seated = Self {
            queue,
            seating: Seating::new(performers, places),
            reporter,
            trace: None,
            _watches: watches,
        };
        let (seating, queue) = (&seated.seating, &mut seated.queue);
        // No pool has a seat before its first worker is offered.
        for kind in seating.performers().pool_kinds() {
            seating.tell_of_kind(kind, queue);
        }
        if seating.places().are_several() {
            seating.tell_of_all(queue);
        }
        seated
    }

    /// Has each attempt be told its span in this trace.
    pub(super) fn traced(mut self, trace: Option<RunTrace>) -> Self {
        self.trace = trace;
        self
    }

    /// Returns the queue, which holds the jobs that wait, were sent ahead or run.
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Returns the performers of the jobs.
    pub(super) fn performers(&self) -> &Performers {
        self.seating.performers()
    }

    /// Returns the places of the run.
    pub(super) fn places(&self) -> &Places {
        self.seating.places()
    }

    /// Returns the handle through which seats, slots and limits change.
    pub(super) fn capacity(&mut self) -> Capacity<'_> {
        Capacity::new(&mut self.queue, &mut self.seating)
    }

    /// Returns the handle through which pools are told how much work is left for them.
    pub(super) fn pool_demand(&mut self) -> PoolDemand<'_> {
        PoolDemand::new(&self.queue, &mut self.seating)
    }

    /// Returns how many jobs wait and run, and how many slots they fill.
    pub(super) fn load(&self) -> SchedulerLoad {
        let load = self.queue.load();
        if !self.places().are_several() {
            return load;
        }
        SchedulerLoad {
            slots: load.slots.min(self.places().total()),
            ..load
        }
    }

    /// Returns the first of the slots that an attempt holds.
    pub(super) fn slot(&self, ticket: Ticket) -> Option<SlotNumber> {
        if self.places().are_several() {
            self.places().slot(ticket)
        } else {
            self.queue.scheduler().slot(ticket)
        }
    }

    /// Returns the name of the place where an attempt runs; `None` for the local place.
    pub(super) fn place_of(&self, ticket: Ticket) -> Option<PlaceName> {
        let place = self.queue.find(ticket)?.at;
        (place != PlaceId::LOCAL).then(|| self.places().name(place).clone())
    }

    /// Returns the entry of a job, for changes that concern only the job.
    pub(super) fn entry_mut(&mut self, ticket: Ticket) -> &mut JobEntry {
        self.queue.get_mut(ticket)
    }

    /// Charges the time until `now` to the blockers of waiting jobs. It has to come before any change of a turn,
    /// because the time belongs to the state before the change.
    pub(super) fn pass_time(&mut self, now: Instant) {
        self.queue.pass_time(now);
    }

    // Jobs come and go.

    /// Puts a job into the queue.
    pub(super) fn push(
        &mut self,
        arrival: Arrival,
        kind: KindId,
        kinds: &Kinds,
        cache_key: Option<Box<CacheKey>>,
        now: Instant,
    ) -> Result<Ticket, Box<Refused>> {
        let known = KnownRoutes::of(&self.queue);
        let target = match self.seating.target((&arrival.job, 0), kind, kinds) {
            Ok(target) => target,
            Err(failure) => return Err(Box::new(Refused::new(arrival, failure))),
        };
        let ticket = self.queue.push(arrival, target, kinds, cache_key, now)?;
        self.seating.tell_of_new(known, &mut self.queue);
        Ok(ticket)
    }

    /// Puts a job into the queue again, as [`Queue::requeue`] does.
    pub(super) fn requeue(
        &mut self,
        entry: JobEntry,
        kinds: &Kinds,
        times: (Instant, Instant),
    ) -> Result<Ticket, (Box<JobEntry>, Failure)> {
        let known = KnownRoutes::of(&self.queue);
        let job = (&*entry.job, entry.memory_kills);
        let target = match self.seating.target(job, entry.kind, kinds) {
            Ok(target) => target,
            Err(failure) => return Err((Box::new(entry), failure)),
        };
        let ticket = self.queue.requeue(entry, target, kinds, times)?;
        self.seating.tell_of_new(known, &mut self.queue);
        Ok(ticket)
    }

    /// Removes a waiting job.
    pub(super) fn cancel(&mut self, ticket: Ticket) -> JobEntry {
        self.queue.cancel(ticket)
    }

    /// Removes a job whose last attempt was [freed](Self::free).
    pub(super) fn take(&mut self, ticket: Ticket) -> JobEntry {
        self.queue.take(ticket)
    }

    /// Lets an equal job compute, as [`Queue::failed`] does.
    pub(super) fn failed(&mut self, ticket: Ticket, cache_key: Box<CacheKey>) {
        self.queue.failed(ticket, cache_key);
    }

    /// Returns the jobs that are equal to one that has a result, as [`Queue::succeeded`] does.
    pub(super) fn succeeded(
        &mut self,
        ticket: Ticket,
        cache_key: &CacheKey,
    ) -> Vec<(Ticket, Box<CacheKey>)> {
        self.queue.succeeded(ticket, cache_key)
    }

    /// Lets a parked job compute its own result, as [`Queue::compute_alone`] does.
    pub(super) fn compute_alone(&mut self, ticket: Ticket, cache_key: Option<Box<CacheKey>>) {
        self.queue.compute_alone(ticket, cache_key);
    }

    /// Removes a job in any state. Its seat stays taken, because its worker may still be busy with the attempt.
    pub(super) fn give_up(&mut self, ticket: Ticket) -> JobEntry {
        let entry = self.queue.give_up(ticket);
        if let Some(place) = self.seating.places_mut().give_back(ticket) {
            self.seating.tell_of_place(place, &mut self.queue);
        }
        entry
    }

    // Attempts begin.

    /// Decides which job starts now. `admit` is called before a job takes its claims, and can refuse it until a moment.
    /// The caller has to [start](Self::start) a returned job.
    pub(super) fn pop_if(
        &mut self,
        now: Instant,
        admit: impl FnMut(&JobEntry) -> Result<(), Instant>,
    ) -> Decision {
        self.queue.pop_if(now, admit)
    }

    /// Reserves a place for a job that is due, as [`Seating::update_reserved`] does. Returns whether more jobs may start
    /// because of that.
    pub(super) fn update_reserved(&mut self) -> bool {
        self.seating.update_reserved(&mut self.queue)
    }

    /// Keeps a waiting job from starting before this moment.
    pub(super) fn postpone(&mut self, ticket: Ticket, not_before: Instant) {
        self.queue.postpone(ticket, not_before);
    }

    /// Starts an attempt of a job that was popped, and sends it to a performer.
    pub(super) fn start(&mut self, ticket: Ticket, now: Instant) -> Started {
        let place = self.take_slots(ticket);
        self.queue.start(ticket, place, now);
        let entry = self.queue.get(ticket);
        let (key, is_rated) = (entry.pool(), entry.is_rated);
        let assignment = self.assignment(entry, entry.attempts, false);
        let Some(pool) = self.seating.performers_mut().pool(key) else {
            let mut shares = assignment.resources.iter().flat_map(|shares| shares.iter());
            let units = shares.find(|share| share.name() == ResourceNeed::MEMORY);
            let units = units.map(ResourceShare::units);
            let memory = entry.job.terms.memory_after(entry.memory_kills, units);
            self.seating
                .performers_mut()
                .perform_here(ticket, assignment, (place, memory));
            if self.places().are_several() {
                self.seating.tell_of_place(place, &mut self.queue);
            }
            return Started::Here;
        };
        let host = assignment.job.host.as_ref().map(HostName::as_str);
        #[expect(
            clippy::expect_used,
            reason = "the scheduler was told of each change of the number of free seats"
        )]
        let seat = (pool.seats.take(host))
            .expect("the scheduler starts no more attempts of a kind than it has free seats");
        let (link, worker) = (pool.seats.link(seat).clone(), pool.seats.name(seat).clone());
        let is_uncertain = is_rated && !pool.seats.is_proven(seat);
        self.queue.take_seat(ticket, seat);
        if link.perform(assignment).is_err() {
            return Started::Unsent;
        }
        if is_uncertain {
            self.queue.begins_later(ticket);
            self.seating.tell_of_all(&mut self.queue);
        } else if self.queue.has_rates() || self.places().are_several() {
            // The scheduler has counted the seat down only for the route of this job, and other routes use the same
            // seats.
            self.seating.tell_of_pool(key, &mut self.queue);
        }
        Started::On(worker)
    }

    /// Chooses the place of an attempt that starts, and takes its slots there. Returns the place.
    fn take_slots(&mut self, ticket: Ticket) -> PlaceId {
        if !self.places().are_several() {
            return PlaceId::LOCAL; // The scheduler counts them.
        }
        let id = self.queue.get(ticket).route;
        let route = self.queue.routes().get(id);
        let place = self.seating.choose_place(id, route);
        self.seating.places_mut().take(ticket, place, route);
        place
    }

    /// Sends one job of a kind ahead. Returns whether there was such a job, and room for it on a worker.
    pub(super) fn send_one_ahead(&mut self, kind: KindId, now: Instant) -> bool {
        let counts = self.queue.count(kind);
        if counts.running == 0 || counts.waiting == 0 {
            return false;
        }
        if !self.places().are_several() {
            let route = self.queue.routes().plain(kind, false);
            return self.send_one_of(route, PlaceId::LOCAL, now);
        }
        let routes: Vec<RouteId> = self.queue.routes().of_kind(kind).collect();
        routes.into_iter().any(|route| {
            let Route {
                places, is_rated, ..
            } = self.queue.routes().get(route);
            // Only jobs that take one slot and no other claim are sent ahead.
            if is_rated
                || self.queue.routes().get(route).is_heavy()
                || self.queue.waiting_on(route) == 0
            {
                return false;
            }
            let places = self.places().members(places).to_vec();
            let mut places = places.into_iter();
            places.any(|place| self.send_one_of(route, place, now))
        })
    }

    /// Sends one job of a route ahead to a worker at a place. Returns whether there was such a job, and room for it on
    /// a worker.
    fn send_one_of(&mut self, route: RouteId, place: PlaceId, now: Instant) -> bool {
        if self.places().is_held(place) {
            return false;
        }
        let kind = self.queue.routes().get(route).kind;
        let Some(pool) = self.seating.performers_mut().pool(PoolKey { kind, place }) else {
            return false; // What runs in this process is never sent ahead.
        };
        let Some(seat) = pool.seats.take_ahead() else {
            return false;
        };
        let Some(ticket) = self.queue.pop_ahead(route, (place, seat), now) else {
            pool.seats.note_returned(seat, now);
            return false;
        };
        let link = pool.seats.link(seat).clone();
        let entry = self.queue.get(ticket);
        let assignment = self.assignment(entry, entry.attempts + 1, true);
        if link.perform(assignment).is_err() {
            self.put_back(ticket, true, now);
        }
        true
    }

    fn assignment(&self, entry: &JobEntry, attempt: u32, ahead: bool) -> Assignment {
        Assignment {
            job: Arc::clone(&entry.job),
            attempt,
            ahead,
            // An attempt that is sent ahead holds no slot yet.
            slot: self.slot(entry.ticket),
            // A job that takes resources is never sent ahead.
            resources: self.shares(entry),
            trace: (self.trace).map(|trace| trace.attempt(&entry.job.id, attempt)),
            reply: ReplyTo::Loop {
                ticket: entry.ticket,
                reporter: self.reporter.clone(),
            },
        }
    }

    /// Returns the resources that a running attempt holds; `None` if its job takes none.
    pub(super) fn shares(&self, entry: &JobEntry) -> Option<Arc<[ResourceShare]>> {
        let granted = entry.job.terms.granted.as_ref();
        let granted = granted.map(|granted| &granted.resources);
        let granted = granted.filter(|granted| !granted.is_empty());
        if entry.job.terms.resources.is_empty() {
            return granted.map(Arc::clone);
        }
        let mut shares = self.queue.scheduler().shares(entry.ticket);
        shares.extend(self.places().shares(entry.ticket));
        shares.extend(
            granted
                .into_iter()
                .flat_map(|granted| granted.iter().cloned()),
        );
        Some(shares.into())
    }

    // Attempts end.

    /// Records that an attempt has ended. It keeps its claims and its seat until it is [freed](Self::free).
    pub(super) fn note_end(&mut self, ticket: Ticket, attempted: &mut EndedAttempt, now: Instant) {
        attempted.slot = self.slot(ticket);
        attempted.place = self.place_of(ticket);
        self.queue.note_end(ticket, attempted, now);
        let pool = self.queue.get(ticket).pool();
        self.seating.performers_mut().note_ran(pool, attempted.ran);
        if self.queue.began_by_now(ticket, now) {
            self.seating.tell_of_all(&mut self.queue);
        }
    }

    /// Frees the claims and the seat of an attempt. If an attempt that was sent ahead has begun in its place, it gets
    /// the slot and the seat in the same step, and is returned with its worker.
    ///
    /// The caller has to continue with the job as [`Queue::free`] says.
    pub(super) fn free(
        &mut self,
        ticket: Ticket,
        end: AfterAttempt,
        next: Option<Ticket>,
        now: Instant,
    ) -> Option<(Ticket, Option<WorkerName>)> {
        let Freed {
            pool: key,
            seat,
            next,
        } = self.queue.free(ticket, end, next, now);
        let mut worker = None;
        if let (Some(pool), Some(seat)) = (self.seating.performers_mut().pool(key), seat) {
            worker = next.map(|_| pool.seats.name(seat).clone());
            pool.seats.ended(seat, next.is_some(), now);
        }
        if self.places().are_several() {
            match next {
                Some(next) => self.seating.places_mut().pass_on(ticket, next),
                None => drop(self.seating.places_mut().give_back(ticket)),
            }
        }
        self.seating.tell_of_pool(key, &mut self.queue);
        next.map(|next| (next, worker))
    }

    /// Makes a job wait for another attempt, because its freed attempt has failed.
    pub(super) fn wait_again(&mut self, ticket: Ticket, failure: Box<Failure>, now: Instant) {
        self.queue.wait_again(ticket, failure, now);
    }

    /// Makes a waiting job need more memory, because an attempt ran out of it.
    pub(super) fn raise_memory(&mut self, ticket: Ticket, now: Instant) {
        let known = KnownRoutes::of(&self.queue);
        let entry = self.queue.get_mut(ticket);
        entry.memory_kills += 1;
        let (job, kills, route) = (Arc::clone(&entry.job), entry.memory_kills, entry.route);
        let route = self.queue.routes().get(route);
        // With too many different needs the job goes on taking what it took.
        let needs = (self.seating.places_mut()).needs_of(&job.terms, kills, route.places);
        let needs = needs.unwrap_or(route.needs);
        let members = self.seating.places().members(route.places);
        self.queue.raise_memory(ticket, needs, members, now);
        self.seating.tell_of_new(known, &mut self.queue);
    }

    /// Takes back an attempt that the scheduler counts as running but that never began. Its job waits as if it had not
    /// started. Returns the same as [`free`](Self::free).
    pub(super) fn take_back(
        &mut self,
        ticket: Ticket,
        next: Option<Ticket>,
        withdrawn: bool,
        turn: Turn<'_>,
    ) -> Option<(Ticket, Option<WorkerName>)> {
        self.withdraw(ticket, withdrawn);
        if self.queue.never_began(ticket) {
            self.seating.tell_of_all(&mut self.queue);
        }
        let entry = self.queue.get(ticket);
        let seats = entry.seat.zip(self.performers().seats(entry.pool()));
        let worker = seats.map(|(seat, seats)| seats.name(seat).clone());
        let slot = (self.slot(ticket), self.place_of(ticket));
        self.queue.note_return(ticket, slot, worker, turn);
        let entry = self.queue.get(ticket);
        let (key, seat) = (entry.pool(), entry.seat);
        if let (Some(pool), Some(seat)) = (self.seating.performers_mut().pool(key), seat) {
            pool.seats.note_undone(seat);
        }
        let begun = self.free(ticket, AfterAttempt::Again(turn.now), next, turn.now);
        self.queue.uncharge(ticket, turn.now);
        begun
    }

    /// Takes back an attempt that was sent ahead. Its job waits at its old position.
    pub(super) fn put_back(&mut self, ticket: Ticket, withdrawn: bool, now: Instant) {
        self.withdraw(ticket, withdrawn);
        let entry = self.queue.get(ticket);
        let (key, seat) = (entry.pool(), entry.seat);
        self.queue.put_back(ticket);
        if let (Some(pool), Some(seat)) = (self.seating.performers_mut().pool(key), seat) {
            pool.seats.note_returned(seat, now);
        }
        self.seating.tell_of_pool(key, &mut self.queue);
    }

    /// Withdraws the seats of the worker that has an attempt, if it takes no more attempts.
    fn withdraw(&mut self, ticket: Ticket, withdrawn: bool) {
        let entry = self.queue.get(ticket);
        if let (Some(pool), Some(seat), true) = (
            self.seating.performers_mut().pool(entry.pool()),
            entry.seat,
            withdrawn,
        ) {
            pool.seats.withdraw(seat);
        }
    }

    // Attempts are stopped.

    /// Returns the next waiting job whose queue deadline has passed. A job that was sent ahead is recalled instead, and
    /// its deadline is due again when it comes back.
    pub(super) fn pop_past_deadline(&mut self, now: Instant) -> Option<Ticket> {
        loop {
            let entry = self.queue.pop_past_deadline(now)?;
            let ticket = entry.ticket;
            match entry.state() {
                EntryState::Waiting | EntryState::Parked => return Some(ticket),
                EntryState::Ahead => self.stop(ticket, StopRequest::Recall),
                // The job has started in this turn.
                EntryState::Running => {}
            }
        }
    }

    /// Stops an attempt that runs or was sent ahead.
    pub(super) fn stop(&mut self, ticket: Ticket, mode: StopRequest) {
        let entry = self.queue.get(ticket);
        (self.seating.performers_mut()).stop(entry.pool(), entry.seat, ticket, mode);
    }

    /// Sends this request to all running attempts, if there is one, and recalls those that were sent ahead.
    pub(super) fn stop_all(&mut self, mode: Option<StopRequest>) {
        for entry in self.queue.entries() {
            let mode = match (entry.state(), mode) {
                (EntryState::Running, Some(mode)) => mode,
                (EntryState::Ahead, _) => StopRequest::Recall,
                (EntryState::Running, None) | (EntryState::Waiting | EntryState::Parked, _) => {
                    continue;
                }
            };
            (self.seating.performers_mut()).stop(entry.pool(), entry.seat, entry.ticket, mode);
        }
    }

    /// Recalls the attempts that lie in the pipes of busy workers while other workers of the same pool are idle.
    pub(super) fn recall(&mut self, now: Instant) {
        self.seating.performers_mut().recall(now);
    }
}
