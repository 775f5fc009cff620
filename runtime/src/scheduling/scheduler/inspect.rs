//! The figures and states that a scheduler shows to its callers.

use std::time::Duration;

use super::super::claims::Kind;
use super::super::gates::{Level, LockOrBucket};
use super::super::heap::NOWHERE;
use super::super::hints::ParallelizationHint;
use super::super::limits::{Limit, Quota};
use super::super::priority::Rank;
use super::super::queue::QueuedState;
use super::super::resources::{Resource, ResourceId, ResourceShare};
use super::Scheduler;
use crate::ids::{SlotNumber, Ticket};

/// The sizes of a scheduler: how many jobs, slots, hosts, keys and lanes it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerLoad {
    /// How many jobs wait, for whatever reason.
    pub waiting: usize,
    /// How many jobs run.
    pub running: usize,
    /// How many jobs were sent ahead. They neither wait nor run.
    pub ahead: usize,
    /// How many slots running jobs fill.
    pub slots_used: u32,
    /// How many slots there are in all.
    pub slots: u32,
    /// How many hosts a waiting or running job needs exclusively.
    pub hosts: usize,
    /// How many rate keys a job uses, or have a bucket that is not full again yet.
    pub keys: usize,
    /// How many lanes there are: different sets of claims among the jobs.
    pub lanes: usize,
}

/// The bucket of a rate key, as of the moment of the call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeyState {
    /// How many tokens the bucket has.
    pub tokens: f64,
    /// The rate and the burst of the bucket.
    pub quota: Quota,
}

/// The state of a named limit, as of the moment of the call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitState {
    /// What the limit allows.
    pub limit: Limit,
    /// How many units, or tokens, are free.
    pub left: f64,
}

impl Scheduler {
    /// Whether a waiting job of a kind is known to lack only a worker of its kind.
    pub fn lacks_only_workers(&self, kind: Kind) -> bool {
        let kind = self.kinds.get(usize::from(kind.0));
        kind.is_some_and(|kind| self.gates[kind.gate].groups.top().is_some())
    }

    /// Returns the rank of the first job of a kind that is known to lack only a worker of its kind, if that job is due.
    pub(crate) fn due_for_worker(&self, kind: Kind) -> Option<Rank> {
        let kind = self.kinds.get(usize::from(kind.0))?;
        let (rank, _) = self.gates[kind.gate].groups.top()?;
        self.is_due(rank).then_some(rank)
    }

    /// Returns how many jobs wait and run, and how many slots they fill.
    pub fn load(&self) -> SchedulerLoad {
        SchedulerLoad {
            waiting: self.waiting,
            running: self.running as usize,
            ahead: self.ahead as usize,
            slots_used: self.used,
            slots: self.total,
            hosts: self.hosts.len(),
            keys: self.keys.len(),
            lanes: self.lanes.len(),
        }
    }

    /// Returns how many more jobs may be pushed.
    pub fn room(&self) -> usize {
        self.capacity.saturating_sub(self.waiting)
    }

    /// Returns how many of the waiting jobs claim only one slot, so that only slots and workers hold them back.
    pub fn waiting_without_claims(&self) -> usize {
        let plain = self.kinds.iter().map(|kind| self.groups[kind.base].plain);
        let lanes = plain.filter(|&lane| lane != NOWHERE);
        lanes.map(|lane| self.lanes[lane].waiting as usize).sum()
    }

    /// Whether this job waits, runs or was sent ahead.
    ///
    /// ```
    /// use std::time::Instant;
    /// use ratchet_runtime::{SchedulerRequest, Scheduler, SchedulerSettings};
    ///
    /// let now = Instant::now();
    /// let mut scheduler = Scheduler::new(SchedulerSettings::default(), now)?;
    /// let job = scheduler.push(SchedulerRequest::new("resize"), now)?;
    /// assert!(scheduler.knows(job));
    /// scheduler.cancel(job)?;
    /// assert!(!scheduler.knows(job));
    /// # Ok::<(), ratchet_runtime::Error>(())
    /// ```
    pub fn knows(&self, ticket: Ticket) -> bool {
        self.find(ticket).is_ok()
    }

    /// Whether this job runs.
    pub fn is_running(&self, ticket: Ticket) -> bool {
        self.find(ticket)
            .is_ok_and(|id| self.jobs[id].queued_state == QueuedState::Running)
    }

    /// Returns the first slot that a running job fills: the lowest number that was free when it started, or that of the
    /// job in whose place it began.
    pub fn slot(&self, ticket: Ticket) -> Option<SlotNumber> {
        self.find(ticket).ok().and_then(|id| self.jobs[id].slot)
    }

    /// Returns the greatest number among the slots that a running job fills.
    pub(crate) fn last_slot(&self, ticket: Ticket) -> Option<SlotNumber> {
        let id = self.find(ticket).ok()?;
        let more = self.more_numbers.get(&id).into_iter().flatten().copied();
        self.jobs[id].slot.into_iter().chain(more).max()
    }

    /// Whether this job waits for its not-before time.
    pub fn is_delayed(&self, ticket: Ticket) -> bool {
        self.find(ticket)
            .is_ok_and(|id| self.jobs[id].queued_state == QueuedState::Delayed)
    }

    /// Returns how long a job still has to wait for its not-before time, `None` if it does not wait for one.
    pub(crate) fn delay_left(&self, ticket: Ticket, now: std::time::Instant) -> Option<Duration> {
        let id = self.find(ticket).ok()?;
        let job = &self.jobs[id];
        let now = self.now.max(super::since(self.epoch, now));
        (job.queued_state == QueuedState::Delayed).then(|| {
            let due = self.delayed.rank_at(job.position()).due;
            Duration::from_nanos(due.saturating_sub(now))
        })
    }

