//! The queue of a run: the jobs that wait, were sent ahead or run, and the scheduler that decides which of them starts
//! next.

mod claims;
mod deadlines;
mod entries;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_caching::{ComputePermit, Key};
use ratchet_ipc::{HostName, JobKey};
use smol_str::SmolStr;

use claims::ClaimsBuffer;
use deadlines::QueueDeadlines;
use entries::JobEntries;
pub(super) use entries::KindCounts;

use super::arrival::{Arrival, Refused};
use super::ended_attempt::EndedAttempt;
use super::entry::{EntryState, JobEntry};
use super::equal_jobs::EqualJobs;
use super::kinds::Kinds;
use super::observers::Turn;
use super::reuse::CacheKey;
use super::routes::{NeedsId, Route, RouteId, Routes, Target};
use super::uncertain::UncertainStart;
use crate::Error;
use crate::dispatch::PoolKey;
use crate::ids::KindId;
use crate::ids::{PlaceId, PlaceName, SlotNumber, Ticket, WorkerName};
use crate::job::{Job, ResourceNeed, Work};
use crate::outcome::{AttemptDetail, AttemptEnd, Class, Failure};
use crate::process::SeatId;
use crate::scheduling::{
    AfterAttempt, Blocker, CancelResult, Decision, Limit, ParallelizationHint, Rank, Scheduler,
    SchedulerLoad, SchedulerRequest, Workers,
};

/// What became free when an attempt ended or was returned.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Freed {
    /// The pool to which the attempt was given.
    pub(super) pool: PoolKey,
    /// The seat of the attempt, if it ran on a worker of a pool.
    pub(super) seat: Option<SeatId>,
    /// The attempt that was sent ahead and has begun in its place.
    pub(super) next: Option<Ticket>,
}

/// A job that was pushed to the scheduler.
struct Scheduled {
    ticket: Ticket,
    route: RouteId,
    /// Whether the job takes tokens of a rate.
    is_rated: bool,
}

/// Owns the jobs of a run that wait, were sent ahead or run, and the scheduler that decides which of them starts next.
///
/// The methods of this type change the scheduler and the entries in the same step. So the state of an entry is always
/// the state that the scheduler has for its ticket.
pub(super) struct Queue {
    scheduler: Scheduler,
    entries: JobEntries,
    deadlines: QueueDeadlines,
    routes: Routes,
    uncertain: UncertainStart,
    claims: ClaimsBuffer,
    /// The jobs that have a cache key.
    equal_jobs: EqualJobs<ComputePermit>,
}

impl Queue {
    /// Makes an empty queue for this many kinds of worker. `of_places` names the resources that each place has for
    /// itself, by number.
    pub(super) fn new(mut scheduler: Scheduler, kinds: u16, of_places: Vec<SmolStr>) -> Self {
        scheduler.keep_waits(of_places.clone());
        Self {
            scheduler,
            entries: JobEntries::new(kinds),
            deadlines: QueueDeadlines::default(),
            routes: Routes::new(kinds),
            uncertain: UncertainStart::default(),
            claims: ClaimsBuffer::new(of_places),
            equal_jobs: EqualJobs::default(),
        }
    }

    /// Charges the time until `now` to the blockers of waiting jobs. It has to come before any change of a turn,
    /// because the time belongs to the state before the change.
    pub(super) fn pass_time(&mut self, now: Instant) {
        self.scheduler.pass_time(now);
    }

    /// Returns how long the run has been paused in all.
    pub(super) fn time_paused(&self) -> Duration {
        self.scheduler.time_paused()
    }

