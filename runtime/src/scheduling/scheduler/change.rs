//! The changes that are possible while jobs wait and run.

use std::time::Instant;

use super::super::claims::{Kind, LimitId};
use super::super::gates::{Level, LockOrBucket, NamedLimit};
use super::super::limits::{Limit, Quota};
use super::super::queue::QueuedState;
use super::super::resources::ResourceId;
use super::{Scheduler, Workers};
use crate::Error;
use crate::ids::Ticket;

impl Scheduler {
    /// Changes the number of slots. Running jobs keep theirs, even if they are more.
    ///
    /// Refused if a job that waits or runs fills more slots than that: it could never run again.
    pub fn set_slots(&mut self, slots: u32) -> Result<(), Error> {
        let heaviest = self.heavy.last_key_value().map_or(1, |(weight, _)| *weight);
        if slots < heaviest {
            return Err(Error::ImpossibleSlots {
                asked: heaviest,
                total: slots,
            });
        }
        let before = self.free();
        self.total = slots;
        self.reopen_weights(before);
        Ok(())
    }

    /// Sets how many workers of a kind are free. A kind for which this was never set has any number.
    pub fn set_workers(&mut self, kind: Kind, workers: Workers) {
        let kind = self.ensure_kind(kind.0);
        self.kinds[kind].workers = workers;
        if !workers.are_none() {
            self.reopen(self.kinds[kind].gate);
        }
    }

    /// Records which of the [resources that the caller counts](Self::keep_waits) the jobs of a kind lack. It only decides
    /// to what their waiting time is charged.
    pub(crate) fn set_lack(&mut self, kind: Kind, resource: Option<u16>) {
        let kind = self.ensure_kind(kind.0);
        self.kinds[kind].lacks = resource;
    }

    /// Returns how many workers of a kind are free, as it was set last.
    pub fn workers(&self, kind: Kind) -> Workers {
        let kind = self.kinds.get(usize::from(kind.0));
        kind.map_or(Workers::Unlimited, |kind| kind.workers)
    }

    /// Changes a limit. Units that are held stay held, and tokens that were taken stay taken.
    ///
    /// A max stays a max and a rate stays a rate.
    pub fn set_limit(&mut self, id: LimitId, limit: Limit, now: Instant) -> Result<(), Error> {
        self.advance_time(now);
        let now = self.now;
        let is_limit = |named: &&mut NamedLimit| id.0 > 0 && named.level.resource().is_none();
        let Some(named) = self.limits.get_mut(id.0 as usize).filter(is_limit) else {
            return Err(Error::UnknownLimit {
                name: format!("#{}", id.0),
                suggestion: None,
            });
        };
        match (&mut named.level, limit) {
            (Level::Max { max, .. }, Limit::Max(new)) => *max = new,
            (Level::Rate(bucket), Limit::Rate(quota)) => bucket.change(quota, now),
            (level, second) => {
                return Err(Error::LimitConflict {
                    name: named.name.to_string(),
                    first: level
                        .limit()
                        .map(|first| first.to_string())
                        .unwrap_or_default(),
                    second: second.to_string(),
                });
            }
        }
        let gate = named.gate;
        self.reopen(gate);
        Ok(())
    }

    /// Changes the units of resources that a waiting job takes. The job keeps its place and its not-before time.
    ///
    /// It is for a job that failed for lack of a resource and needs more of it the next time.
    ///
    /// ```
    /// use std::time::Instant;
    /// use ratchet_runtime::{Decision, SchedulerRequest, Resource, Scheduler, SchedulerSettings};
    ///
    /// let now = Instant::now();
    /// let memory = Resource::bytes(8 << 30)?;
    /// let resources = vec![("memory".to_owned(), memory)];
    /// let mut scheduler = Scheduler::new(SchedulerSettings { slots: 4, resources, ..SchedulerSettings::default() }, now)?;
    /// let memory = scheduler.resource("memory")?;
    /// let job = scheduler.push(SchedulerRequest { resources: &[(memory, 2 << 30)], ..SchedulerRequest::new("link") }, now)?;
    /// assert_eq!(scheduler.pop(now), Decision::Start(job));
    /// scheduler.retry(job, now)?;
    /// scheduler.set_resources(job, &[(memory, 4 << 30)], now)?;
    /// assert_eq!(scheduler.pop(now), Decision::Start(job));
    /// assert_eq!(scheduler.shares(job)[0].units(), 4 << 30);
    /// # Ok::<(), ratchet_runtime::Error>(())
    /// ```
    pub fn set_resources(
        &mut self,
        ticket: Ticket,
        resources: &[(ResourceId, u64)],
        now: Instant,
    ) -> Result<(), Error> {
        self.change_needs(ticket, (None, None), resources, now)
    }

