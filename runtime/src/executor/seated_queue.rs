//! The queue of a run together with the seats of its performers and the slots of its places.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_ipc::HostName;
use tokio::task::JoinSet;

use super::arrival::{Arrival, Refused};
use super::ended_attempt::EndedAttempt;
use super::entry::{EntryState, JobEntry};
use super::kinds::Kinds;
use super::observers::Turn;
use super::performers::Performers;
use super::places::Places;
use super::queue::{Capacity, Freed, Queue};
use super::reuse::StorePermit;
use super::routes::{NeedsId, PlaceSetId, Route, RouteId};
use crate::Error;
use crate::dispatch::{Assignment, Demand, PoolKey, ReplyTo, Reporter, StopRequest, WorkerNumber};
use crate::ids::KindId;
use crate::ids::{PlaceId, PlaceName, SlotNumber, Ticket, WorkerName};
use crate::job::Job;
use crate::outcome::{Class, Failure};
use crate::process::Seats;
use crate::scheduling::{AfterAttempt, Decision, ResourceShare, SchedulerLoad, Workers};
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

/// Owns the queue of a run, the performers of its jobs, and the places where they run.
///
/// The scheduler lets no job start for which there is no seat or no slot, so it has to know how many jobs of each route
/// can start. Each method of this type that changes the queue, seats or slots tells the scheduler in the same step.
pub(super) struct SeatedQueue {
    queue: Queue,
    performers: Performers,
    places: Places,
    /// How many slots the local place had when the run began.
    configured_slots: u32,
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
            performers,
            places,
            configured_slots: 0,
            reporter,
            trace: None,
            _watches: watches,
        };
        seated.configured_slots = seated.local_slots();
        // No pool has a seat before its first worker is offered.
        for kind in seated.performers.pool_kinds() {
            seated.count_kind(kind);
        }
        if seated.places.are_several() {
            seated.count_all_seats();
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
        &self.performers
    }

    /// Returns how many jobs wait and run, and how many slots they fill.
    pub(super) fn load(&self) -> SchedulerLoad {
        let load = self.queue.load();
        if !self.places.are_several() {
            return load;
        }
        SchedulerLoad {
            slots: load.slots.min(self.places.total()),
            ..load
        }
    }

    /// Returns the first of the slots that an attempt holds.
    pub(super) fn slot(&self, ticket: Ticket) -> Option<SlotNumber> {
        if self.places.are_several() {
            self.places.slot(ticket)
        } else {
            self.queue.scheduler().slot(ticket)
        }
    }

    /// Returns the name of the place where an attempt runs; `None` for the local place.
    pub(super) fn place_of(&self, ticket: Ticket) -> Option<PlaceName> {
        let place = self.queue.find(ticket)?.at;
        (place != PlaceId::LOCAL).then(|| self.places.name(place).clone())
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
        store_permit: Option<Box<StorePermit>>,
        now: Instant,
    ) -> Result<Ticket, Box<Refused>> {
        let (room, needs) = match self.places_for((&arrival.job, 0), kind, kinds) {
            Ok(found) => found,
            Err(failure) => return Err(Box::new(Refused::new(arrival, failure))),
        };
        let known = (self.queue.has_rates(), self.queue.routes().len());
        let target = self.places.target(kind, room, needs);
        let ticket = self.queue.push(arrival, target, kinds, store_permit, now)?;
        self.count_new(known);
        Ok(ticket)
    }

    /// Puts a job into the queue again, with the record of its attempts.
    pub(super) fn requeue(
        &mut self,
        entry: JobEntry,
        kinds: &Kinds,
        now: Instant,
    ) -> Result<Ticket, (Box<JobEntry>, Failure)> {
        let job = (&*entry.job, entry.memory_kills);
        let (room, needs) = match self.places_for(job, entry.kind, kinds) {
            Ok(found) => found,
            Err(failure) => return Err((Box::new(entry), failure)),
        };
        let known = (self.queue.has_rates(), self.queue.routes().len());
        let target = self.places.target(entry.kind, room, needs);
        let ticket = self.queue.requeue(entry, target, kinds, now)?;
        self.count_new(known);
        Ok(ticket)
    }

    /// Finds out on which places a job can run, and what it takes there: slots, and resources after this many attempts
    /// that ran out of memory. It fails if none of the places can ever run the job.
    fn places_for(
        &mut self,
        (job, memory_kills): (&Job, u32),
        kind: KindId,
        kinds: &Kinds,
    ) -> Result<((PlaceSetId, u32), NeedsId), Failure> {
        let places = (self.places).set_of(kinds.placement(kind, job)?, job.host.as_ref())?;
        let (places, slots) = self.fit_slots(places, job.terms.slots);
        let needs = self.places.needs_of(&job.terms, memory_kills, places)?;
        if let Some(failure) = self.places.lack_resources(places, needs) {
            return Err(failure);
        }
        self.refusal(kind, places, slots)
            .map_or(Ok(((places, slots), needs)), Err)
    }

    /// Decides how many slots a job fills that comes now and may run on these places.
    ///
    /// The local place may have fewer slots than when the run began, because somebody has lowered their number for a
    /// while. A job that only the local place was large enough for then fills all slots that there are. It would fail
    /// for a change that nobody made with this job in view, or wait for a change that may never come.
    fn fit_slots(&self, places: PlaceSetId, slots: u32) -> (PlaceSetId, u32) {
        let local = self.local_slots();
        let is_lowered = slots > local && slots <= self.configured_slots;
        if is_lowered && self.needs_local(places, slots) {
            // At any other place the job would get fewer slots than it needs.
            (PlaceSetId::LOCAL, local)
        } else {
            (places, slots)
        }
    }

    /// Returns how many slots the local place has, which are all slots of a run without other places.
    fn local_slots(&self) -> u32 {
        if self.places.are_several() {
            // It is known, because the local place is never away.
            self.places.most_slots(PlaceSetId::LOCAL).unwrap_or(0)
        } else {
            self.queue.load().slots
        }
    }

    /// Whether no place of a set but the local one, which belongs to it, is known to be large enough for a job of so many
    /// slots.
    fn needs_local(&self, places: PlaceSetId, slots: u32) -> bool {
        let has_local = self.places.members(places).contains(&PlaceId::LOCAL);
        has_local && !self.places.others_had_slots(places, slots)
    }

    /// Whether a job that is not queued may have to run at the local place, and fill so many slots there as its terms
    /// say.
    fn may_need_local(&mut self, job: &Job, kinds: &Kinds) -> bool {
        kinds.placements(job).into_iter().any(|placement| {
            let places = self.places.set_of(placement, job.host.as_ref());
            // A job that names no place of the run is refused when it is queued.
            places.is_ok_and(|places| self.needs_local(places, job.terms.slots))
        })
    }

    /// Returns why no job of this kind and with this many slots will ever start at these places, if that is so.
    fn refusal(&self, kind: KindId, places: PlaceSetId, slots: u32) -> Option<Failure> {
        if !self.places.are_several() {
            return None;
        }
        if let Some(failure) = self.places.given_up(places) {
            return Some(failure.clone());
        }
        let members = self.places.members(places).iter();
        let mut pools = members.map(|place| PoolKey {
            kind,
            place: *place,
        });
        if let Some(failure) =
            pools.try_fold(None, |_, pool| self.performers.broken(pool).map(Some))
        {
            return failure.cloned();
        }
        let most = self.places.most_slots(places)?;
        (slots > most).then(|| {
            let message = format!(
                "it fills {slots} slots, and no place where it may run has more than {most}"
            );
            Failure::new(Class::Input, message)
        })
    }

    /// Counts the seats for new routes. When the first job that takes tokens has come, it counts the seats of all
    /// routes, because none were counted for such jobs before.
    fn count_new(&mut self, (had_rates, routes): (bool, usize)) {
        if self.queue.has_rates() && !had_rates {
            self.count_all_seats();
        } else {
            for route in self.queue.routes().from(routes) {
                self.count_route(route);
            }
        }
    }

    /// Removes a waiting job.
    pub(super) fn cancel(&mut self, ticket: Ticket) -> JobEntry {
        self.queue.cancel(ticket)
    }

    /// Removes a job whose last attempt was [freed](Self::free).
    pub(super) fn take(&mut self, ticket: Ticket) -> JobEntry {
        self.queue.take(ticket)
    }

    /// Removes a job in any state. Its seat stays taken, because its worker may still be busy with the attempt.
    pub(super) fn give_up(&mut self, ticket: Ticket) -> JobEntry {
        let entry = self.queue.give_up(ticket);
        if let Some(place) = self.places.give_back(ticket) {
            self.count_place(place);
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
        let Some(pool) = self.performers.pool(key) else {
            self.performers.perform_here(ticket, assignment, place);
            if self.places.are_several() {
                self.count_place(place);
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
            self.count_all_seats();
        } else if self.queue.has_rates() || self.places.are_several() {
            // The scheduler has counted the seat down only for the route of this job, and other routes use the same
            // seats.
            self.count_seats(key);
        }
        Started::On(worker)
    }

    /// Chooses the place of an attempt that starts, and takes its slots there. Returns the place.
    fn take_slots(&mut self, ticket: Ticket) -> PlaceId {
        if !self.places.are_several() {
            return PlaceId::LOCAL; // The scheduler counts them.
        }
        let id = self.queue.get(ticket).route;
        let (route, performers) = (self.queue.routes().get(id), &self.performers);
        let has_room = |place| {
            let seats = performers.seats(PoolKey {
                kind: route.kind,
                place,
            });
            match seats {
                None => performers.performs_here(route.kind),
                Some(seats) => seats.free() > 0,
            }
        };
        // An attempt with tokens has to begin at once. So a place whose free workers may all be still loading is the
        // last choice.
        let is_proven = |place| {
            let seats = performers.seats(PoolKey {
                kind: route.kind,
                place,
            });
            has_room(place) && seats.is_none_or(|seats| seats.free_and_proven() > 0)
        };
        let first = (route.is_rated).then(|| self.places.choose(id, route, is_proven));
        #[expect(
            clippy::expect_used,
            reason = "the scheduler was told of each change of the number of starts that are possible"
        )]
        let place = (first
            .flatten()
            .or_else(|| self.places.choose(id, route, has_room)))
        .expect("the scheduler starts no more jobs of a route than places and seats allow");
        self.places.take(ticket, place, route);
        place
    }

    /// Sends one job of a kind ahead. Returns whether there was such a job, and room for it on a worker.
    pub(super) fn send_one_ahead(&mut self, kind: KindId, now: Instant) -> bool {
        let counts = self.queue.count(kind);
        if counts.running == 0 || counts.waiting == 0 {
            return false;
        }
        if !self.places.are_several() {
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
            let places = self.places.members(places).to_vec();
            let mut places = places.into_iter();
            places.any(|place| self.send_one_of(route, place, now))
        })
    }

    /// Sends one job of a route ahead to a worker at a place. Returns whether there was such a job, and room for it on
    /// a worker.
    fn send_one_of(&mut self, route: RouteId, place: PlaceId, now: Instant) -> bool {
        if self.places.is_held(place) {
            return false;
        }
        let kind = self.queue.routes().get(route).kind;
        let Some(pool) = self.performers.pool(PoolKey { kind, place }) else {
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
        if entry.job.terms.resources.is_empty() {
            return None;
        }
        let mut shares = self.queue.scheduler().shares(entry.ticket);
        shares.extend(self.places.shares(entry.ticket));
        Some(shares.into())
    }

    // Attempts end.

    /// Records that an attempt has ended. It keeps its claims and its seat until it is [freed](Self::free).
    pub(super) fn note_end(&mut self, ticket: Ticket, attempted: &mut EndedAttempt, now: Instant) {
        attempted.slot = self.slot(ticket);
        attempted.place = self.place_of(ticket);
        self.queue.note_end(ticket, attempted, now);
        let pool = self.queue.get(ticket).pool();
        self.performers.note_ran(pool, attempted.ran);
        if self.queue.began_by_now(ticket, now) {
            self.count_all_seats();
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
        if let (Some(pool), Some(seat)) = (self.performers.pool(key), seat) {
            worker = next.map(|_| pool.seats.name(seat).clone());
            pool.seats.ended(seat, next.is_some(), now);
        }
        if self.places.are_several() {
            match next {
                Some(next) => self.places.pass_on(ticket, next),
                None => drop(self.places.give_back(ticket)),
            }
        }
        self.count_seats(key);
        next.map(|next| (next, worker))
    }

    /// Makes a job wait for another attempt, because its freed attempt has failed.
    pub(super) fn wait_again(&mut self, ticket: Ticket, failure: Box<Failure>, now: Instant) {
        self.queue.wait_again(ticket, failure, now);
    }

    /// Makes a waiting job need more memory, because an attempt ran out of it.
    pub(super) fn raise_memory(&mut self, ticket: Ticket, now: Instant) {
        let known = (self.queue.has_rates(), self.queue.routes().len());
        let entry = self.queue.get_mut(ticket);
        entry.memory_kills += 1;
        let (job, kills, route) = (Arc::clone(&entry.job), entry.memory_kills, entry.route);
        let route = self.queue.routes().get(route);
        // With too many different needs the job goes on taking what it took.
        let needs = self.places.needs_of(&job.terms, kills, route.places);
        let needs = needs.unwrap_or(route.needs);
        let members = self.places.members(route.places);
        self.queue.raise_memory(ticket, needs, members, now);
        self.count_new(known);
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
            self.count_all_seats();
        }
        let entry = self.queue.get(ticket);
        let seats = entry.seat.zip(self.performers.seats(entry.pool()));
        let worker = seats.map(|(seat, seats)| seats.name(seat).clone());
        let slot = (self.slot(ticket), self.place_of(ticket));
        self.queue.note_return(ticket, slot, worker, turn);
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
        if let (Some(pool), Some(seat)) = (self.performers.pool(key), seat) {
            pool.seats.note_returned(seat, now);
        }
        self.count_seats(key);
    }

    /// Withdraws the seats of the worker that has an attempt, if it takes no more attempts.
    fn withdraw(&mut self, ticket: Ticket, withdrawn: bool) {
        let entry = self.queue.get(ticket);
        if let (Some(pool), Some(seat), true) =
            (self.performers.pool(entry.pool()), entry.seat, withdrawn)
        {
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
                EntryState::Waiting => return Some(ticket),
                EntryState::Ahead => self.stop(ticket, StopRequest::Recall),
                // The job has started in this turn.
                EntryState::Running => {}
            }
        }
    }

    /// Stops an attempt that runs or was sent ahead.
    pub(super) fn stop(&mut self, ticket: Ticket, mode: StopRequest) {
        let entry = self.queue.get(ticket);
        (self.performers).stop(entry.pool(), entry.seat, ticket, mode);
    }

    /// Sends this request to all running attempts, if there is one, and recalls those that were sent ahead.
    pub(super) fn stop_all(&mut self, mode: Option<StopRequest>) {
        for entry in self.queue.entries() {
            let mode = match (entry.state(), mode) {
                (EntryState::Running, Some(mode)) => mode,
                (EntryState::Ahead, _) => StopRequest::Recall,
                (EntryState::Running, None) | (EntryState::Waiting, _) => continue,
            };
            (self.performers).stop(entry.pool(), entry.seat, entry.ticket, mode);
        }
    }

    /// Recalls the attempts that lie in the pipes of busy workers while other workers of the same pool are idle.
    pub(super) fn recall(&mut self, now: Instant) {
        self.performers.recall(now);
    }

    // Seats come and go.

    /// Applies a change to the seats of a pool.
    pub(super) fn change_seats(&mut self, key: PoolKey, change: impl FnOnce(&mut Seats)) {
        if let Some(pool) = self.performers.pool(key) {
            change(&mut pool.seats);
        }
        self.count_seats(key);
    }

    /// Records that a pool has no workers any more. Returns whether no pool of its kind has workers any more.
    pub(super) fn pool_broke(&mut self, key: PoolKey, failure: &Failure) -> bool {
        self.performers.broke(key, failure)
    }

    /// Sets how many slots a place has.
    pub(super) fn set_place(&mut self, place: PlaceId, slots: u32) {
        self.places.set_slots(place, slots);
        self.count_place(place);
    }

    /// Sets the round trip time of a place. It only decides where a job starts, not whether it does, so nothing is
    /// counted.
    pub(super) fn set_round_trip(&mut self, place: PlaceId, round_trip: Option<Duration>) {
        self.places.set_round_trip(place, round_trip);
    }

    /// Holds starts at a place back for this reason, or no longer if it is `None`. It fails if there is no such place.
    pub(super) fn hold_place(
        &mut self,
        place: &str,
        reason: Option<String>,
    ) -> Result<(), Failure> {
        let place = self.places.find(place)?;
        self.places.hold(place, reason);
        self.count_place(place);
        Ok(())
    }

    /// Returns the places of the run.
    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// Records that nothing will ever run at a place again.
    pub(super) fn place_gone(&mut self, place: PlaceId, failure: Failure) {
        self.places.give_up(place, failure);
        self.count_place(place);
    }

    /// Returns the waiting jobs that can never start, each with the reason.
    pub(super) fn unstartable(&self) -> Vec<(Ticket, Failure)> {
        if !self.places.are_several() {
            return Vec::new();
        }
        let waiting = self.queue.entries();
        let waiting = waiting.filter(|entry| entry.state() == EntryState::Waiting);
        let unstartable = waiting.filter_map(|entry| {
            let route = self.queue.routes().get(entry.route);
            let failure = self.refusal(route.kind, route.places, route.slots)?;
            Some((entry.ticket, failure))
        });
        unstartable.collect()
    }

    /// Records that a worker has read a request. If the worker has the attempt that may not have begun, this attempt
    /// has begun by now.
    pub(super) fn proven(&mut self, key: PoolKey, worker: WorkerNumber, now: Instant) {
        self.change_seats(key, |seats| seats.proven(worker));
        let Some(ticket) = self.queue.uncertain() else {
            return;
        };
        let entry = self.queue.get(ticket);
        let seat = entry.seat.filter(|_| entry.pool() == key);
        if let (Some(seats), Some(seat)) = (self.performers.seats(key), seat)
            && seats.number(seat) == worker
            && self.queue.began_by_now(ticket, now)
        {
            self.count_all_seats();
        }
    }

    /// Updates the throughput of pools, which decides how many attempts they send ahead.
    pub(super) fn update_throughput(&mut self) {
        self.performers.update_throughput();
    }

    /// Tells a pool how much work is left for it, if that has changed.
    pub(super) fn demand(&mut self, key: PoolKey, demand: Demand) {
        self.performers.demand(key, demand);
    }

    /// Tells a pool again how much work is left for it.
    pub(super) fn demand_again(&mut self, key: PoolKey, demand: Demand) {
        self.performers.demand_again(key, demand);
    }

    /// Returns how many waiting jobs a pool could be given. If other pools could be given them too, each gets its
    /// share.
    pub(super) fn waiting_for(&self, key: PoolKey) -> usize {
        if !self.places.are_several() {
            return self.queue.count(key.kind).waiting;
        }
        let routes = self.queue.routes().through(key.place).iter();
        let waiting = routes.filter_map(|id| {
            let route = self.queue.routes().get(*id);
            let members = self.places.members(route.places).len();
            (route.kind == key.kind).then(|| self.queue.waiting_on(*id).div_ceil(members))
        });
        waiting.sum()
    }

    /// Tells the scheduler how many attempts of a pool's kind can begin, or if places count their slots, how many can
    /// begin at the place of the pool.
    fn count_seats(&mut self, key: PoolKey) {
        if self.places.are_several() {
            self.count_place(key.place);
        } else if !self.performers.performs_here(key.kind) || self.queue.has_rates() {
            self.count_kind(key.kind);
        }
    }

    /// Tells the scheduler how many attempts can begin on each place, or of each kind if there is only one place.
    fn count_all_seats(&mut self) {
        if self.places.are_several() {
            for place in self.places.ids() {
                self.count_place(place);
            }
        } else {
            for kind in self.performers.kinds() {
                self.count_kind(kind);
            }
        }
    }

    /// Tells the scheduler how many attempts of a kind can begin.
    fn count_kind(&mut self, kind: KindId) {
        self.count_route(self.queue.routes().plain(kind, false));
        if self.queue.has_rates() {
            self.count_route(self.queue.routes().plain(kind, true));
        }
    }

    /// Tells the scheduler how many jobs of each route through a place can start.
    fn count_place(&mut self, place: PlaceId) {
        for at in 0..self.queue.routes().through(place).len() {
            let route = self.queue.routes().through(place)[at];
            if self.queue.routes().get(route).is_rated && !self.queue.has_rates() {
                continue;
            }
            self.count_route(route);
        }
    }

    /// Tells the scheduler how many jobs of a route can start.
    fn count_route(&mut self, id: RouteId) {
        let workers = self.starts_of(id);
        let lacks = match workers {
            Workers::Free(0) | Workers::Full | Workers::Held => {
                self.places.lack(self.queue.routes().get(id))
            }
            _ => None,
        };
        self.queue.set_workers(id, workers, lacks);
    }

    /// Returns how many jobs of a route can start.
    fn starts_of(&self, id: RouteId) -> Workers {
        let route = self.queue.routes().get(id);
        let is_counted = self.places.are_several();
        let (mut free, mut proven, mut has_workers) = (0_u32, 0_u32, false);
        for place in self.places.members(route.places) {
            let key = PoolKey {
                kind: route.kind,
                place: *place,
            };
            let (all, surely) = match self.performers.seats(key) {
                Some(seats) => (seats.free(), seats.free_and_proven()),
                None if self.performers.performs_here(route.kind) => (u32::MAX, u32::MAX),
                None => (0, 0),
            };
            let starts = if is_counted {
                self.places.starts(*place, id, route)
            } else {
                u32::MAX
            };
            has_workers |= all > 0;
            free = free.saturating_add(all.min(starts));
            proven = proven.saturating_add(surely.min(starts));
        }
        if is_counted && free == 0 {
            match self.places.absence(route.places) {
                Some(absence) => return absence,
                None if has_workers => return Workers::Full,
                None => {}
            }
        }
        let starts = if route.is_rated {
            self.queue.rated_starts(free, proven)
        } else {
            free
        };
        if starts == u32::MAX && !is_counted {
            return Workers::Unlimited;
        }
        Workers::Free(starts)
    }

    /// Reserves what is free at one place for a job that is due, that fills several slots or takes resources, and that lacks
    /// nothing else. Frees it when there is no such job any more. Returns whether more jobs may start because of that.
    ///
    /// A job that also waits for the lock of its host could wait for a job that waits for the reserved slots, and neither would
    /// ever start. A job that is not due yet lets others pass, as it does where the scheduler counts the slots.
    pub(super) fn update_reserved(&mut self) -> bool {
        if !self.places.are_several() {
            return false;
        }
        let reserved = self.places.reserved();
        if let Some(reserved) = reserved
            && (self.queue.due_for_worker(reserved.route).is_none()
                || self.places.is_reserved_in_vain())
        {
            self.places.release_reserved();
            self.count_place(reserved.place);
        }
        if self.places.reserved().is_none() {
            let heavy = self.queue.routes().heavy().iter();
            let due = heavy.filter_map(|id| Some((self.queue.due_for_worker(*id)?, *id)));
            let due = due.filter(|(_, id)| self.places.can_reserve(self.queue.routes().get(*id)));
            if let Some((_, id)) = due.min_by_key(|(rank, _)| *rank)
                && let Some(place) = self.places.reserve(id, self.queue.routes().get(id))
            {
                self.count_place(place);
            }
        }
        reserved.is_some() && self.places.reserved() != reserved
    }

    /// Returns the controls of how many jobs run at once.
    pub(super) fn capacity(&mut self) -> Capacity<'_> {
        self.queue.capacity()
    }

    /// Changes the number of slots of the local place. `unqueued` are the unfinished jobs that the run knows and that are
    /// not queued, wherever they wait.
    ///
    /// It is refused if a job of the run needs more slots there: the job could never start, and the run would not end.
    pub(super) fn set_slots<'a>(
        &mut self,
        slots: u32,
        unqueued: impl Iterator<Item = &'a Job>,
        kinds: &Kinds,
    ) -> Result<(), Error> {
        if slots == 0 {
            return Err(Error::ImpossibleSlots { asked: 1, total: 0 });
        }
        if slots < self.local_slots() {
            // A job that needs more than there ever were is refused when it is queued, and holds up nobody.
            let most = self.configured_slots.max(self.local_slots());
            let needed = unqueued
                .filter(|job| (slots + 1..=most).contains(&job.terms.slots))
                .filter(|job| self.may_need_local(job, kinds))
                .map(|job| job.terms.slots);
            let needed = needed.max().max(self.slots_needed_by_queued());
            if let Some(asked) = needed.filter(|needed| *needed > slots) {
                return Err(Error::ImpossibleSlots {
                    asked,
                    total: slots,
                });
            }
        }
        if !self.places.are_several() {
            return self.queue.capacity().set_slots(slots);
        }
        self.set_place(PlaceId::LOCAL, slots);
        Ok(())
    }

    /// Returns how many slots the local place must have for the jobs of the queue, if places count their slots.
    fn slots_needed_by_queued(&self) -> Option<u32> {
        if !self.places.are_several() {
            return None; // The scheduler knows.
        }
        let routes = self.queue.entries().map(|entry| entry.route);
        let routes = routes.map(|route| self.queue.routes().get(route));
        let here = routes.filter(|route| self.needs_local(route.places, route.slots));
        here.map(|route| route.slots).max()
    }
}