    /// Adds a job, which waits from now on and can run as `target` says. If it has a cache key and no permit, an equal job
    /// has to be here.
    pub(super) fn push(
        &mut self,
        arrival: Arrival,
        target: Target<'_>,
        kinds: &Kinds,
        cache_key: Option<Box<CacheKey>>,
        now: Instant,
    ) -> Result<Ticket, Box<Refused>> {
        let came = (arrival.times.needs_met(), arrival.position);
        let scheduled = match self.schedule((&arrival.job, 0), came, target, kinds, now) {
            Ok(scheduled) => scheduled,
            Err(failure) => return Err(Box::new(Refused::new(arrival, failure))),
        };
        let Scheduled {
            ticket,
            route,
            is_rated,
        } = scheduled;
        let mut entry = JobEntry::new(ticket, arrival, (target.kind, route), is_rated, cache_key);
        let deadline = entry.deadline_of_first_start();
        self.deadlines.set(&mut entry, deadline);
        let has_key = entry.cache_key.is_some();
        self.insert(entry);
        if has_key {
            self.join_equal(ticket);
        }
        Ok(ticket)
    }

    /// Adds a job again that had left the queue, with the record of its attempts. It waits for another attempt, which starts
    /// at `not_before` at the earliest.
    pub(super) fn requeue(
        &mut self,
        entry: JobEntry,
        target: Target<'_>,
        kinds: &Kinds,
        (not_before, now): (Instant, Instant),
    ) -> Result<Ticket, (Box<JobEntry>, Failure)> {
        let job = (&*entry.job, entry.memory_kills);
        let came = (entry.times.needs_met(), entry.position);
        match self.schedule(job, came, target, kinds, now) {
            Ok(scheduled) => {
                let Scheduled {
                    ticket,
                    route,
                    is_rated,
                } = scheduled;
                expect_known(self.scheduler.delay_pushed(ticket, not_before));
                let before = entry.ticket;
                self.insert(entry.requeued(ticket, route, is_rated));
                self.give_permit_back(before, ticket);
                Ok(ticket)
            }
            Err(failure) => Err((Box::new(entry), failure)),
        }
    }

    /// Has a waiting job fill as many slots as `target` says.
    pub(super) fn refit(&mut self, ticket: Ticket, target: Target<'_>, now: Instant) {
        let entry = self.entries.get(ticket);
        let (job, kills, old) = (Arc::clone(&entry.job), entry.memory_kills, entry.route);
        let mut route = Route {
            places: target.places,
            needs: target.needs,
            ..self.routes.get(old)
        };
        if target.counts_slots {
            route.slots = target.slots;
        }
        // With too many routes the job goes on filling what it filled.
        let Some(route) = self.routes.find_or_add(route, target.members) else {
            return;
        };
        let claims = &mut self.claims;
        expect_known(claims.collect_resources(&job.terms, kills, &self.scheduler));
        self.entries.reroute(ticket, route);
        let kind_and_slots = (route.scheduled(), target.slots);
        expect_known(self.scheduler.set_kind_and_slots(
            ticket,
            kind_and_slots,
            self.claims.resources(),
            now,
        ));
    }

    /// Returns how many units of a resource the next attempt of a job takes.
    pub(super) fn units_needed(&self, entry: &JobEntry, need: &ResourceNeed) -> u64 {
        claims::units_needed(need, &entry.job.terms, entry.memory_kills, &self.scheduler)
    }

    /// Has a job that waits take more of the resource `memory` from now on, if it is to, since another attempt has ended for
    /// want of it. `needs` are what it takes then of the resources of its place, which is one of `members`.
    pub(super) fn raise_memory(
        &mut self,
        ticket: Ticket,
        needs: NeedsId,
        members: &[PlaceId],
        now: Instant,
    ) {
        let entry = self.entries.get_mut(ticket);
        let (job, kills) = (Arc::clone(&entry.job), entry.memory_kills);
        let taken = &job.terms.resources;
        let grows = job.terms.memory_growth > 1.0;
        if !grows || !taken.iter().any(|need| need.name == ResourceNeed::MEMORY) {
            return;
        }
        let claims = &mut self.claims;
        expect_known(claims.collect_resources(&job.terms, kills, &self.scheduler));
        let old = self.entries.get(ticket).route;
        let route = Route {
            needs,
            ..self.routes.get(old)
        };
        // With too many routes the job goes on taking what it took.
        let route = self.routes.find_or_add(route, members).unwrap_or(old);
        self.entries.reroute(ticket, route);
        let kind = route.scheduled();
        expect_known(self.scheduler.set_kind_and_resources(
            ticket,
            kind,
            self.claims.resources(),
            now,
        ));
    }

