//! A job comes in: its claims are compiled, and it is put in its lane.

use std::time::Instant;

use super::super::bucket::Bucket;
use super::super::claims::{GLOBAL, PrivateClaim, Request};
use super::super::gates::{Barred, Group, Hold, Place};
use super::super::heap::NOWHERE;
use super::super::limits::Quota;
use super::super::priority::Rank;
use super::super::queue::{Lane, QueuedJob, Standing};
use super::{KindOfWorker, Scheduler, Workers};
use crate::Error;
use crate::ids::Ticket;

impl Scheduler {
    /// Takes in a job, which starts by a later [`pop`](Self::pop).
    ///
    /// Refused, with nothing changed: a job when the queue is full, one that could never run, and one
    /// whose rate key is declared differently.
    pub fn push(&mut self, request: Request<'_>, now: Instant) -> Result<Ticket, Error> {
        self.tell_time(now);
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
            due: self.now.saturating_add(span),
            seq: self.next_seq,
        };
        self.next_seq += 1;
        self.waiting += 1;
        let id = self
            .jobs
            .insert(QueuedJob::new(rank, request.priority, lane));
        self.enter(id);
        Ok(self.ticket(id))
    }

    /// Refuses a request that could never start, without changing anything.
    fn check(&self, request: &Request<'_>, private: PrivateClaim<'_>) -> Result<(), Error> {
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
            // From another scheduler, or there would be no such number.
            if *limit == GLOBAL || limit.0 as usize >= self.limits.len() {
                return Err(Error::UnknownLimit {
                    name: format!("#{}", limit.0),
                    suggestion: None,
                });
            }
        }
        if let PrivateClaim::Key(key, second) = private
            && let Some(&place) = self.keys.get(key)
            && let Hold::Key { declared, .. } = self.places[place].hold
            && declared != second
            // What no job uses any more binds nobody; only what was taken from it counts.
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

    /// Puts a job in its lane, for the first time or again.
    pub(super) fn enter(&mut self, id: u32) {
        // One that was sent ahead and comes back has waited all the time.
        if self.jobs[id].standing != Standing::Ahead {
            self.note_listed(id);
        }
        let lane = self.jobs[id].lane;
        let first = self.lanes[lane].head();
        self.lanes[lane].insert(id, &mut self.jobs);
        if self.lanes[lane].head() != first {
            self.refresh_lane(lane);
        }
    }

    /// Decides who may go on after the head of a lane has changed.
    pub(super) fn refresh_lane(&mut self, lane: u32) {
        match self.lanes[lane].place {
            NOWHERE => self.reposition_lane(lane, true),
            place => self.refresh_place(place),
        }
    }

    /// Finds the group of a request, or makes one.
    fn group_for(&mut self, request: &Request<'_>) -> u32 {
        let kind = self.ensure_kind(request.kind.0);
        let plain = request.slots == 1 && request.limits.is_empty();
        if plain && !request.global() && !request.alone() {
            return self.kinds[kind].base;
        }
        let mut key = std::mem::take(&mut self.group_key);
        key.clear();
        key.extend(request.limits.iter().map(|limit| limit.0));
        if request.global() {
            key.push(GLOBAL.0);
        }
        key.sort_unstable();
        key.dedup();
        let limits = key.len();
        key.extend([request.kind.0.into(), request.slots, request.alone().into()]);
        let known = self.group_index.get(&*key).copied();
        let group = known.unwrap_or_else(|| {
            let (kind, alone) = (request.kind.0, request.alone());
            let group = self.add_group(kind, request.slots, alone, &key[..limits]);
            self.group_index.insert((*key).into(), group);
            group
        });
        self.group_key = key;
        group
    }

    /// Makes a group without lanes.
    fn add_group(&mut self, kind: u16, slots: u32, alone: bool, limits: &[u32]) -> u32 {
        let gate = self.weight_gate(slots);
        self.groups.insert(Group {
            kind,
            slots,
            alone,
            limits: limits.into(),
            line_positions: vec![NOWHERE; limits.len()].into(),
            gate,
            ..Group::default()
        })
    }

    /// Returns the index of a kind of worker. If the kind is new, it is added, with all lower numbers that are missing; it has
    /// any number of workers until the scheduler is told otherwise.
    pub(super) fn ensure_kind(&mut self, kind: u16) -> usize {
        let missing = u16::try_from(self.kinds.len()).ok();
        for next in missing.into_iter().flat_map(|first| first..=kind) {
            let gate = self.add_gate(Barred::Kind);
            let base = self.add_group(next, 1, false, &[]);
            self.groups[base].lasting = true;
            self.kinds.push(KindOfWorker {
                workers: Workers::Unlimited,
                gate,
                base,
            });
        }
        kind.into()
    }

    /// Returns the gate of jobs that fill this many slots, which is made if there is none.
    pub(super) fn weight_gate(&mut self, slots: u32) -> u32 {
        match self
            .weights
            .binary_search_by_key(&slots, |(weight, _)| *weight)
        {
            Ok(at) => self.weights[at].1,
            Err(at) => {
                let gate = self.add_gate(Barred::Slots);
                self.weights.insert(at, (slots, gate));
                gate
            }
        }
    }

    /// Finds the lane of a request in its group, or makes one.
    fn lane_for(&mut self, group: u32, private: PrivateClaim<'_>) -> u32 {
        let place = match private {
            PrivateClaim::Nothing => {
                if self.groups[group].plain == NOWHERE {
                    self.groups[group].plain = self.add_lane(group, NOWHERE);
                }
                return self.groups[group].plain;
            }
            PrivateClaim::Host(name) => self.host_place(name),
            PrivateClaim::Key(name, quota) => self.key_place(name, quota),
        };
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

    /// Finds the place of a host, or makes one.
    fn host_place(&mut self, name: &str) -> u32 {
        let known = self.hosts.get(name).copied();
        known.unwrap_or_else(|| {
            let hold = Hold::Host { locked: false };
            let place = self.places.insert(Place::new(name.into(), hold));
            self.hosts.insert(name.into(), place);
            place
        })
    }

    /// Finds the place of a rate key, or makes one.
    fn key_place(&mut self, name: &str, quota: Quota) -> u32 {
        let holds = self.changed_rates.get(name).copied().unwrap_or(quota);
        let Some(&place) = self.keys.get(name) else {
            let hold = Hold::Key {
                declared: quota,
                bucket: Bucket::new(holds),
            };
            let place = self.places.insert(Place::new(name.into(), hold));
            self.keys.insert(name.into(), place);
            return place;
        };
        if let Hold::Key { declared, bucket } = &mut self.places[place].hold
            && *declared != quota
        {
            // Nobody used the old declaration any more, or this job would have been refused.
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
