//! The places where the jobs of a run can run, and the slots of each.
//!
//! A run always has the place [`LOCAL`](PlaceName::LOCAL). If it is the only one, the scheduler counts its slots. With
//! more places, each has slots of its own, which are counted here: a start takes slots of its place, and the scheduler
//! is told how many starts are possible.

mod resources;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ratchet_ipc::HostName;
use smol_str::SmolStr;
use tokio::sync::watch;

use resources::{HeldAtPlace, PlaceResources};

use super::routes::{NeedsId, PlaceSetId, Route, RouteId, Target};
use crate::dispatch::{Report, Reporter};
use crate::ids::KindId;
use crate::ids::{PlaceId, PlaceName, SlotNumber, Ticket};
use crate::job::{Placement, ResourceNeed, Terms};
use crate::outcome::{Class, Failure};
use crate::place::PlaceState;
use crate::scheduling::{Resource, ResourceShare, SlotNumbers, Workers, closest};
use crate::table::Table;

/// The most different sets of places that the jobs of a run can name. Users write far fewer. The limit keeps the number
/// of a set within 16 bits.
const MAX_SETS: usize = 4096;

/// The places of a run, the sets of them that jobs name, and the slots of each.
#[derive(Debug)]
pub(crate) struct Places {
    /// The places, indexed by their numbers.
    list: Vec<PlaceCount>,
    /// The sets of places, by number. The first one has only the local place.
    sets: Vec<Arc<[PlaceId]>>,
    set_index: Table<Arc<[PlaceId]>, PlaceSetId>,
    /// The slots of the running attempts, if slots are counted here.
    held: Table<Ticket, HeldSlots>,
    /// The place of which the jobs of one route take several slots, or resources, that are reserved for them.
    reserved: Option<ReservedPlace>,
    /// The resources that places have for themselves.
    resources: PlaceResources,
}

/// A place where slots and resources are reserved for the jobs of one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReservedPlace {
    pub(super) place: PlaceId,
    pub(super) route: RouteId,
    /// What a job of the route takes.
    takes: Route,
}

/// What is known of a place.
#[derive(Debug)]
struct PlaceCount {
    name: PlaceName,
    /// How many slots the place has now. It has none while it cannot be reached.
    slots: u32,
    /// The number of slots that the place had when it was last reached.
    largest: Option<u32>,
    /// How many slots attempts hold. This can exceed `slots` after the place has lost some.
    used: u32,
    /// How many attempts run there. It is shared with the gauges, which read it.
    running: Arc<AtomicUsize>,
    numbers: SlotNumbers,
    /// Why nothing will ever run at this place again, if that is so.
    gone: Option<Box<Failure>>,
    /// Why nothing may start at this place for now, if that is so.
    held: Option<Box<str>>,
    /// How long a message takes to the place and back, if that is known.
    round_trip: Option<Duration>,
}

/// The slots that an attempt holds.
#[derive(Debug)]
struct HeldSlots {
    place: PlaceId,
    first: SlotNumber,
    /// The other slots of an attempt that fills several.
    more: Vec<SlotNumber>,
    /// The units of the resources of the place.
    units: HeldAtPlace,
}

impl Places {
    /// Makes the local place with this many slots, and the other places, which have no slots until they are reached.
    pub(super) fn new(local_slots: u32, others: impl IntoIterator<Item = PlaceName>) -> Self {
        let local = PlaceCount::new(PlaceName::LOCAL, local_slots);
        let others = others.into_iter().map(|name| PlaceCount::new(name, 0));
        let local_set: Arc<[PlaceId]> = [PlaceId::LOCAL].into();
        Self {
            list: std::iter::once(local).chain(others).collect(),
            set_index: std::iter::once((Arc::clone(&local_set), PlaceSetId::LOCAL)).collect(),
            sets: vec![local_set],
            held: Table::default(),
            reserved: None,
            resources: PlaceResources::new(Vec::new()),
        }
    }

    /// Sets the resources that each place has for itself, the local one first.
    pub(super) fn set_resources(&mut self, resources: Vec<Vec<(SmolStr, Resource)>>) {
        self.resources = PlaceResources::new(resources);
    }