    /// Pushes a job to the scheduler, after this many attempts that ran out of memory.
    fn schedule(
        &mut self,
        (job, memory_kills): (&Job, u32),
        came: (Instant, u64),
        target: Target<'_>,
        kinds: &Kinds,
        now: Instant,
    ) -> Result<Scheduled, Failure> {
        let terms = &job.terms;
        let wrong = |error: Error| Failure::new(Class::Input, error.to_string());
        let (claims, scheduler) = (&mut self.claims, &self.scheduler);
        let limits = claims.collect_limits(terms, scheduler).map_err(wrong)?;
        let names_rate = limits.iter().any(|id| scheduler.is_rate(*id));
        claims
            .collect_resources(terms, memory_kills, scheduler)
            .map_err(wrong)?;
        let hint = kinds.hint(job)?;
        let task = match &job.work {
            Work::Task { task, .. } => task.as_str(),
            Work::Command(_) | Work::Closure(_) | Work::Refused { .. } | Work::Ended(_) => {
                job.task_name()
            }
        };
        let is_rated = names_rate || matches!(hint, ParallelizationHint::RateLimited { .. });
        let route = Route {
            kind: target.kind,
            places: target.places,
            slots: if target.counts_slots { target.slots } else { 1 },
            needs: target.needs,
            is_rated,
        };
        let Some(route) = self.routes.find_or_add(route, target.members) else {
            let message = "the jobs of this run have too many different combinations of worker, places and slots";
            return Err(Failure::new(Class::Input, message));
        };
        let request = SchedulerRequest {
            task,
            kind: route.scheduled(),
            priority: terms.priority,
            slots: target.slots,
            hint,
            host: job.host.as_ref().map(HostName::as_str),
            limits: self.claims.limits(),
            resources: self.claims.resources(),
        };
        let ticket = (self.scheduler.push_late(request, came, now)).map_err(wrong)?;
        Ok(Scheduled {
            ticket,
            route,
            is_rated,
        })
    }

    fn insert(&mut self, entry: JobEntry) {
        if entry.is_rated {
            self.uncertain.note_rate();
        }
        self.entries.insert(entry);
    }

    /// Returns the job of a ticket, unless it has left the queue.
    pub(super) fn find(&self, ticket: Ticket) -> Option<&JobEntry> {
        self.entries.find(ticket)
    }

    /// Returns the job of a ticket that is in the queue.
    pub(super) fn get(&self, ticket: Ticket) -> &JobEntry {
        self.entries.get(ticket)
    }

    /// Returns the entry of a job, to change what concerns only the job and not the scheduler.
    pub(super) fn get_mut(&mut self, ticket: Ticket) -> &mut JobEntry {
        self.entries.get_mut(ticket)
    }

    /// Iterates over all jobs of the queue.
    pub(super) fn entries(&self) -> impl Iterator<Item = &JobEntry> {
        self.entries.iter()
    }

    /// Returns the tickets of the jobs for which the condition holds.
    pub(super) fn tickets(&self, is_wanted: impl Fn(&JobEntry) -> bool) -> Vec<Ticket> {
        let wanted = self.entries().filter(|entry| is_wanted(entry));
        wanted.map(|entry| entry.ticket).collect()
    }

    /// Returns how many jobs of a kind are in each state.
    pub(super) fn count(&self, kind: KindId) -> KindCounts {
        self.entries.count(kind)
    }

    /// Returns how many jobs run or were sent ahead.
    pub(super) fn count_begun(&self) -> usize {
        self.entries.count_begun()
    }

    /// Returns the number of jobs in the queue.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the scheduler for reading.
    pub(super) fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Returns how many jobs wait and run, and how many slots they fill.
    pub(super) fn load(&self) -> SchedulerLoad {
        self.scheduler.load()
    }

