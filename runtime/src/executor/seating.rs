//! The performers of a run at its places: who can perform a job where, and how many attempts can begin.

use super::kinds::Kinds;
use super::performers::Performers;
use super::places::Places;
use super::queue::Queue;
use super::routes::{PlaceSetId, Route, RouteId, Target};
use crate::dispatch::PoolKey;
use crate::ids::{KindId, PlaceId};
use crate::job::Job;
use crate::outcome::{Class, Failure};
use crate::scheduling::Workers;

/// Owns the performers of a run and the places where they perform.
///
/// A job can start only where a performer and enough slots are free, so both are counted together here. The scheduler
/// knows neither performers nor places. It has to be told after each change how many jobs of each route can start,
/// which the `tell` methods do.
pub(super) struct Seating {
    performers: Performers,
    places: Places,
    /// How many slots the local place had when the run began.
    configured_slots: u32,
}

/// The routes of a queue at one moment. Routes that were added since then are not yet known to the scheduler.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownRoutes {
    has_rates: bool,
    count: usize,
}

impl KnownRoutes {
    /// Returns the routes that a queue has now.
    pub(super) fn of(queue: &Queue) -> Self {
        Self {
            has_rates: queue.has_rates(),
            count: queue.routes().len(),
        }
    }
}

impl Seating {
    /// Makes the seating of a run that begins.
    pub(super) fn new(performers: Performers, places: Places) -> Self {
        Self {
            configured_slots: places.local_slots(),
            performers,
            places,
        }
    }

    /// Returns the performers of the jobs.
    pub(super) fn performers(&self) -> &Performers {
        &self.performers
    }

    /// Returns the performers, to give them attempts or to change their seats.
    pub(super) fn performers_mut(&mut self) -> &mut Performers {
        &mut self.performers
    }

    /// Returns the places of the run.
    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// Returns the places, to take or change their slots and resources.
    pub(super) fn places_mut(&mut self) -> &mut Places {
        &mut self.places
    }

    // Where a job can run.

