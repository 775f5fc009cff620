//! Takes in jobs: compiles their claims, and puts each in its lane.

use std::time::Instant;

use super::super::bucket::{Bucket, since};
use super::super::claims::{GLOBAL, PrivateClaim, SchedulerRequest};
use super::super::gates::{Gate, GateCondition, Group, HostOrKey, Level, LockOrBucket, UnitsGate};
use super::super::heap::NOWHERE;
use super::super::limits::Quota;
use super::super::priority::Rank;
use super::super::queue::{Lane, QueuedJob, QueuedState};
use super::super::resources::ResourceId;
use super::{KindState, Scheduler, Workers};
use crate::Error;
use crate::ids::Ticket;

impl Scheduler {
    /// Adds a job, which a later [`pop`](Self::pop) starts.
    ///
    /// It is refused, and nothing is changed, when the queue is full, when it could never run, and when its rate key is
    /// declared differently.
    pub fn push(&mut self, request: SchedulerRequest<'_>, now: Instant) -> Result<Ticket, Error> {
        let number = self.next_number;
        self.next_number += 1;
        self.push_late(request, (now, number), now)
    }

    /// Adds a job that came before now, because it had to wait for something that the scheduler does not know.
    ///
    /// The job is as old as if it had been pushed at the moment of `came`. Of jobs that came at the same moment, the one
    /// with the smaller number goes first. So all jobs of a scheduler are pushed with numbers of the caller, or none.
    pub fn push_late(
        &mut self,
        request: SchedulerRequest<'_>,
        came: (Instant, u64),
        now: Instant,
    ) -> Result<Ticket, Error> {
        self.advance_time(now);
        let private = request.private_claim()?;
        self.check(&request, private)?;

        let group = self.group_for(&request);
        let lane = self.lane_for(group, private);
        self.lanes[lane].jobs += 1;
        if request.slots > 1 {
            *self.heavy.entry(request.slots).or_default() += 1;
        }

        let span = self.ageing.span(request.priority).as_nanos();
        let span = u64::try_from(span).unwrap_or(u64::MAX);
        let rank = Rank {
            due: since(self.epoch, came.0).min(self.now).saturating_add(span),
            seq: came.1,
        };
        self.waiting += 1;
        let id = self
            .jobs
            .insert(QueuedJob::new(rank, request.priority, lane));
        self.enter(id);
        Ok(self.ticket(id))
    }

    /// Refuses a request that could never start, without changing anything.
    fn check(
        &self,
        request: &SchedulerRequest<'_>,
        private: PrivateClaim<'_>,
    ) -> Result<(), Error> {
        if self.waiting >= self.capacity {
            return Err(Error::QueueFull {
                capacity: self.capacity,
            });
        }
        if request.slots == 0 || request.slots > self.total {
            return Err(Error::ImpossibleSlots {
                asked: request.slots,
                total: self.total,
            });
        }
        for limit in request.limits {
            // An id of another scheduler may have no such number here.
            let named = self.limits.get(limit.0 as usize);
            if *limit == GLOBAL || named.is_none_or(|named| named.level.resource().is_some()) {
                return Err(Error::UnknownLimit {
                    name: format!("#{}", limit.0),
                    suggestion: None,
                });
            }
        }
        self.check_resources(request.resources)?;
        if let PrivateClaim::Key(key, second) = private
            && let Some(&place) = self.keys.get(key)
            && let LockOrBucket::Key { declared, .. } = self.places[place].hold
            && declared != second
            // A declaration that no job uses any more is not binding; only the tokens that were taken count.
            && self.places[place].lanes != NOWHERE
        {
            return Err(Error::RateConflict {
                key: key.to_owned(),
                first: declared.to_string(),
                second: second.to_string(),
            });
        }
        Ok(())
    }

    /// Refuses units of resources if there will never be as many.
    pub(super) fn check_resources(&self, resources: &[(ResourceId, u64)]) -> Result<(), Error> {
        for (resource, units) in resources {
            let named = self.limits.get(resource.0 as usize);
            let Some(level) = named.and_then(|named| named.level.resource()) else {
                return Err(Error::UnknownResource {
                    name: format!("#{}", resource.0),
                    suggestion: None,
                });
            };
            let known = level.pool.resource();
            if *units == 0 || *units > known.total() {
                return Err(Error::ImpossibleResource {
                    name: level.pool.name().to_string(),
                    asked: known.show(*units),
                    total: known.show(known.total()),
                });
            }
        }
        Ok(())
    }

