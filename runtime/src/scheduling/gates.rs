//! What a job can wait at: gates that many share, and places that belong to few.

use std::num::NonZeroU32;

use super::bucket::Bucket;
use super::clocks::Clocks;
use super::heap::{Heap, NOWHERE};
use super::limits::{Limit, Quota};
use super::resources::{HeldUnits, ResourcePool};

/// Jobs that share everything but their place: kind, slots, named limits.
///
/// What blocks one of them at a shared gate blocks all of them, so a whole group waits at one
/// gate and moves as one, however many hosts it spans.
#[derive(Debug)]
pub(super) struct Group {
    /// The kind of worker that its jobs need.
    pub(super) kind: u16,
    /// The number of slots that each of its jobs fills.
    pub(super) slots: u32,
    /// Its jobs run only while nothing else does.
    pub(super) alone: bool,
    /// Indices of the named limits, ascending.
    pub(super) limits: Box<[u32]>,
    /// How many units each of its jobs takes of each of these limits. Empty if that is one of each.
    pub(super) units: Box<[u64]>,
    /// Its position in the line of each of them.
    pub(super) line_positions: Box<[u32]>,
    /// Lanes that could go on from their place, by the rank of their heads.
    pub(super) lanes: Heap,
    /// The gate it waits at, or waited at last.
    pub(super) gate: u32,
    /// Its position there; nowhere while no lane could go on.
    pub(super) position: u32,
    /// The lane of jobs without a place.
    pub(super) plain: u32,
    /// How many lanes there are.
    pub(super) lane_count: u32,
    /// How long its jobs have lacked each thing, if waiting times are recorded.
    pub(super) clocks: Clocks,
    /// The first group of its kind, which stays for the next fully parallel job.
    pub(super) lasting: bool,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            kind: 0,
            slots: 0,
            alone: false,
            limits: Box::default(),
            units: Box::default(),
            line_positions: Box::default(),
            lanes: Heap::default(),
            gate: NOWHERE,
            position: NOWHERE,
            plain: NOWHERE,
            lane_count: 0,
            clocks: Clocks::default(),
            lasting: false,
        }
    }
}

impl Group {
    /// How many units each of its jobs takes of the limit with this place among its limits.
    pub(super) fn units_at(&self, at: usize) -> u64 {
        self.units.get(at).copied().unwrap_or(1)
    }

    /// How many units each of its jobs takes of this limit, which it names.
    pub(super) fn units_of(&self, limit: u32) -> u64 {
        if self.units.is_empty() {
            return 1;
        }
        #[expect(
            clippy::expect_used,
            reason = "only groups that name a limit are put in its line"
        )]
        let at = (self.limits.binary_search(&limit)).expect("the group names the limit");
        self.units[at]
    }
}

/// The condition that holds back the groups of a gate.
#[derive(Clone, Copy, Debug)]
pub(super) enum GateCondition {
    /// As many free slots as each job of its groups fills.
    Slots,
    /// Nothing at all running.
    Quiet,
    /// A free worker of its groups' kind.
    Kind,
    /// A unit of this limit, or as many units of this resource as each job of its groups takes.
    Limit(u32),
}

/// The groups that wait for the same condition.
#[derive(Debug)]
pub(super) struct Gate {
    /// The condition that its groups lack.
    pub(super) barred: GateCondition,
    /// The groups that wait here, by the rank of their first jobs.
    pub(super) groups: Heap,
    /// Nobody here can pass until something about this gate changes.
    pub(super) shut: bool,
    /// Its position among the gates worth looking at.
    pub(super) position: u32,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new(GateCondition::Slots)
    }
}

impl Gate {
    /// Makes a gate at which no group waits, for groups that lack this.
    pub(super) fn new(barred: GateCondition) -> Self {
        Self {
            barred,
            groups: Heap::default(),
            shut: false,
            position: NOWHERE,
        }
    }
}

/// A limit that jobs name, or a resource of which they take units.
#[derive(Debug)]
pub(super) struct NamedLimit {
    /// The name by which jobs call the limit.
    pub(super) name: Box<str>,
    /// How much of the limit is left.
    pub(super) level: Level,
    /// Every group that names it and could go on from its place, wherever it waits.
    pub(super) line: Heap,
    /// The gate at which groups wait for a unit of the limit. Of a resource, it is that of groups that take one.
    pub(super) gate: u32,
    /// Its position among the timers.
    pub(super) wake: u32,
}

impl NamedLimit {
    /// The gate at which groups wait whose jobs take so many units of it.
    pub(super) fn gate_of(&self, units: u64) -> u32 {
        match self.level.resource() {
            Some(level) if units != 1 => {
                #[expect(
                    clippy::expect_used,
                    reason = "a group that takes units has made the gate for it"
                )]
                let at = level.find_gate(units).expect("units in use have a gate");
                level.gates[at].gate
            }
            _ => self.gate,
        }
    }
}

/// How much of a limit is left.
#[derive(Debug)]
pub(super) enum Level {
    /// A bound on how many jobs run, and how many do.
    Max { max: NonZeroU32, held: u32 },
    /// A bound on how often jobs start.
    Rate(Bucket),
    /// The units of a resource.
    Resource(Box<ResourceLevel>),
}