    /// Changes the kind of worker that a waiting job needs, and the units of resources that it takes.
    pub(crate) fn set_kind_and_resources(
        &mut self,
        ticket: Ticket,
        kind: Kind,
        resources: &[(ResourceId, u64)],
        now: Instant,
    ) -> Result<(), Error> {
        self.ensure_kind(kind.0);
        self.change_needs(ticket, (Some(kind), None), resources, now)
    }

    /// Changes the kind of worker that a waiting job needs, how many slots it fills, which are no more than there are, and
    /// the units of resources that it takes.
    pub(crate) fn set_kind_and_slots(
        &mut self,
        ticket: Ticket,
        (kind, slots): (Kind, u32),
        resources: &[(ResourceId, u64)],
        now: Instant,
    ) -> Result<(), Error> {
        self.ensure_kind(kind.0);
        self.change_needs(ticket, (Some(kind), Some(slots)), resources, now)
    }

    fn change_needs(
        &mut self,
        ticket: Ticket,
        (kind, slots): (Option<Kind>, Option<u32>),
        resources: &[(ResourceId, u64)],
        now: Instant,
    ) -> Result<(), Error> {
        self.advance_time(now);
        let id = self.find(ticket)?;
        self.check_resources(resources)?;
        let is_listed = match self.jobs[id].queued_state {
            QueuedState::Listed | QueuedState::Late => true,
            QueuedState::Delayed | QueuedState::Parked => false,
            QueuedState::Free | QueuedState::Ahead | QueuedState::Running => {
                return Err(Error::NotWaiting { ticket });
            }
        };
        let old = self.jobs[id].lane;
        let place = self.lanes[old].place;
        let group = &self.groups[self.lanes[old].group];
        let old_slots = group.slots;
        let slots = slots.unwrap_or(old_slots);
        let kind = kind.map_or(group.kind, |kind| kind.0);
        let rest = (kind, slots, group.alone);
        let mut key = std::mem::take(&mut self.group_key);
        key.clear();
        let limits = group.limits.iter().copied();
        key.extend(limits.filter(|limit| self.limits[*limit as usize].level.resource().is_none()));
        if is_listed {
            self.leave_lane(id);
            self.close_mark(id);
        }
        if slots > 1 {
            *self.heavy.entry(slots).or_default() += 1;
        }
        let group = self.group_of(key, resources, rest);
        let lane = self.lane_at(group, place);
        self.lanes[lane].jobs += 1;
        self.jobs[id].lane = lane;
        self.lanes[old].jobs -= 1;
        if self.lanes[old].jobs == 0 {
            self.drop_lane(old);
        }
        if old_slots > 1 {
            self.forget_weight(old_slots);
        }
        if is_listed {
            self.enter(id);
        }
        Ok(())
    }

    /// Changes the rate of a key, whatever its jobs declare. Use it where an API tells how often it may be called.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use ratchet_runtime::{Decision, Quota, ParallelizationHint, Rate, SchedulerRequest, Scheduler, SchedulerSettings};
    ///
    /// let start = Instant::now();
    /// let mut scheduler = Scheduler::new(SchedulerSettings::default(), start)?;
    /// let hint = ParallelizationHint::rate_limited(10.0);
    /// let call = || SchedulerRequest { hint: &hint, ..SchedulerRequest::new("ec2") };
    /// let first = scheduler.push(call(), start)?;
    /// let second = scheduler.push(call(), start)?;
    /// assert_eq!(scheduler.pop(start), Decision::Start(first));
    /// scheduler.finish(first)?;
    /// // The API has answered that it takes one call a second.
    /// scheduler.set_rate("ec2", Quota::new(Rate::per_second(1.0)?, 1)?, start);
    /// let later = |millis| start + Duration::from_millis(millis);
    /// assert_eq!(scheduler.pop(later(900)), Decision::WaitUntil(later(1000)));
    /// assert_eq!(scheduler.pop(later(1000)), Decision::Start(second));
    /// # Ok::<(), ratchet_runtime::Error>(())
    /// ```
    pub fn set_rate(&mut self, key: &str, quota: Quota, now: Instant) {
        self.advance_time(now);
        self.changed_rates.insert(key.into(), quota);
        let now = self.now;
        let Some(&place) = self.keys.get(key) else {
            return;
        };
        if let LockOrBucket::Key { bucket, .. } = &mut self.places[place].hold {
            bucket.change(quota, now);
        }
        self.refresh_place(place);
    }
}