    /// Returns what a job takes of the resources of its place, after this many attempts that ran out of memory.
    pub(super) fn needs_of(
        &mut self,
        terms: &Terms,
        memory_kills: u32,
        places: PlaceSetId,
    ) -> Result<NeedsId, Failure> {
        let members = &self.sets[places.index()];
        self.resources.needs_of(terms, memory_kills, members)
    }

    /// Returns why no place of a set will ever have what a job takes of resources, if that is so.
    pub(super) fn lack_resources(&self, places: PlaceSetId, needs: NeedsId) -> Option<Failure> {
        self.resources.refusal(self.members(places), needs)
    }

    /// Returns the names of the resources that places have for themselves, by number.
    pub(super) fn resource_names(&self) -> Vec<SmolStr> {
        self.resources.names().to_vec()
    }

    /// Returns the number of the first resource of which no place of a route has enough free units for another job.
    pub(super) fn lack(&self, route: Route) -> Option<u16> {
        self.resources.lack(self.members(route.places), route.needs)
    }

    /// Returns the units that an attempt holds of the resources of its place.
    pub(super) fn shares(&self, ticket: Ticket) -> Vec<ResourceShare> {
        let held = self.held.get(&ticket);
        let shares = held.map(|held| self.resources.shares(held.place, &held.units));
        shares.into_iter().flatten().collect()
    }