/// What is left of a resource, and where groups wait for it.
#[derive(Debug)]
pub(super) struct ResourceLevel {
    /// Which units are free.
    pub(super) pool: ResourcePool,
    /// The gates of groups that take more than one unit, by their units: groups at one gate pass one after the other, so
    /// those that need less may not stand behind those that need more.
    pub(super) gates: Vec<UnitsGate>,
}

/// The gate of the groups that take so many units of a resource.
#[derive(Debug)]
pub(super) struct UnitsGate {
    /// How many units each of their jobs takes.
    pub(super) units: u64,
    pub(super) gate: u32,
    /// How many groups there are.
    pub(super) groups: u32,
}

impl ResourceLevel {
    /// Where the gate of groups stands that take so many units, or where it would stand.
    pub(super) fn find_gate(&self, units: u64) -> Result<usize, usize> {
        self.gates.binary_search_by_key(&units, |gate| gate.units)
    }
}

impl Level {
    /// Makes the level of a limit of which nothing is taken yet.
    pub(super) fn new(limit: Limit) -> Self {
        match limit {
            Limit::Max(max) => Self::Max { max, held: 0 },
            Limit::Rate(quota) => Self::Rate(Bucket::new(quota)),
        }
    }

    /// Returns the limit as it is set now, unless it is a resource.
    pub(super) fn limit(&self) -> Option<Limit> {
        match self {
            Self::Max { max, .. } => Some(Limit::Max(*max)),
            Self::Rate(bucket) => Some(Limit::Rate(bucket.quota())),
            Self::Resource(_) => None,
        }
    }

    /// Returns the resource, if it is one.
    pub(super) fn resource(&self) -> Option<&ResourceLevel> {
        match self {
            Self::Resource(level) => Some(level),
            Self::Max { .. } | Self::Rate(_) => None,
        }
    }

    /// Whether this many units are free at this moment.
    pub(super) fn holds(&self, units: u64, now: u64) -> bool {
        match self {
            // The max may have been lowered below what is held.
            Self::Max { max, held } => u64::from(max.get().saturating_sub(*held)) >= units,
            Self::Rate(bucket) => u32::try_from(units).is_ok_and(|units| bucket.holds(units, now)),
            Self::Resource(level) => level.pool.free() >= units,
        }
    }

    /// Takes units: one, unless it is a resource. Returns which units of a resource were taken.
    pub(super) fn take(&mut self, units: u64, now: u64) -> Option<HeldUnits> {
        match self {
            Self::Max { held, .. } => *held += 1,
            Self::Rate(bucket) => bucket.take(now),
            Self::Resource(level) => return Some(level.pool.take(units)),
        }
        None
    }

    /// Counts a token that was taken as used only now.
    pub(super) fn take_later(&mut self, now: u64) {
        if let Self::Rate(bucket) = self {
            bucket.take_later(now);
        }
    }

    /// Returns when this many units will be free if no job gives one back: only the units of a rate come with time.
    pub(super) fn when(&self, units: u32) -> Option<u64> {
        match self {
            Self::Max { .. } | Self::Resource(_) => None,
            Self::Rate(bucket) => bucket.when(units),
        }
    }
}

/// A host or a rate key, as long as a job needs it.
#[derive(Debug)]
pub(super) struct HostOrKey {
    /// The name of the host, or the key.
    pub(super) name: Box<str>,
    /// What jobs claim of it.
    pub(super) hold: LockOrBucket,
    /// The first of its lanes; the others follow as siblings.
    pub(super) lanes: u32,
    /// Its position among the timers that can let a job start.
    pub(super) wake: u32,
    /// Its position among the timers that cannot: a job falls due, a bucket is full.
    pub(super) chore: u32,
}

/// What a place has to give.
#[derive(Debug)]
pub(super) enum LockOrBucket {
    /// The lock of a host.
    Host {
        /// A job has the lock.
        locked: bool,
    },
    /// The bucket of a rate key.
    Key {
        /// What jobs declare, which the bucket's own quota may differ from since it was changed.
        declared: Quota,
        /// The tokens that are left.
        bucket: Bucket,
    },
}

impl Default for HostOrKey {
    fn default() -> Self {
        Self::new(Box::default(), LockOrBucket::Host { locked: false })
    }
}

impl HostOrKey {
    /// Makes a place with this lock or bucket, where no job waits.
    pub(super) fn new(name: Box<str>, hold: LockOrBucket) -> Self {
        Self {
            name,
            hold,
            lanes: NOWHERE,
            wake: NOWHERE,
            chore: NOWHERE,
        }
    }

    /// Whether the lock is free, or this many tokens are there, at this moment.
    pub(super) fn holds(&self, units: u32, now: u64) -> bool {
        match &self.hold {
            LockOrBucket::Host { locked } => !locked && units <= 1,
            LockOrBucket::Key { bucket, .. } => bucket.holds(units, now),
        }
    }

    /// Takes the lock, or one token.
    pub(super) fn take(&mut self, now: u64) {
        match &mut self.hold {
            LockOrBucket::Host { locked } => *locked = true,
            LockOrBucket::Key { bucket, .. } => bucket.take(now),
        }
    }

    /// Returns when this many tokens will be there; a lock does not come with time.
    pub(super) fn when(&self, units: u32) -> Option<u64> {
        match &self.hold {
            LockOrBucket::Host { .. } => None,
            LockOrBucket::Key { bucket, .. } => bucket.when(units),
        }
    }
}