    /// Puts a job in its lane, for the first time or again.
    pub(super) fn enter(&mut self, id: u32) {
        // A job that was sent ahead and comes back has been waiting all the time.
        if self.jobs[id].queued_state != QueuedState::Ahead {
            self.note_listed(id);
        }
        let lane = self.jobs[id].lane;
        let first = self.lanes[lane].head();
        self.lanes[lane].insert(id, &mut self.jobs);
        if self.lanes[lane].head() != first {
            self.refresh_lane(lane);
        }
    }

    /// Decides which lanes may pass after the head of a lane has changed.
    pub(super) fn refresh_lane(&mut self, lane: u32) {
        match self.lanes[lane].place {
            NOWHERE => self.reposition_lane(lane, true),
            place => self.refresh_place(place),
        }
    }

    /// Finds or makes the group of a request.
    fn group_for(&mut self, request: &SchedulerRequest<'_>) -> u32 {
        let kind = self.ensure_kind(request.kind.0);
        let plain = request.slots == 1 && request.limits.is_empty() && request.resources.is_empty();
        if plain && !request.global() && !request.alone() {
            return self.kinds[kind].base;
        }
        let mut key = std::mem::take(&mut self.group_key);
        key.clear();
        key.extend(request.limits.iter().map(|limit| limit.0));
        if request.global() {
            key.push(GLOBAL.0);
        }
        let rest = (request.kind.0, request.slots, request.alone());
        self.group_of(key, request.resources, rest)
    }

    /// Finds or makes the group of jobs that name these limits and take these units.
    pub(super) fn group_of(
        &mut self,
        mut key: Vec<u32>,
        resources: &[(ResourceId, u64)],
        (kind, slots, alone): (u16, u32, bool),
    ) -> u32 {
        key.extend(resources.iter().map(|(resource, _)| resource.0));
        key.sort_unstable();
        key.dedup();
        let limits = key.len();
        let units = self.units(&key, resources);
        finish_group_key(&mut key, &units, (kind, slots, alone));
        let known = self.group_index.get(&*key).copied();
        let group = known.unwrap_or_else(|| {
            let group = self.add_group(kind, slots, alone, &key[..limits], units);
            self.group_index.insert((*key).into(), group);
            group
        });
        self.group_key = key;
        group
    }

    /// Returns how many units are taken of each of these limits. Empty if no resources are taken, which is nearly
    /// always so.
    fn units(&self, limits: &[u32], resources: &[(ResourceId, u64)]) -> Box<[u64]> {
        if resources.is_empty() {
            return Box::default();
        }
        let of = |limit: &u32| {
            let same = resources.iter().filter(|(id, _)| id.0 == *limit);
            // A resource that is named twice is taken twice. The sum was checked when the request was made, or is
            // capped here.
            let sum = same.map(|(_, units)| *units).reduce(u64::saturating_add);
            let total = self.limits[*limit as usize].level.resource();
            match (sum, total) {
                (Some(sum), Some(level)) => sum.min(level.pool.resource().total()),
                _ => 1,
            }
        };
        limits.iter().map(of).collect()
    }

    /// Makes a group without lanes.
    fn add_group(
        &mut self,
        kind: u16,
        slots: u32,
        alone: bool,
        limits: &[u32],
        units: Box<[u64]>,
    ) -> u32 {
        let gate = self.weight_gate(slots);
        for (limit, units) in limits.iter().zip(&units) {
            self.add_units_gate(*limit, *units);
        }
        self.groups.insert(Group {
            kind,
            slots,
            alone,
            limits: limits.into(),
            units,
            line_positions: vec![NOWHERE; limits.len()].into(),
            gate,
            ..Group::default()
        })
    }

    /// Returns the index of a kind of worker. A new kind is added, with all lower numbers that are missing. It has any
    /// number of workers until [`set_workers`](Self::set_workers) is called.
    pub(super) fn ensure_kind(&mut self, kind: u16) -> usize {
        let missing = u16::try_from(self.kinds.len()).ok();
        for next in missing.into_iter().flat_map(|first| first..=kind) {
            let gate = self.add_gate(GateCondition::Kind);
            let base = self.add_group(next, 1, false, &[], Box::default());
            self.groups[base].lasting = true;
            self.kinds.push(KindState {
                workers: Workers::Unlimited,
                lacks: None,
                gate,
                base,
            });
        }
        kind.into()
    }

    /// Finds or makes the gate of jobs that fill this many slots.
    pub(super) fn weight_gate(&mut self, slots: u32) -> u32 {
        match self
            .weights
            .binary_search_by_key(&slots, |(weight, _)| *weight)
        {
            Ok(at) => self.weights[at].1,
            Err(at) => {
                let gate = self.add_gate(GateCondition::Slots);
                self.weights.insert(at, (slots, gate));
                gate
            }
        }
    }