    /// Returns the first resource of which a job takes more units than are free on any place of a set.
    pub(super) fn first_short_resource<'a>(
        &self,
        places: PlaceSetId,
        terms: &'a Terms,
    ) -> Option<&'a ResourceNeed> {
        self.resources
            .first_short_resource(self.members(places), terms)
    }

    /// Whether slots are counted here, because there are several places.
    pub(super) fn are_several(&self) -> bool {
        self.list.len() > 1
    }

    /// Returns the numbers of all places.
    pub(super) fn ids(&self) -> impl Iterator<Item = PlaceId> + use<> {
        #[expect(
            clippy::expect_used,
            reason = "the builder refuses an executor with more places"
        )]
        let count = u16::try_from(self.list.len()).expect("places are counted by a u16");
        (0..count).map(PlaceId)
    }

    /// Returns the name of a place.
    pub(super) fn name(&self, place: PlaceId) -> &PlaceName {
        &self.list[place.index()].name
    }

    /// Returns the counts of the attempts that run at each place.
    pub(super) fn running(&self) -> BTreeMap<PlaceName, Arc<AtomicUsize>> {
        let places = self.list.iter();
        let counts = places.map(|place| (place.name.clone(), Arc::clone(&place.running)));
        counts.collect()
    }

    /// Finds a place by its name.
    pub(super) fn find(&self, name: &str) -> Result<PlaceId, Failure> {
        let mut places = self.ids().zip(&self.list);
        let found = places.find(|(_, place)| place.name.as_str() == name);
        found.map(|(id, _)| id).ok_or_else(|| {
            let names = self.list.iter().map(|place| place.name.as_str());
            let meant = match closest(name, names) {
                Some(name) => format!(", did you mean `{name}`?"),
                None if self.are_several() => String::new(),
                None => "; `hosts` declares hosts".to_owned(),
            };
            let message = format!("there is no host `{name}` to run on{meant}");
            Failure::new(Class::Input, message).code("unknown_place")
        })
    }

    /// Returns the set of places where a job with this placement can run. `host` is the host of the job.
    pub(super) fn set_of(
        &mut self,
        placement: &Placement,
        host: Option<&HostName>,
    ) -> Result<PlaceSetId, Failure> {
        let mut places = match placement {
            Placement::Here => return Ok(PlaceSetId::LOCAL),
            Placement::Host => {
                let Some(host) = host else {
                    let message = "it has to run on its host, but it names none: give it a `host`";
                    return Err(Failure::new(Class::Input, message));
                };
                vec![self.find(host.as_str())?]
            }
            Placement::Among(names) => {
                let places = names.iter().map(|name| self.find(name.as_str()));
                places.collect::<Result<Vec<_>, _>>()?
            }
        };
        places.sort_unstable();
        places.dedup();
        if places.is_empty() {
            let message = "it names no place to run on";
            return Err(Failure::new(Class::Input, message));
        }
        if let Some(set) = self.set_index.get(&*places) {
            return Ok(*set);
        }
        if self.sets.len() >= MAX_SETS {
            let message =
                format!("the jobs of this run name more than {MAX_SETS} different sets of places");
            return Err(Failure::new(Class::Input, message));
        }
        #[expect(clippy::expect_used, reason = "the number of sets was just checked")]
        let number = u16::try_from(self.sets.len()).expect("MAX_SETS is counted by a u16");
        let (set, places) = (PlaceSetId::new(number), Arc::<[PlaceId]>::from(places));
        self.sets.push(Arc::clone(&places));
        self.set_index.insert(places, set);
        Ok(set)
    }

    /// Returns the places of a set.
    pub(super) fn members(&self, set: PlaceSetId) -> &[PlaceId] {
        &self.sets[set.index()]
    }

    /// Returns the target of the jobs of a kind that can run at any place of a set and fill so many slots there.
    pub(super) fn target(
        &self,
        kind: KindId,
        (places, slots): (PlaceSetId, u32),
        needs: NeedsId,
    ) -> Target<'_> {
        Target {
            kind,
            places,
            needs,
            slots,
            members: self.members(places),
            counts_slots: self.are_several(),
        }
    }

    /// Returns how many slots the local place has, which are all slots of a run without other places.
    pub(super) fn local_slots(&self) -> u32 {
        self.list[PlaceId::LOCAL.index()].slots
    }

    /// Returns how many slots the largest place of a set has. It is `None`, because not known, if one of the places was
    /// never reached.
    pub(super) fn most_slots(&self, set: PlaceSetId) -> Option<u32> {
        let places = self.members(set).iter();
        let largest = places.map(|place| self.list[place.index()].largest);
        largest.collect::<Option<Vec<u32>>>()?.into_iter().max()
    }

    /// Whether a place of a set besides the local one had this many slots when it was last reached.
    pub(super) fn others_had_slots(&self, set: PlaceSetId, slots: u32) -> bool {
        let places = self.members(set).iter();
        let mut others = places.filter(|place| **place != PlaceId::LOCAL);
        others.any(|place| {
            let largest = self.list[place.index()].largest;
            largest.is_some_and(|largest| largest >= slots)
        })
    }

    /// Returns why nothing will ever run at any place of a set again, if that is so.
    pub(super) fn given_up(&self, set: PlaceSetId) -> Option<&Failure> {
        let mut last = None;
        for place in self.members(set) {
            last = Some(self.list[place.index()].gone.as_deref()?);
        }
        last
    }

    /// Returns how many more jobs of a route fit into a place, by its slots and its resources.
    ///
    /// If the place is reserved for other jobs, what those lack is reserved: units of resources first, while the slots can be
    /// used, and once only slots are missing, all slots. Nothing is reserved while they wait for a worker.
    pub(super) fn starts(&self, place: PlaceId, id: RouteId, route: Route) -> u32 {
        let at = &self.list[place.index()];
        if at.held.is_some() {
            return 0;
        }
        let reserved =
            (self.reserved).filter(|reserved| reserved.place == place && reserved.route != id);
        let lacks_units = reserved.is_some_and(|reserved| {
            self.resources
                .lack(&[place], reserved.takes.needs)
                .is_some()
        });
        if reserved.is_some_and(|reserved| !lacks_units && at.free() < reserved.takes.slots) {
            return 0;
        }
        let starts = at.free() / route.slots.max(1);
        if route.needs == NeedsId::NOTHING {
            return starts;
        }
        let beside = (reserved.filter(|_| lacks_units))
            .map_or(NeedsId::NOTHING, |reserved| reserved.takes.needs);
        starts.min(self.resources.starts(place, route.needs, beside))
    }

    /// Returns why no job can start at any place of a set: none is connected, or all connected ones are held back.
    pub(super) fn absence(&self, set: PlaceSetId) -> Option<Workers> {
        let places = self.members(set).iter();
        let mut connected = places
            .map(|place| &self.list[place.index()])
            .filter(|place| place.slots > 0)
            .peekable();
        if connected.peek().is_none() {
            return Some(Workers::Away);
        }
        connected
            .all(|place| place.held.is_some())
            .then_some(Workers::Held)
    }

    /// Returns the reason of the first place of a set that is held back.
    pub(super) fn hold_reason(&self, set: PlaceSetId) -> Option<&str> {
        let mut places = self.members(set).iter();
        places.find_map(|place| self.list[place.index()].held.as_deref())
    }

    /// Whether starts at a place are held back.
    pub(super) fn is_held(&self, place: PlaceId) -> bool {
        self.list[place.index()].held.is_some()
    }

    /// Holds starts at a place back for this reason, or no longer if it is `None`.
    pub(super) fn hold(&mut self, place: PlaceId, reason: Option<String>) {
        self.list[place.index()].held = reason.map(Into::into);
    }

    /// Sets the round trip time of a place.
    pub(super) fn set_round_trip(&mut self, place: PlaceId, round_trip: Option<Duration>) {
        self.list[place.index()].round_trip = round_trip;
    }

    /// Chooses the place of a start among those for which `has_room` holds: the one with the greatest share of its
    /// slots free. Of equal places it is the nearest by round trip. The local place counts as nearest, and a place with
    /// an unknown round trip as farthest.
    pub(super) fn choose(
        &self,
        id: RouteId,
        route: Route,
        has_room: impl Fn(PlaceId) -> bool,
    ) -> Option<PlaceId> {
        let can_start = |place: &&PlaceId| self.starts(**place, id, route) > 0 && has_room(**place);
        let candidates = self.members(route.places).iter().filter(can_start);
        let distance = |place: PlaceId| match self.list[place.index()].round_trip {
            _ if place == PlaceId::LOCAL => Duration::ZERO,
            Some(round_trip) => round_trip,
            None => Duration::MAX,
        };
        // Of equal places the first one is chosen. `max_by` returns the last maximum, so the order is reversed.
        candidates.copied().rev().max_by(|at, other_at| {
            let (one, other) = (&self.list[at.index()], &self.list[other_at.index()]);
            // Compares one.free / one.slots with other.free / other.slots, without rounding.
            let share = |a: &PlaceCount, b: &PlaceCount| u64::from(a.free()) * u64::from(b.slots);
            share(one, other)
                .cmp(&share(other, one))
                .then_with(|| distance(*other_at).cmp(&distance(*at)))
        })
    }

    /// Takes the slots and the resources of a place for an attempt of a route that starts.
    pub(super) fn take(&mut self, ticket: Ticket, place: PlaceId, route: Route) {
        let units = self.resources.take(place, route.needs);
        let at = &mut self.list[place.index()];
        at.used += route.slots;
        let held = HeldSlots {
            place,
            first: at.numbers.take(),
            more: (1..route.slots).map(|_| at.numbers.take()).collect(),
            units,
        };
        let before = self.held.insert(ticket, held);
        debug_assert!(before.is_none(), "an attempt starts once");
        // Relaxed: nothing else is ordered by this count.
        at.running.fetch_add(1, Ordering::Relaxed);
    }

    /// Passes the slots of an attempt that has ended on to the next one on the same worker, and frees its resources. The
    /// next attempt takes no resources.
    #[expect(
        clippy::expect_used,
        reason = "with several places, each running attempt holds slots"
    )]
    pub(super) fn pass_on(&mut self, ended: Ticket, next: Ticket) {
        let mut held = self
            .held
            .remove(&ended)
            .expect("an attempt that runs holds its slots until it ends");
        let units = std::mem::take(&mut held.units);
        self.resources.give_back(held.place, units);
        self.held.insert(next, held);
    }

    /// Frees the slots and resources of an attempt that has ended. Returns the place to which they belong.
    pub(super) fn give_back(&mut self, ticket: Ticket) -> Option<PlaceId> {
        let HeldSlots {
            place,
            first,
            more,
            units,
        } = self.held.remove(&ticket)?;
        self.resources.give_back(place, units);
        let at = &mut self.list[place.index()];
        // Relaxed: nothing else is ordered by this count.
        at.running.fetch_sub(1, Ordering::Relaxed);
        for number in std::iter::once(first).chain(more) {
            at.numbers.give_back(number);
            at.used -= 1;
        }
        Some(place)
    }

    /// Returns the first of the slots that an attempt holds; `None` if slots are not counted here.
    pub(super) fn slot(&self, ticket: Ticket) -> Option<SlotNumber> {
        self.held.get(&ticket).map(|held| held.first)
    }

    /// Sets how many slots a place has.
    pub(super) fn set_slots(&mut self, place: PlaceId, slots: u32) {
        let at = &mut self.list[place.index()];
        at.slots = slots;
        if slots > 0 {
            at.largest = Some(slots);
        }
    }

    /// Returns how many slots all places have together.
    pub(super) fn total(&self) -> u32 {
        let slots = self.list.iter().map(|place| place.slots);
        slots.fold(0, u32::saturating_add)
    }

    /// Records that nothing will ever run at a place again, for this reason.
    pub(super) fn give_up(&mut self, place: PlaceId, failure: Failure) {
        let at = &mut self.list[place.index()];
        at.slots = 0;
        at.largest = Some(0);
        at.gone = Some(Box::new(failure));
        self.reserved = self.reserved.filter(|reserved| reserved.place != place);
    }

    /// Reserves a place for the jobs of a route that fill several slots or take resources, and for which no place has enough
    /// now. Without this the jobs that need less would take each slot and each unit as it comes free. Returns the place.
    ///
    /// Only one place is reserved at a time, so that the other places go on.
    pub(super) fn reserve(&mut self, id: RouteId, route: Route) -> Option<PlaceId> {
        let candidates = self.members(route.places).iter();
        let candidates = candidates.filter(|place| self.is_large_enough(**place, route));
        let place = *candidates.max_by_key(|place| self.list[place.index()].free())?;
        self.reserved = Some(ReservedPlace {
            place,
            route: id,
            takes: route,
        });
        Some(place)
    }

    /// Whether a job of a route could start at a place now if nothing else ran there.
    fn is_large_enough(&self, place: PlaceId, route: Route) -> bool {
        let at = &self.list[place.index()];
        at.held.is_none()
            && at.slots >= route.slots
            && self.resources.are_enough(place, route.needs)
    }

    /// Whether a place could be reserved for the jobs of a route.
    pub(super) fn can_reserve(&self, route: Route) -> bool {
        let mut places = self.members(route.places).iter();
        places.any(|place| self.is_large_enough(*place, route))
    }

    /// Whether the reserved place was lost, has lost slots or is held back, so that it is no use to keep it.
    pub(super) fn is_reserved_in_vain(&self) -> bool {
        (self.reserved)
            .is_some_and(|reserved| !self.is_large_enough(reserved.place, reserved.takes))
    }

    /// Returns the place that is reserved, and for which route.
    pub(super) fn reserved(&self) -> Option<ReservedPlace> {
        self.reserved
    }

    /// Stops keeping a place.
    pub(super) fn release_reserved(&mut self) {
        self.reserved = None;
    }
}

