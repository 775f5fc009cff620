//! The resources that places have for themselves, such as the devices of a host.
//!
//! A resource that a host declares belongs to places: each place has its own units of it, and the local place has those
//! that the run declares. A job takes units of the place where it starts, in the same step as its slots. All other
//! resources belong to the run, and the scheduler counts them.

use std::sync::Arc;

use smol_str::SmolStr;

use super::super::routes::NeedsId;
use crate::ids::PlaceId;
use crate::job::{ResourceNeed, Terms};
use crate::outcome::{Class, Failure};
use crate::scheduling::{HeldUnits, Resource, ResourcePool, ResourceShare};
use crate::table::Table;

/// The most different needs of a run. A user writes few of them, and a few more follow from growing memory.
const MAX_NEEDS: usize = 4096;

/// The units that an attempt holds, each with the number of its resource.
pub(super) type HeldAtPlace = Vec<(usize, HeldUnits)>;

/// The resources of all places, and what jobs take of them.
#[derive(Debug)]
pub(super) struct PlaceResources {
    /// The names of the resources, by number.
    names: Vec<SmolStr>,
    /// The units of each place, by the number of the place and that of the resource.
    pools: Vec<Vec<Option<ResourcePool>>>,
    /// What jobs take: numbers of resources with units. The first one is nothing.
    needs: Vec<Arc<[(usize, u64)]>>,
    needs_index: Table<Arc<[(usize, u64)]>, NeedsId>,
}