    /// Returns the name of the hint of a job that waits, runs or was sent ahead, derived from its claims.
    pub(crate) fn hint_name(&self, ticket: Ticket) -> Option<&'static str> {
        let lane = &self.lanes[self.jobs[self.find(ticket).ok()?].lane];
        let group = &self.groups[lane.group];
        // The global lock is the first of all limits.
        let is_global = group.limits.first() == Some(&0);
        let hint = match self.places.get(lane.place).map(|place| &place.hold) {
            _ if group.alone => &ParallelizationHint::Alone,
            _ if is_global => &ParallelizationHint::GlobalExclusive,
            Some(LockOrBucket::Host { .. }) => &ParallelizationHint::HostExclusive,
            Some(LockOrBucket::Key { .. }) => return Some("rate_limited"),
            None => &ParallelizationHint::FullyParallel,
        };
        Some(hint.name())
    }

    /// Whether no job holds the global lock.
    pub fn global_available(&self) -> bool {
        self.limits[0].level.holds(1, self.now)
    }

    /// Iterates over the hosts that a job needs exclusively, each with whether a job holds it now.
    pub fn hosts(&self) -> impl Iterator<Item = (&str, bool)> {
        self.hosts.iter().map(|(name, &place)| {
            let locked = matches!(self.places[place].hold, LockOrBucket::Host { locked: true });
            (&**name, locked)
        })
    }

    /// Iterates over the rate keys that are in use.
    pub fn keys(&self, now: std::time::Instant) -> impl Iterator<Item = (&str, KeyState)> {
        let now = self.now.max(super::since(self.epoch, now));
        self.keys.iter().map(move |(name, &place)| {
            let LockOrBucket::Key { bucket, .. } = &self.places[place].hold else {
                unreachable!("the place of a rate key has a bucket");
            };
            let state = KeyState {
                tokens: bucket.tokens(now),
                quota: bucket.quota(),
            };
            (&**name, state)
        })
    }

    /// Iterates over the named limits, each with what is left of it.
    pub fn limits(&self, now: std::time::Instant) -> impl Iterator<Item = (&str, LimitState)> {
        let now = self.now.max(super::since(self.epoch, now));
        // The first is the global lock, which has no name.
        self.limits.iter().skip(1).filter_map(move |named| {
            let left = match &named.level {
                Level::Max { max, held } => f64::from(max.get().saturating_sub(*held)),
                Level::Rate(bucket) => bucket.tokens(now),
                Level::Resource(_) => return None,
            };
            let limit = named.level.limit()?;
            Some((&*named.name, LimitState { limit, left }))
        })
    }

    /// Iterates over the resources, each with the number of its free units.
    pub fn resources(&self) -> impl Iterator<Item = (&str, &Resource, u64)> {
        let levels = self
            .limits
            .iter()
            .filter_map(|named| named.level.resource());
        levels.map(|level| {
            let pool = &level.pool;
            (pool.name().as_str(), pool.resource(), pool.free())
        })
    }

    /// Returns how many units there are of a resource that this scheduler has declared.
    pub(crate) fn total_of(&self, resource: ResourceId) -> u64 {
        let level = self.limits[resource.0 as usize].level.resource();
        level.map_or(0, |level| level.pool.resource().total())
    }

    /// Returns what a running job holds of the resources that it takes.
    ///
    /// ```
    /// use std::time::Instant;
    /// use ratchet_runtime::{Decision, SchedulerRequest, Resource, Scheduler, SchedulerSettings};
    ///
    /// let now = Instant::now();
    /// let gpus = Resource::identities(["0", "1"])?;
    /// let mut scheduler = Scheduler::new(
    ///     SchedulerSettings { slots: 4, resources: vec![("gpu".to_owned(), gpus)], ..SchedulerSettings::default() },
    ///     now,
    /// )?;
    /// let gpu = scheduler.resource("gpu")?;
    /// let one = [(gpu, 1)];
    /// let train = || SchedulerRequest { resources: &one, ..SchedulerRequest::new("train") };
    /// let jobs = [train(), train(), train()].map(|job| scheduler.push(job, now).unwrap());
    /// assert_eq!(scheduler.pop(now), Decision::Start(jobs[0]));
    /// assert_eq!(scheduler.pop(now), Decision::Start(jobs[1]));
    /// // The third has a slot, and waits for a device.
    /// assert_eq!(scheduler.pop(now), Decision::Idle);
    /// assert_eq!(scheduler.shares(jobs[1])[0].value(), "1");
    /// scheduler.finish(jobs[0])?;
    /// assert_eq!(scheduler.pop(now), Decision::Start(jobs[2]));
    /// assert_eq!(scheduler.shares(jobs[2])[0].value(), "0");
    /// # Ok::<(), ratchet_runtime::Error>(())
    /// ```
    pub fn shares(&self, ticket: Ticket) -> Vec<ResourceShare> {
        let Ok(id) = self.find(ticket) else {
            return Vec::new();
        };
        let Some(held) = self.held_units.get(&id) else {
            return Vec::new();
        };
        let group = &self.groups[self.lanes[self.jobs[id].lane].group];
        let levels = group.limits.iter();
        let levels = levels.filter_map(|limit| self.limits[*limit as usize].level.resource());
        let shares = levels.zip(held).map(|(level, held)| level.pool.share(held));
        shares.collect()
    }
}