/// Reports the state of a place to a run, until the sender of the state is dropped.
pub(super) async fn place_watch(
    mut state: watch::Receiver<PlaceState>,
    id: PlaceId,
    reporter: Reporter,
) {
    loop {
        let slots = match &*state.borrow_and_update() {
            PlaceState::Ready { slots } => Ok(*slots),
            PlaceState::Away => Ok(0),
            PlaceState::GivenUp(failure) => Err((**failure).clone()),
        };
        reporter.send(Report::Place { place: id, slots });
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// Reports the round trip time of a place to a run, until its sender is dropped.
pub(super) async fn round_trip_watch(
    mut round_trip: watch::Receiver<Option<Duration>>,
    place: PlaceId,
    reporter: Reporter,
) {
    loop {
        let round_trip_now = *round_trip.borrow_and_update();
        reporter.send(Report::RoundTrip {
            place,
            round_trip: round_trip_now,
        });
        if round_trip.changed().await.is_err() {
            return;
        }
    }
}

impl PlaceCount {
    fn new(name: PlaceName, slots: u32) -> Self {
        Self {
            name,
            slots,
            largest: (slots > 0).then_some(slots),
            used: 0,
            running: Arc::default(),
            numbers: SlotNumbers::default(),
            gone: None,
            held: None,
            round_trip: None,
        }
    }

    fn free(&self) -> u32 {
        self.slots.saturating_sub(self.used)
    }
}

#[cfg(test)]
mod tests;