impl PlaceResources {
    /// Makes the resources of places, of which the first is the local one. All units are free.
    pub(super) fn new(places: Vec<Vec<(SmolStr, Resource)>>) -> Self {
        let mut names: Vec<SmolStr> = Vec::new();
        for (name, _) in places.iter().flatten() {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        let pools = places.into_iter().map(|mut declared| {
            let pool = |name: &SmolStr| {
                let at = declared.iter().position(|(other, _)| other == name)?;
                let (name, resource) = declared.swap_remove(at);
                Some(ResourcePool::new(&name, resource))
            };
            names.iter().map(pool).collect()
        });
        let nothing: Arc<[(usize, u64)]> = [].into();
        Self {
            pools: pools.collect(),
            needs_index: std::iter::once((Arc::clone(&nothing), NeedsId::NOTHING)).collect(),
            needs: vec![nothing],
            names,
        }
    }

    /// Returns the needs of a job that can run on these places, after this many attempts that ran out of memory.
    pub(super) fn needs_of(
        &mut self,
        terms: &Terms,
        memory_kills: u32,
        members: &[PlaceId],
    ) -> Result<NeedsId, Failure> {
        if self.names.is_empty() || terms.resources.is_empty() {
            return Ok(NeedsId::NOTHING);
        }
        let mut needs = Vec::new();
        for need in &terms.resources {
            let Some(number) = self.names.iter().position(|name| *name == need.name) else {
                continue; // The scheduler counts this resource.
            };
            let most = members.iter().filter_map(|place| self.pool(*place, number));
            let most = most.map(|pool| pool.resource().total()).max();
            needs.push((
                number,
                need.units_after(terms, memory_kills, most.unwrap_or(0)),
            ));
        }
        if let Some(id) = self.needs_index.get(&*needs) {
            return Ok(*id);
        }
        if self.needs.len() >= MAX_NEEDS {
            let message = format!(
                "the jobs of this run take more than {MAX_NEEDS} different amounts of resources of hosts"
            );
            return Err(Failure::new(Class::Input, message));
        }
        #[expect(clippy::expect_used, reason = "the number of needs was just checked")]
        let number = u16::try_from(self.needs.len()).expect("MAX_NEEDS is counted by a u16");
        let id = NeedsId::new(number);
        let needs: Arc<[(usize, u64)]> = needs.into();
        self.needs.push(Arc::clone(&needs));
        self.needs_index.insert(needs, id);
        Ok(id)
    }

    fn pool(&self, place: PlaceId, number: usize) -> Option<&ResourcePool> {
        self.pools[place.index()][number].as_ref()
    }

    /// Returns the names of the resources, by number.
    pub(super) fn names(&self) -> &[SmolStr] {
        &self.names
    }

    /// Returns the number of the first resource of which none of these places has as many free units as these needs take.
    pub(super) fn lack(&self, members: &[PlaceId], needs: NeedsId) -> Option<u16> {
        let mut needs = self.needs[needs.index()].iter();
        let is_lacking = |(number, units): &&(usize, u64)| {
            let mut pools = members
                .iter()
                .filter_map(|place| self.pool(*place, *number));
            !pools.any(|pool| pool.free() >= *units)
        };
        let (number, _) = needs.find(is_lacking)?;
        u16::try_from(*number).ok()
    }

    /// Returns how many jobs with these needs could start at a place at once, by the units that are free there. The units
    /// of the needs `beside` are reserved for another job.
    pub(super) fn starts(&self, place: PlaceId, needs: NeedsId, beside: NeedsId) -> u32 {
        let reserved = |resource: usize| {
            let mut reserved = self.needs[beside.index()].iter();
            reserved
                .find(|(number, _)| *number == resource)
                .map_or(0, |(_, units)| *units)
        };
        let needs = self.needs[needs.index()].iter();
        let starts = needs.map(|(number, units)| match self.pool(place, *number) {
            Some(pool) => {
                let free = pool.free().saturating_sub(reserved(*number));
                let starts = free / (*units).max(1);
                u32::try_from(starts).unwrap_or(u32::MAX)
            }
            None => 0,
        });
        starts.min().unwrap_or(u32::MAX)
    }

    /// Whether a place has as many units as these needs take, when nothing runs there.
    pub(super) fn are_enough(&self, place: PlaceId, needs: NeedsId) -> bool {
        self.first_short_need(place, needs).is_none()
    }

    /// Returns the first need of which a place does not have as many units.
    fn first_short_need(&self, place: PlaceId, needs: NeedsId) -> Option<(usize, u64)> {
        let mut needs = self.needs[needs.index()].iter().copied();
        needs.find(|(number, units)| {
            let pool = self.pool(place, *number);
            pool.is_none_or(|pool| pool.resource().total() < *units)
        })
    }

    /// Returns why no job with these needs can ever run on any of these places, if that is so.
    pub(super) fn refusal(&self, members: &[PlaceId], needs: NeedsId) -> Option<Failure> {
        if members.iter().any(|place| self.are_enough(*place, needs)) {
            return None;
        }
        let (number, units) = self.first_short_need(*members.first()?, needs)?;
        let name = &self.names[number];
        let pools = members.iter().filter_map(|place| self.pool(*place, number));
        let message = match pools
            .map(ResourcePool::resource)
            .max_by_key(|one| one.total())
        {
            None => format!(
                "it takes resource `{name}`, and no place where it may run has any: declare it in `resources` of a host"
            ),
            Some(most) if most.total() < units => format!(
                "it takes {} of resource `{name}`, and no place where it may run has more than {}",
                most.show(units),
                most.show(most.total())
            ),
            Some(_) => {
                "it takes several resources, and no place where it may run has enough of all"
                    .to_owned()
            }
        };
        Some(Failure::new(Class::Input, message))
    }

    /// Takes the units of these needs at a place, which the caller knows to be free.
    pub(super) fn take(&mut self, place: PlaceId, needs: NeedsId) -> HeldAtPlace {
        if needs == NeedsId::NOTHING {
            return HeldAtPlace::new();
        }
        let pools = &mut self.pools[place.index()];
        let needs = self.needs[needs.index()].iter();
        let held = needs.map(|(number, units)| {
            #[expect(
                clippy::expect_used,
                reason = "the caller has asked what is free there"
            )]
            let pool =
                (pools[*number].as_mut()).expect("units are taken only where there are some");
            (*number, pool.take(*units))
        });
        held.collect()
    }

    /// Frees units that were taken at a place.
    pub(super) fn give_back(&mut self, place: PlaceId, held: HeldAtPlace) {
        for (number, units) in held {
            #[expect(clippy::expect_used, reason = "places keep their resources")]
            let pool = (self.pools[place.index()][number].as_mut())
                .expect("units come back to the place where they were taken");
            pool.give_back(units);
        }
    }

    /// Describes the units that an attempt at a place holds.
    pub(super) fn shares<'a>(
        &'a self,
        place: PlaceId,
        held: &'a HeldAtPlace,
    ) -> impl Iterator<Item = ResourceShare> + 'a {
        let shares = held.iter();
        shares.filter_map(move |(number, units)| Some(self.pool(place, *number)?.share(units)))
    }

    /// Returns the first resource of which a job takes more units than are free on any of these places.
    pub(super) fn first_short_resource<'a>(
        &self,
        members: &[PlaceId],
        terms: &'a Terms,
    ) -> Option<&'a ResourceNeed> {
        terms.resources.iter().find(|need| {
            let Some(number) = self.names.iter().position(|name| *name == need.name) else {
                return false;
            };
            let mut pools = members.iter().filter_map(|place| self.pool(*place, number));
            !pools.any(|pool| pool.free() >= need.units)
        })
    }
}