    /// Decides which job starts now. `admit` is called before a job takes its claims, and can refuse it until a moment.
    /// The caller has to [start](Self::start) a returned job here as well.
    pub(super) fn pop_if(
        &mut self,
        now: Instant,
        mut admit: impl FnMut(&JobEntry) -> Result<(), Instant>,
    ) -> Decision {
        let entries = &mut self.entries;
        self.scheduler.pop_if(now, |ticket| {
            let entry = entries.get_mut(ticket);
            let admitted = admit(entry);
            entry.rejected = admitted.is_err();
            admitted
        })
    }

    /// Keeps a waiting job from starting before this moment.
    pub(super) fn postpone(&mut self, ticket: Ticket, not_before: Instant) {
        expect_known(self.scheduler.postpone(ticket, not_before));
    }

    /// Starts an attempt of a job that was popped, or that was sent ahead and has begun, at this place.
    pub(super) fn start(&mut self, ticket: Ticket, place: PlaceId, now: Instant) {
        let entry = self.entries.enter(ticket, EntryState::Running);
        entry.at = place;
        expect_known(self.scheduler.take_waits(ticket, &mut entry.times.waits));
        entry.since = now;
        entry.first_start.get_or_insert(now);
        entry.attempts += 1;
        self.deadlines.set(entry, None);
        if entry.cache_key.is_some() {
            self.take_permit(ticket);
        }
    }

    /// Computes when an ended attempt began, and charges the rest of the time since its start to its way.
    pub(super) fn note_end(&mut self, ticket: Ticket, attempted: &mut EndedAttempt, now: Instant) {
        let entry = self.entries.get_mut(ticket);
        let (started, way) = (entry.since, way(entry));
        let began = entry.times.attempt_ended(started, attempted.ran, way, now);
        attempted.began = Some(began);
    }

    /// Records that an attempt came back from this worker at this place without having begun.
    pub(super) fn note_return(
        &mut self,
        ticket: Ticket,
        (slot, place): (Option<SlotNumber>, Option<PlaceName>),
        worker: Option<WorkerName>,
        turn: Turn<'_>,
    ) {
        let entry = self.entries.get_mut(ticket);
        let lost = entry.in_state_for(turn.now);
        entry.times.waits.add(way(entry), lost);
        entry.times.push(AttemptDetail {
            number: entry.attempts,
            slot,
            place,
            worker,
            started: turn.observers.at(entry.since),
            duration: Duration::ZERO,
            usage: None,
            end: AttemptEnd::Returned,
            failure: None,
        });
    }

    /// Records the seat on which a started job runs.
    pub(super) fn take_seat(&mut self, ticket: Ticket, seat: SeatId) {
        self.entries.get_mut(ticket).seat = Some(seat);
    }

    /// Takes the next job of a route that may be sent ahead, and records its place and seat.
    pub(super) fn pop_ahead(
        &mut self,
        route: RouteId,
        (place, seat): (PlaceId, SeatId),
        now: Instant,
    ) -> Option<Ticket> {
        let ticket = self.scheduler.pop_ahead(route.scheduled(), now)?;
        let entry = self.entries.enter(ticket, EntryState::Ahead);
        entry.at = place;
        entry.seat = Some(seat);
        if entry.cache_key.is_some() {
            self.take_permit(ticket);
        }
        Some(ticket)
    }

    /// Frees what an attempt held. An attempt that was sent ahead and has begun in its place gets the slot in the same
    /// step, so that no other job can take the slot in between.
    ///
    /// The job stays in the queue. The caller has to make it [wait again](Self::wait_again), [uncharge](Self::uncharge)
    /// it, or [take it out](Self::take) before anything else happens.
    pub(super) fn free(
        &mut self,
        ticket: Ticket,
        end: AfterAttempt,
        next: Option<Ticket>,
        now: Instant,
    ) -> Freed {
        // `next` may have been given up in the meantime, and then has its outcome already.
        let is_ahead = |entry: &JobEntry| entry.state() == EntryState::Ahead;
        let next = next.filter(|next| self.find(*next).is_some_and(is_ahead));
        match next {
            Some(next) => {
                expect_known(self.scheduler.begin_after(ticket, end, next));
                let place = self.get(next).at;
                self.start(next, place, now);
            }
            None => expect_known(self.scheduler.end(ticket, end)),
        }
        let entry = self.entries.get_mut(ticket);
        let pool = entry.pool();
        entry.at = PlaceId::LOCAL;
        Freed {
            pool,
            seat: entry.seat.take(),
            next,
        }
    }