    /// Finds out at which places a job can run, and what it takes there: slots, and resources after this many attempts
    /// that ran out of memory. It fails if none of the places can ever run the job.
    pub(super) fn target(
        &mut self,
        (job, memory_kills): (&Job, u32),
        kind: KindId,
        kinds: &Kinds,
    ) -> Result<Target<'_>, Failure> {
        let places = (self.places).set_of(kinds.placement(kind, job)?, job.host.as_ref())?;
        let (places, slots) = self.fit_slots(places, job.terms.slots);
        let needs = self.places.needs_of(&job.terms, memory_kills, places)?;
        if let Some(failure) = self.places.lack_resources(places, needs) {
            return Err(failure);
        }
        match self.refusal(kind, places, slots) {
            Some(failure) => Err(failure),
            None => Ok(self.places.target(kind, (places, slots), needs)),
        }
    }

    /// Decides how many slots a job fills that comes now and may run on these places.
    ///
    /// The local place may have fewer slots than when the run began, because somebody has lowered their number for a
    /// while. A job that only the local place was large enough for then fills all slots that there are. It would fail
    /// for a change that nobody made with this job in view, or wait for a change that may never come.
    fn fit_slots(&self, places: PlaceSetId, slots: u32) -> (PlaceSetId, u32) {
        let local = self.places.local_slots();
        let is_lowered = slots > local && slots <= self.configured_slots;
        if is_lowered && self.needs_local(places, slots) {
            // At any other place the job would get fewer slots than it needs.
            (PlaceSetId::LOCAL, local)
        } else {
            (places, slots)
        }
    }

    /// Returns the highest number of slots that the local place has had or has. No job that needs more was queued.
    pub(super) fn most_local_slots(&self) -> u32 {
        self.configured_slots.max(self.places.local_slots())
    }

    /// Whether no place of a set but the local one, which belongs to it, is known to be large enough for a job of so many
    /// slots.
    pub(super) fn needs_local(&self, places: PlaceSetId, slots: u32) -> bool {
        let has_local = self.places.members(places).contains(&PlaceId::LOCAL);
        has_local && !self.places.others_had_slots(places, slots)
    }

    /// Whether a job that is not queued may have to run at the local place, and fill so many slots there as its terms
    /// say.
    pub(super) fn may_need_local(&mut self, job: &Job, kinds: &Kinds) -> bool {
        kinds.placements(job).into_iter().any(|placement| {
            let places = self.places.set_of(placement, job.host.as_ref());
            // A job that names no place of the run is refused when it is queued.
            places.is_ok_and(|places| self.needs_local(places, job.terms.slots))
        })
    }

    /// Returns why no job of this kind and with this many slots will ever start at these places, if that is so.
    pub(super) fn refusal(&self, kind: KindId, places: PlaceSetId, slots: u32) -> Option<Failure> {
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

    /// Chooses the place of an attempt of a route that the scheduler has let start.
    pub(super) fn choose_place(&self, id: RouteId, route: Route) -> PlaceId {
        let has_room = |place| {
            let seats = self.performers.seats(PoolKey {
                kind: route.kind,
                place,
            });
            match seats {
                None => self.performers.performs_here(route.kind),
                Some(seats) => seats.free() > 0,
            }
        };
        // An attempt with tokens has to begin at once. So a place whose free workers may all be still loading is the
        // last choice.
        let is_proven = |place| {
            let seats = self.performers.seats(PoolKey {
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
        (first
            .flatten()
            .or_else(|| self.places.choose(id, route, has_room)))
        .expect("the scheduler starts no more jobs of a route than places and seats allow")
    }

    // The scheduler is told how many jobs can start.

    /// Tells the scheduler how many attempts of a pool's kind can begin, or if places count their slots, how many can
    /// begin at the place of the pool.
    pub(super) fn tell_of_pool(&self, key: PoolKey, queue: &mut Queue) {
        if self.places.are_several() {
            self.tell_of_place(key.place, queue);
        } else if !self.performers.performs_here(key.kind) || queue.has_rates() {
            self.tell_of_kind(key.kind, queue);
        }
    }

    /// Tells the scheduler how many attempts can begin at each place, or of each kind if there is only one place.
    pub(super) fn tell_of_all(&self, queue: &mut Queue) {
        if self.places.are_several() {
            for place in self.places.ids() {
                self.tell_of_place(place, queue);
            }
        } else {
            for kind in self.performers.kinds() {
                self.tell_of_kind(kind, queue);
            }
        }
    }

    /// Tells the scheduler of the routes that were added since `known`. When the first job that takes tokens has come, it
    /// tells of all routes, because none were counted for such jobs before.
    pub(super) fn tell_of_new(&self, known: KnownRoutes, queue: &mut Queue) {
        if queue.has_rates() && !known.has_rates {
            self.tell_of_all(queue);
        } else {
            for route in queue.routes().from(known.count) {
                self.tell_of_route(route, queue);
            }
        }
    }

    /// Tells the scheduler how many attempts of a kind can begin.
    pub(super) fn tell_of_kind(&self, kind: KindId, queue: &mut Queue) {
        self.tell_of_route(queue.routes().plain(kind, false), queue);
        if queue.has_rates() {
            self.tell_of_route(queue.routes().plain(kind, true), queue);
        }
    }

    /// Tells the scheduler how many jobs of each route through a place can start.
    pub(super) fn tell_of_place(&self, place: PlaceId, queue: &mut Queue) {
        for at in 0..queue.routes().through(place).len() {
            let route = queue.routes().through(place)[at];
            if queue.routes().get(route).is_rated && !queue.has_rates() {
                continue;
            }
            self.tell_of_route(route, queue);
        }
    }

    /// Tells the scheduler how many jobs of a route can start.
    fn tell_of_route(&self, id: RouteId, queue: &mut Queue) {
        let route = queue.routes().get(id);
        let workers = self.starts_of(id, route, queue);
        let lacks = match workers {
            Workers::Free(0) | Workers::Full | Workers::Held => self.places.lack(route),
            _ => None,
        };
        queue.set_workers(id, workers, lacks);
    }

    /// Returns how many jobs of a route can start.
    fn starts_of(&self, id: RouteId, route: Route, queue: &Queue) -> Workers {
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
            // Workers declare their own concurrency, which can be any number, so the sums could overflow.
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
            queue.rated_starts(free, proven)
        } else {
            free
        };
        if starts == u32::MAX && !is_counted {
            return Workers::Unlimited;
        }
        Workers::Free(starts)
    }

    // A place is reserved.

    /// Reserves what is free at one place for a job that is due, that fills several slots or takes resources, and that lacks
    /// nothing else. Frees it when there is no such job any more. Returns whether more jobs may start because of that.
    ///
    /// A job that also waits for the lock of its host could wait for a job that waits for the reserved slots, and neither would
    /// ever start. A job that is not due yet lets others pass, as it does where the scheduler counts the slots.
    pub(super) fn update_reserved(&mut self, queue: &mut Queue) -> bool {
        if !self.places.are_several() {
            return false;
        }
        let reserved = self.places.reserved();
        if let Some(reserved) = reserved
            && (queue.due_for_worker(reserved.route).is_none() || self.places.is_reserved_in_vain())
        {
            self.places.release_reserved();
            self.tell_of_place(reserved.place, queue);
        }
        if self.places.reserved().is_none() {
            let heavy = queue.routes().heavy().iter();
            let due = heavy.filter_map(|id| Some((queue.due_for_worker(*id)?, *id)));
            let due = due.filter(|(_, id)| self.places.can_reserve(queue.routes().get(*id)));
            if let Some((_, id)) = due.min_by_key(|(rank, _)| *rank)
                && let Some(place) = self.places.reserve(id, queue.routes().get(id))
            {
                self.tell_of_place(place, queue);
            }
        }
        reserved.is_some() && self.places.reserved() != reserved
    }
}
