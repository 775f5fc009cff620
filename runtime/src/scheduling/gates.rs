//! What a job can wait at: gates, which many jobs share, and places, which belong to few.

use std::num::NonZeroU32;

use super::bucket::Bucket;
use super::clocks::Clocks;
use super::heap::{Heap, NOWHERE};
use super::limits::{Limit, Quota};
use super::resources::{HeldUnits, ResourcePool};

/// Jobs that share everything but their place: kind, slots, limits and units of resources.
///
/// What blocks one of them at a shared gate blocks all of them, so a whole group waits at one
/// gate and moves as one, however many hosts it spans.
#[derive(Debug)]
pub(super) struct Group {
    /// The kind of worker that its jobs need.
    pub(super) kind: u16,
    /// The number of slots that each of its jobs fills.
    pub(super) slots: u32,
    /// Whether its jobs run only while no other job does.
    pub(super) alone: bool,
    /// Indices of the named limits, ascending.
    pub(super) limits: Box<[u32]>,
    /// How many units each of its jobs takes of each of these limits. Empty if it is one of each.
    pub(super) units: Box<[u64]>,
    /// Its position in the line of each of them.
    pub(super) line_positions: Box<[u32]>,
    /// The lanes whose place lets them pass, by the rank of their heads.
    pub(super) lanes: Heap,
    /// The gate it waits at, or waited at last.
    pub(super) gate: u32,
    /// Its position at that gate; `NOWHERE` while no lane of the group could pass its place.
    pub(super) position: u32,
    /// The lane of jobs without a place.
    pub(super) plain: u32,
    /// How many lanes there are.
    pub(super) lane_count: u32,
    /// How long its jobs have lacked each thing; kept only if waiting times are recorded.
    pub(super) clocks: Clocks,
    /// Whether this is the first group of its kind, which is kept for the next fully parallel job.
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
    /// Returns how many units each of its jobs takes of the limit at this index among its limits.
    pub(super) fn units_at(&self, at: usize) -> u64 {
        self.units.get(at).copied().unwrap_or(1)
    }

    /// Returns how many units each of its jobs takes of this limit, which it has to name.
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
    /// There are not as many free slots as each job of its groups fills.
    Slots,
    /// Other jobs are running, and the jobs of its groups have to be alone.
    Quiet,
    /// No worker of its groups' kind is free.
    Kind,
    /// A unit of this limit is missing, or units of this resource for a job of its groups.
    Limit(u32),
}

/// The groups that wait for the same condition.
#[derive(Debug)]
pub(super) struct Gate {
    /// The condition that holds back its groups.
    pub(super) barred: GateCondition,
    /// The groups that wait here, by the rank of their first jobs.
    pub(super) groups: Heap,
    /// Whether no group here can pass until something about this gate changes.
    pub(super) shut: bool,
    /// Its position among the gates that may let a group pass.
    pub(super) position: u32,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new(GateCondition::Slots)
    }
}

impl Gate {
    /// Makes an empty gate, for groups that this condition holds back.
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
    /// Every group that names it and can pass its place, whichever gate it waits at.
    pub(super) line: Heap,
    /// The gate at which groups wait for a unit of the limit. Of a resource, it is the gate of groups that take one
    /// unit.
    pub(super) gate: u32,
    /// Its position among the timers.
    pub(super) wake: u32,
}

impl NamedLimit {
    /// Returns the gate of the groups whose jobs take this many units of it.
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
    /// A bound on how many jobs run, and how many run now.
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
    /// The gates of groups that take more than one unit, by the number of units. Groups at one gate pass one after the
    /// other, so groups that need few units must not wait behind groups that need more.
    pub(super) gates: Vec<UnitsGate>,
}

/// The gate of the groups that take a certain number of units of a resource.
#[derive(Debug)]
pub(super) struct UnitsGate {
    /// How many units each of their jobs takes.
    pub(super) units: u64,
    pub(super) gate: u32,
    /// How many groups there are.
    pub(super) groups: u32,
}

impl ResourceLevel {
    /// Returns the index of the gate of groups that take this many units; as an error, the index at which to insert it.
    pub(super) fn find_gate(&self, units: u64) -> Result<usize, usize> {
        self.gates.binary_search_by_key(&units, |gate| gate.units)
    }
}

impl Level {
    /// Makes the level of a limit of which no unit is taken yet.
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

    /// Returns the resource, or `None` if this is a limit.
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

    /// Takes units: always one, unless it is a resource. Returns which units of a resource were taken.
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

    /// Returns when this many units will be free if no job gives one back: `None` unless it is a rate, whose tokens
    /// come with time.
    pub(super) fn ready_at(&self, units: u32) -> Option<u64> {
        match self {
            Self::Max { .. } | Self::Resource(_) => None,
            Self::Rate(bucket) => bucket.ready_at(units),
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
    /// Its position among the timers that cannot let a job start: a job falls due, or a bucket is full.
    pub(super) chore: u32,
}

/// What the jobs of a place compete for: the lock of a host, or the tokens of a rate key.
#[derive(Debug)]
pub(super) enum LockOrBucket {
    /// The lock of a host.
    Host {
        /// Whether a job has the lock.
        locked: bool,
    },
    /// The bucket of a rate key.
    Key {
        /// The quota that jobs declare. The quota of the bucket differs from it after `set_rate`.
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

    /// Returns when this many tokens will be there; `None` for a lock, which does not become free with time.
    pub(super) fn ready_at(&self, units: u32) -> Option<u64> {
        match &self.hold {
            LockOrBucket::Host { .. } => None,
            LockOrBucket::Key { bucket, .. } => bucket.ready_at(units),
        }
    }
}