    /// Makes a job wait for another attempt, because its freed attempt has failed.
    pub(super) fn wait_again(&mut self, ticket: Ticket, failure: Box<Failure>, now: Instant) {
        let entry = self.entries.enter(ticket, EntryState::Waiting);
        entry.since = now;
        entry.failure = Some(failure);
        self.give_permit_back(ticket, ticket);
    }

    /// Makes a job wait as if it had not started, because its freed attempt never began.
    pub(super) fn uncharge(&mut self, ticket: Ticket, now: Instant) {
        let entry = self.entries.enter(ticket, EntryState::Waiting);
        entry.attempts -= 1;
        entry.since = now;
        self.restore_deadline(ticket);
        self.give_permit_back(ticket, ticket);
    }

    /// Moves a job that was sent ahead back to its old position among the waiting jobs.
    pub(super) fn put_back(&mut self, ticket: Ticket) {
        expect_known(self.scheduler.put_back(ticket));
        let entry = self.entries.enter(ticket, EntryState::Waiting);
        entry.at = PlaceId::LOCAL;
        entry.seat = None;
        self.restore_deadline(ticket);
        self.give_permit_back(ticket, ticket);
    }

    // Equal jobs share a cache key, and one of them computes at a time.

    /// Whether a job with this cache key waits or computes.
    pub(super) fn knows_key(&self, key: &Key) -> bool {
        self.equal_jobs.knows(key)
    }

    /// Returns the id of the job for whose result a parked job waits; `None` if that job has left the queue.
    pub(super) fn computing(&self, entry: &JobEntry) -> Option<&JobKey> {
        let key = entry.cache_key.as_ref()?;
        let computing = self.equal_jobs.computing(&key.key())?;
        Some(&self.find(computing)?.job.id)
    }

    /// Adds a job that was queued with a cache key to those that are equal to it.
    fn join_equal(&mut self, ticket: Ticket) {
        let cache_key = self.cache_key(ticket);
        let (key, permit) = (cache_key.key(), cache_key.take_permit());
        if self.equal_jobs.join(key, ticket, permit) {
            self.park(ticket);
        }
    }

    /// Gives the permit of its cache key to a job that has started or was sent ahead. The equal jobs wait for its result
    /// from now on.
    fn take_permit(&mut self, ticket: Ticket) {
        let cache_key = self.cache_key(ticket);
        if cache_key.has_permit() {
            return; // It was sent ahead and begins now, or the permit is its own.
        }
        let key = cache_key.key();
        let (permit, others) = self.equal_jobs.start(&key, ticket);
        self.cache_key(ticket).give_permit(permit);
        for other in others {
            self.park(other);
        }
    }

    /// Takes the permit from a job that waits again, now as `again`. The equal jobs wait for their start again as well.
    fn give_permit_back(&mut self, ticket: Ticket, again: Ticket) {
        let Some(cache_key) = &mut self.entries.get_mut(again).cache_key else {
            return;
        };
        let key = cache_key.key();
        if let Some(permit) = cache_key.take_permit() {
            let others = self.equal_jobs.wait_again(&key, (ticket, again), permit);
            self.unpark_all(others);
        }
    }

    /// Takes the permit from a job that has left the queue without a result, so that an equal one can compute.
    pub(super) fn failed(&mut self, ticket: Ticket, mut cache_key: Box<CacheKey>) {
        if let Some(permit) = cache_key.take_permit() {
            let others = self.equal_jobs.failed(&cache_key.key(), ticket, permit);
            self.unpark_all(others);
        }
    }