    /// Counts a group that takes this many units of a resource, and makes the gate where such groups wait.
    fn add_units_gate(&mut self, limit: u32, units: u64) {
        let Level::Resource(level) = &mut self.limits[limit as usize].level else {
            return;
        };
        if units == 1 {
            return; // It waits at the gate that each limit has.
        }
        match level.find_gate(units) {
            Ok(at) => level.gates[at].groups += 1,
            Err(at) => {
                let gate = self.gates.insert(Gate::new(GateCondition::Limit(limit)));
                level.gates.insert(
                    at,
                    UnitsGate {
                        units,
                        gate,
                        groups: 1,
                    },
                );
            }
        }
    }

    /// Counts down the groups that take this many units of a resource. The last one removes the gate.
    #[expect(
        clippy::expect_used,
        reason = "`add_units_gate` has counted the group, and only this function undoes that"
    )]
    pub(super) fn remove_units_gate(&mut self, limit: u32, units: u64) {
        let Level::Resource(level) = &mut self.limits[limit as usize].level else {
            return;
        };
        if units == 1 {
            return;
        }
        let at = (level.find_gate(units)).expect("the gate of units in use is there");
        level.gates[at].groups -= 1;
        if level.gates[at].groups == 0 {
            let gone = level.gates.remove(at);
            self.gates.remove(gone.gate);
        }
    }

    /// Finds or makes the lane of a request in its group.
    fn lane_for(&mut self, group: u32, private: PrivateClaim<'_>) -> u32 {
        let place = match private {
            PrivateClaim::Nothing => NOWHERE,
            PrivateClaim::Host(name) => self.host_place(name),
            PrivateClaim::Key(name, quota) => self.key_place(name, quota),
        };
        self.lane_at(group, place)
    }

    /// Finds or makes the lane of a group at a place.
    pub(super) fn lane_at(&mut self, group: u32, place: u32) -> u32 {
        if place == NOWHERE {
            if self.groups[group].plain == NOWHERE {
                self.groups[group].plain = self.add_lane(group, NOWHERE);
            }
            return self.groups[group].plain;
        }
        let existing = self
            .lanes_of(place)
            .find(|&lane| self.lanes[lane].group == group);
        existing.unwrap_or_else(|| {
            let lane = self.add_lane(group, place);
            self.lanes[lane].sibling = self.places[place].lanes;
            self.places[place].lanes = lane;
            lane
        })
    }

    /// Finds or makes the place of a host.
    fn host_place(&mut self, name: &str) -> u32 {
        let known = self.hosts.get(name).copied();
        known.unwrap_or_else(|| {
            let hold = LockOrBucket::Host { locked: false };
            let place = self.places.insert(HostOrKey::new(name.into(), hold));
            self.hosts.insert(name.into(), place);
            place
        })
    }

    /// Finds or makes the place of a rate key.
    fn key_place(&mut self, name: &str, quota: Quota) -> u32 {
        let holds = self.changed_rates.get(name).copied().unwrap_or(quota);
        let Some(&place) = self.keys.get(name) else {
            let hold = LockOrBucket::Key {
                declared: quota,
                bucket: Bucket::new(holds),
            };
            let place = self.places.insert(HostOrKey::new(name.into(), hold));
            self.keys.insert(name.into(), place);
            return place;
        };
        if let LockOrBucket::Key { declared, bucket } = &mut self.places[place].hold
            && *declared != quota
        {
            // No job used the old declaration any more, or this job would have been refused.
            *declared = quota;
            bucket.change(holds, self.now);
        }
        place
    }

    /// Makes a lane without jobs, and links it to its place.
    fn add_lane(&mut self, group: u32, place: u32) -> u32 {
        self.groups[group].lane_count += 1;
        self.lanes.insert(Lane::new(group, place))
    }
}

/// Completes the key of a group, which begins with its limits. Groups that differ in anything have different keys: the
/// last number shows whether there are units, and so how many of the numbers are limits.
pub(super) fn finish_group_key(
    key: &mut Vec<u32>,
    units: &[u64],
    (kind, slots, alone): (u16, u32, bool),
) {
    for units in units {
        let bytes = units.to_ne_bytes();
        let (halves, _) = bytes.as_chunks::<4>();
        key.extend(halves.iter().map(|half| u32::from_ne_bytes(*half)));
    }
    let has_units = u32::from(!units.is_empty()) << 1;
    key.extend([kind.into(), slots, u32::from(alone) | has_units]);
}
