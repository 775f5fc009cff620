//! The handle through which the seats, slots and limits of a run change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::entry::JobEntry;
use super::kinds::Kinds;
use super::queue::Queue;
use super::seating::{KnownRoutes, Seating};
use crate::Error;
use crate::dispatch::{PoolKey, WorkerNumber};
use crate::ids::{PlaceId, Ticket};
use crate::job::Job;
use crate::outcome::Failure;
use crate::process::Seats;
use crate::scheduling::Limit;

/// The handle through which a change of seats, slots or limits is made. It starts and ends no job.
///
/// Each method tells the scheduler in the same step how many jobs can start since the change.
pub(super) struct Capacity<'a> {
    queue: &'a mut Queue,
    seating: &'a mut Seating,
}

impl<'a> Capacity<'a> {
    /// Makes the handle of a queue and its seating.
    pub(super) fn new(queue: &'a mut Queue, seating: &'a mut Seating) -> Self {
        Self { queue, seating }
    }

    // The whole run.

    /// Pauses or resumes the run.
    pub(super) fn set_paused(self, is_paused: bool) {
        self.queue.set_paused(is_paused);
    }

    /// Holds all starts back, or no longer.
    pub(super) fn set_held(self, is_held: bool) {
        self.queue.set_held(is_held);
    }

    /// Changes a named limit.
    pub(super) fn set_limit(self, name: &str, limit: Limit, now: Instant) -> Result<(), Error> {
        self.queue.set_limit(name, limit, now)
    }

    // Pools.

    /// Applies a change to the seats of a pool.
    pub(super) fn change_seats(&mut self, key: PoolKey, change: impl FnOnce(&mut Seats)) {
        if let Some(pool) = self.seating.performers_mut().pool(key) {
            change(&mut pool.seats);
        }
        self.seating.tell_of_pool(key, self.queue);
    }

    /// Records that a pool has no workers any more. Returns whether no pool of its kind has workers any more.
    pub(super) fn pool_broke(self, key: PoolKey, failure: &Failure) -> bool {
        self.seating.performers_mut().broke(key, failure)
    }

    /// Records that a worker has read a request. If the worker has the attempt that may not have begun, this attempt
    /// has begun by now.
    pub(super) fn proven(mut self, key: PoolKey, worker: WorkerNumber, now: Instant) {
        self.change_seats(key, |seats| seats.proven(worker));
        let Some(ticket) = self.queue.uncertain() else {
            return;
        };
        let entry = self.queue.get(ticket);
        let seat = entry.seat.filter(|_| entry.pool() == key);
        if let (Some(seats), Some(seat)) = (self.seating.performers().seats(key), seat)
            && seats.number(seat) == worker
            && self.queue.began_by_now(ticket, now)
        {
            self.seating.tell_of_all(self.queue);
        }
    }

    /// Updates the throughput of pools, which decides how many attempts they are sent ahead.
    pub(super) fn update_throughput(self) {
        self.seating.performers_mut().update_throughput();
    }

    // Places.

    /// Sets how many slots a place has, or records that nothing will ever run there any more.
    pub(super) fn place_changed(self, place: PlaceId, slots: Result<u32, Failure>) {
        match slots {
            Ok(slots) => self.seating.places_mut().set_slots(place, slots),
            Err(failure) => self.seating.places_mut().give_up(place, failure),
        }
        self.seating.tell_of_place(place, self.queue);
    }

    /// Sets the round trip time of a place. It only decides where a job starts, not whether it does, so the scheduler
    /// is told nothing.
    pub(super) fn set_round_trip(self, place: PlaceId, round_trip: Option<Duration>) {
        (self.seating.places_mut()).set_round_trip(place, round_trip);
    }

    /// Holds starts at a place back for this reason, or no longer if it is `None`. It fails if there is no such place.
    pub(super) fn hold_place(self, place: &str, reason: Option<String>) -> Result<(), Failure> {
        let place = self.seating.places().find(place)?;
        self.seating.places_mut().hold(place, reason);
        self.seating.tell_of_place(place, self.queue);
        Ok(())
    }

    /// Returns the waiting jobs that can never start, each with the reason.
    pub(super) fn unstartable(self) -> Vec<(Ticket, Failure)> {
        if !self.seating.places().are_several() {
            return Vec::new();
        }
        let waiting = self.queue.entries();
        let waiting = waiting.filter(|entry| entry.state().is_waiting());
        let unstartable = waiting.filter_map(|entry| {
            let route = self.queue.routes().get(entry.route);
            let failure = self
                .seating
                .refusal(route.kind, route.places, route.slots)?;
            Some((entry.ticket, failure))
        });
        unstartable.collect()
    }

    // The slots of the local place.

    /// Changes the number of slots of the local place. `unqueued` are the unfinished jobs that the run knows and that are
    /// not queued, wherever they wait.
    ///
    /// It is refused if a job of the run needs more slots there: the job could never start, and the run would not end.
    pub(super) fn set_slots<'b>(
        self,
        slots: u32,
        unqueued: impl Iterator<Item = &'b Job>,
        kinds: &Kinds,
        now: Instant,
    ) -> Result<(), Error> {
        if slots == 0 {
            return Err(Error::ImpossibleSlots { asked: 1, total: 0 });
        }
        let before = self.seating.places().local_slots();
        if slots < before {
            // A job that needs more than there ever were is refused when it is queued, and holds up nobody.
            let most = self.seating.most_local_slots();
            let needed = unqueued
                .filter(|job| (slots + 1..=most).contains(&job.terms.slots))
                .filter(|job| self.seating.may_need_local(job, kinds))
                .map(|job| job.terms.slots);
            let needed = needed.max().max(self.slots_needed_by_queued());
            if let Some(asked) = needed.filter(|needed| *needed > slots) {
                return Err(Error::ImpossibleSlots {
                    asked,
                    total: slots,
                });
            }
        }
        if !self.seating.places().are_several() {
            self.queue.set_slots(slots)?;
        }
        self.seating.places_mut().set_slots(PlaceId::LOCAL, slots);
        if self.seating.places().are_several() {
            self.seating.tell_of_place(PlaceId::LOCAL, self.queue);
        }
        if slots > before {
            self.refit_larger(before, kinds, now);
        }
        Ok(())
    }

    /// Has each waiting job that is larger than the local place was before fill the slots that it asks for, as far as
    /// there are as many by now.
    fn refit_larger(self, before: u32, kinds: &Kinds, now: Instant) {
        let is_larger =
            |entry: &JobEntry| entry.state().is_waiting() && entry.job.terms.slots > before;
        for ticket in self.queue.tickets(is_larger) {
            let entry = self.queue.get(ticket);
            let (job, kills, kind) = (Arc::clone(&entry.job), entry.memory_kills, entry.kind);
            let known = KnownRoutes::of(self.queue);
            // A job that no place could run any more goes on as it is.
            if let Ok(target) = self.seating.target((&job, kills), kind, kinds) {
                self.queue.refit(ticket, target, now);
                self.seating.tell_of_new(known, self.queue);
            }
        }
    }

    /// Returns how many slots the local place must have for the jobs of the queue, if places count their slots.
    fn slots_needed_by_queued(&self) -> Option<u32> {
        if !self.seating.places().are_several() {
            return None; // The scheduler knows.
        }
        let routes = self.queue.entries().map(|entry| entry.route);
        let routes = routes.map(|route| self.queue.routes().get(route));
        let here = routes.filter(|route| self.seating.needs_local(route.places, route.slots));
        here.map(|route| route.slots).max()
    }
}