    /// Ends the wait of the jobs that are equal to one that has left the queue with a result, and returns them with their
    /// keys. They stay parked, and the caller has to [unpark](Self::compute_alone) or [cancel](Self::cancel) each.
    pub(super) fn succeeded(
        &mut self,
        ticket: Ticket,
        cache_key: &CacheKey,
    ) -> Vec<(Ticket, Box<CacheKey>)> {
        if cache_key.has_own_permit() {
            return Vec::new(); // No job waits for it.
        }
        let parked = self.equal_jobs.succeeded(&cache_key.key(), ticket);
        let with_key = |ticket| {
            #[expect(clippy::expect_used, reason = "only a job with a key has equal jobs")]
            let key = (self.entries.get_mut(ticket).cache_key.take())
                .expect("a job that is equal to another one has a key");
            (ticket, key)
        };
        parked.into_iter().map(with_key).collect()
    }

    /// Returns the cache key of a job that is known to have one.
    fn cache_key(&mut self, ticket: Ticket) -> &mut CacheKey {
        #[expect(clippy::expect_used, reason = "the caller has seen that it has one")]
        let key = (self.entries.get_mut(ticket).cache_key.as_mut()).expect("the job has a key");
        key
    }

    /// Lets a parked job wait for its start, because the result of an equal job cannot be shared with it. With a key it has
    /// a permit of its own.
    pub(super) fn compute_alone(&mut self, ticket: Ticket, cache_key: Option<Box<CacheKey>>) {
        self.entries.get_mut(ticket).cache_key = cache_key;
        self.unpark_all(vec![ticket]);
    }

    fn park(&mut self, ticket: Ticket) {
        expect_known(self.scheduler.park(ticket));
        self.entries.enter(ticket, EntryState::Parked);
    }

    fn unpark_all(&mut self, tickets: Vec<Ticket>) {
        for ticket in tickets {
            expect_known(self.scheduler.unpark(ticket));
            self.entries.enter(ticket, EntryState::Waiting);
        }
    }

    /// Restores the queue deadline of a job that waits for its first start again. If the deadline has passed, it is due
    /// at once.
    fn restore_deadline(&mut self, ticket: Ticket) {
        let entry = self.entries.get_mut(ticket);
        if entry.attempts > 0 {
            return;
        }
        entry.first_start = None;
        let deadline = entry.deadline_of_first_start();
        self.deadlines.set(entry, deadline);
    }

    /// Returns the next job whose queue deadline has passed. Each job is returned once.
    pub(super) fn pop_past_deadline(&mut self, now: Instant) -> Option<&JobEntry> {
        let ticket = self.deadlines.pop(now)?;
        let entry = self.entries.get_mut(ticket);
        entry.queue_deadline = None;
        Some(entry)
    }

    /// Returns the next queue deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Removes a job whose last attempt was [freed](Self::free).
    pub(super) fn take(&mut self, ticket: Ticket) -> JobEntry {
        debug_assert!(
            self.uncertain.attempt() != Some(ticket),
            "a job that ends has begun by then"
        );
        let mut entry = self.entries.remove(ticket);
        self.deadlines.set(&mut entry, None);
        entry
    }

    /// Removes a waiting job.
    pub(super) fn cancel(&mut self, ticket: Ticket) -> JobEntry {
        let waits = &mut self.entries.get_mut(ticket).times.waits;
        expect_known(self.scheduler.take_waits(ticket, waits));
        let cancelled = expect_known(self.scheduler.cancel(ticket));
        assert!(
            matches!(cancelled, CancelResult::Removed),
            "only a job that waits is cancelled"
        );
        let mut entry = self.take(ticket);
        if let Some(cache_key) = entry.cache_key.take()
            && !cache_key.has_own_permit()
        {
            self.equal_jobs.leave(&cache_key.key(), ticket);
        }
        entry
    }

    /// Removes a job from the queue in any state. If its attempt still runs, the report of its end is ignored.
    pub(super) fn give_up(&mut self, ticket: Ticket) -> JobEntry {
        self.uncertain.settle(ticket);
        match self.get(ticket).state() {
            EntryState::Waiting | EntryState::Parked => {}
            EntryState::Ahead => self.put_back(ticket),
            EntryState::Running => {
                expect_known(self.scheduler.finish(ticket));
                return self.take(ticket);
            }
        }
        self.cancel(ticket)
    }

