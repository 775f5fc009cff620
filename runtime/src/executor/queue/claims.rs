//! The limits and resources that a job asks the scheduler for.

use smol_str::SmolStr;

use crate::Error;
use crate::job::{ResourceNeed, Terms};
use crate::scheduling::{LimitId, ResourceId, Scheduler};

/// Collects the limits and resources of one job after another, in buffers that are kept to save allocations.
pub(super) struct ClaimsBuffer {
    limits: Vec<LimitId>,
    resources: Vec<(ResourceId, u64)>,
    /// The names of the resources that each place has for itself. The scheduler does not know these resources.
    of_places: Vec<SmolStr>,
}

impl ClaimsBuffer {
    /// Makes an empty buffer. `of_places` names the resources that each place has for itself.
    pub(super) fn new(of_places: Vec<SmolStr>) -> Self {
        Self {
            limits: Vec::new(),
            resources: Vec::new(),
            of_places,
        }
    }

    /// Collects the limits that a job names.
    pub(super) fn collect_limits(
        &mut self,
        terms: &Terms,
        scheduler: &Scheduler,
    ) -> Result<&[LimitId], Error> {
        self.limits.clear();
        for name in &terms.limits {
            self.limits.push(scheduler.limit(name)?);
        }
        Ok(&self.limits)
    }

    /// Collects the resources that a job takes after this many attempts that ran out of memory.
    pub(super) fn collect_resources(
        &mut self,
        terms: &Terms,
        memory_kills: u32,
        scheduler: &Scheduler,
    ) -> Result<&[(ResourceId, u64)], Error> {
        self.resources.clear();
        for need in &terms.resources {
            if self.of_places.iter().any(|name| *name == need.name) {
                continue;
            }
            let id = scheduler.resource(&need.name)?;
            let units = need.units_after(terms, memory_kills, scheduler.total_of(id));
            self.resources.push((id, units));
        }
        Ok(&self.resources)
    }

    /// Returns the limits that were collected last.
    pub(super) fn limits(&self) -> &[LimitId] {
        &self.limits
    }

    /// Returns the resources that were collected last.
    pub(super) fn resources(&self) -> &[(ResourceId, u64)] {
        &self.resources
    }
}

/// Returns how many units of a resource a job takes after this many attempts that ran out of memory.
pub(super) fn units_needed(
    need: &ResourceNeed,
    terms: &Terms,
    memory_kills: u32,
    scheduler: &Scheduler,
) -> u64 {
    match scheduler.resource(&need.name) {
        Ok(id) => need.units_after(terms, memory_kills, scheduler.total_of(id)),
        Err(_) => need.units,
    }
}