    /// Returns the routes of the jobs.
    pub(super) fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Returns how many jobs of a route wait for their start.
    pub(super) fn waiting_on(&self, route: RouteId) -> usize {
        self.entries.waiting_on(route)
    }

    /// Returns the rank of the first job of a route that waits for nothing but a worker, slots and resources of its place,
    /// if that job is due.
    pub(super) fn due_for_worker(&self, route: RouteId) -> Option<Rank> {
        self.scheduler.due_for_worker(route.scheduled())
    }

    /// Tells the scheduler how many attempts of a route can begin.
    ///
    /// `lacks` is the number of the resource that the jobs of the route lack on each of their places.
    pub(super) fn set_workers(&mut self, route: RouteId, workers: Workers, lacks: Option<u16>) {
        self.scheduler.set_workers(route.scheduled(), workers);
        self.scheduler.set_lack(route.scheduled(), lacks);
    }

    /// Returns how many attempts of a route can begin, as the scheduler was told.
    pub(super) fn workers(&self, route: RouteId) -> Workers {
        self.scheduler.workers(route.scheduled())
    }

    /// Returns how many attempts that take tokens can begin, as [`UncertainStart::starts`] does.
    pub(super) fn rated_starts(&self, free: u32, proven: u32) -> u32 {
        self.uncertain.starts(free, proven)
    }

    /// Whether a job that takes tokens of a rate was queued. Only then the seats for such jobs are counted.
    pub(super) fn has_rates(&self) -> bool {
        self.uncertain.has_rates()
    }

    /// Returns the attempt that has taken tokens and may not have begun yet.
    pub(super) fn uncertain(&self) -> Option<Ticket> {
        self.uncertain.attempt()
    }

    /// Records that an attempt with tokens was sent to a worker that may not read it at once.
    pub(super) fn begins_later(&mut self, ticket: Ticket) {
        self.uncertain.begins_later(ticket);
        expect_known(self.scheduler.begins_late(ticket));
    }

    /// Records that an attempt has begun by now. Returns whether that was in doubt.
    pub(super) fn began_by_now(&mut self, ticket: Ticket, now: Instant) -> bool {
        let was_uncertain = self.uncertain.settle(ticket);
        if was_uncertain {
            expect_known(self.scheduler.began_late(ticket, now));
        }
        was_uncertain
    }

    /// Records that an attempt has not begun and will not, so that its tokens were not used. Returns whether that was
    /// in doubt.
    pub(super) fn never_began(&mut self, ticket: Ticket) -> bool {
        self.uncertain.settle(ticket)
    }

    // How many jobs run at once.

    /// Pauses or resumes the run.
    pub(super) fn set_paused(&mut self, is_paused: bool) {
        self.scheduler.set_paused(is_paused);
    }

    /// Holds all starts back, or no longer.
    pub(super) fn set_held(&mut self, is_held: bool) {
        self.scheduler.set_held(is_held);
    }

    /// Changes the number of slots, if the scheduler counts them.
    pub(super) fn set_slots(&mut self, slots: u32) -> Result<(), Error> {
        self.scheduler.set_slots(slots)
    }

    /// Changes a named limit.
    pub(super) fn set_limit(
        &mut self,
        name: &str,
        limit: Limit,
        now: Instant,
    ) -> Result<(), Error> {
        let id = self.scheduler.limit(name)?;
        self.scheduler.set_limit(id, limit, now)
    }
}

/// Returns the blocker for the time in which an attempt is on its way to its performer and back.
fn way(entry: &JobEntry) -> Blocker {
    match entry.seat {
        Some(_) => Blocker::Worker,
        None => Blocker::Slot,
    }
}

/// Unwraps an answer of the scheduler about a ticket whose entry is in the state that the call needs.
fn expect_known<T>(said: Result<T, Error>) -> T {
    #[expect(
        clippy::expect_used,
        reason = "entries and scheduler change state in the same step"
    )]
    said.expect("the scheduler knows each job in the state that its entry has")
}
