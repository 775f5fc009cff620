//! The scheduler, which decides which waiting job starts next.

mod accounting;
mod ahead;
mod change;
mod finish;
mod inspect;
mod lines;
mod park;
mod pop;
mod push;

pub use finish::{AfterAttempt, CancelResult};
pub use inspect::{KeyState, LimitState, SchedulerLoad};

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::bucket::since;
use super::claims::LimitId;
use super::gates::{Gate, GateCondition, Group, HostOrKey, Level, NamedLimit, ResourceLevel};
use super::heap::{Heap, NOWHERE};
use super::limits::{Limit, Quota};
use super::priority::{Ageing, Rank};
use super::queue::{Lane, QueuedJob};
use super::resources::{HeldUnits, Resource, ResourceId, ResourcePool, check_resource_name};
use super::slab::Slab;
use super::slots::SlotNumbers;
use crate::Error;
use crate::ids::{SlotNumber, Ticket};
use crate::scheduling::closest;
use crate::table::Table;

/// The decision of [`Scheduler::pop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start this job now. Its claims and slots are taken.
    Start(Ticket),
    /// Nothing can start before this moment, unless something else changes first.
    WaitUntil(Instant),
    /// Nothing can start until something changes.
    Idle,
}

/// Whether a kind of worker can take a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Workers {
    /// Any number of jobs can be taken, as for plain commands.
    #[default]
    Unlimited,
    /// This many workers are free. Each start takes one; the next call of [`Scheduler::set_workers`] replaces the
    /// count.
    Free(u32),
    /// No worker is free, and none can be before a host is connected. Jobs then wait for
    /// [`Blocker::Connect`](crate::Blocker::Connect).
    Away,
    /// No worker is free, because all connected hosts are short of memory or busy. Jobs then wait for
    /// [`Blocker::Admission`](crate::Blocker::Admission).
    Held,
    /// Some workers are free, but all slots of their hosts are filled. Jobs then wait for
    /// [`Blocker::Slot`](crate::Blocker::Slot).
    Full,
}

impl Workers {
    /// Whether no worker can take a job.
    fn are_none(self) -> bool {
        match self {
            Self::Unlimited => false,
            Self::Free(free) => free == 0,
            Self::Away | Self::Held | Self::Full => true,
        }
    }
}

/// The settings with which a scheduler is made.
///
/// ```
/// use ratchet_runtime::{Limit, SchedulerSettings};
///
/// let settings = SchedulerSettings {
///     slots: 8,
///     limits: vec![("db".to_owned(), Limit::max(4)?)],
///     ..SchedulerSettings::default()
/// };
/// # Ok::<(), ratchet_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SchedulerSettings {
    /// How many slots all running jobs may fill together.
    pub slots: u32,
    /// How many jobs may wait. A push beyond that is refused, which slows a source down.
    pub capacity: usize,
    /// How waiting makes up for priority.
    pub ageing: Ageing,
    /// The limits that jobs can name.
    pub limits: Vec<(String, Limit)>,
    /// The resources of which jobs can take units.
    pub resources: Vec<(String, Resource)>,
}

impl Default for SchedulerSettings {
    /// Returns one slot, a million waiting jobs, and no limits.
    fn default() -> Self {
        Self {
            slots: 1,
            capacity: 1_000_000,
            ageing: Ageing::default(),
            limits: Vec::new(),
            resources: Vec::new(),
        }
    }
}

/// The state of a kind of worker.
#[derive(Debug)]
struct KindState {
    /// How many of its workers are free.
    workers: Workers,
    /// The number of the resource that its jobs lack, of those that the caller counts.
    lacks: Option<u16>,
    /// The gate at which groups wait for one of its workers.
    gate: u32,
    /// The group of its jobs that fill one slot and name no limit.
    base: u32,
}

/// A pure, synchronous scheduler: the caller reports what happens and when, and the scheduler decides what may start.
///
/// # What it promises
///
/// - **All or nothing.** A job's slots, locks, limits, tokens and worker are taken in one step, at its start. A job
///   that waits holds nothing, whatever it waits for.
/// - **Order.** A pop starts the first job, by [due time](super::Priority) and then by arrival, of all that can run.
///   Within a priority that is first in, first out. A retry keeps its place.
/// - **Work conservation.** If any waiting job could run, one is started, unless a due job keeps
///   what it would take.
/// - **No starvation.** See below.
/// - **No exceeding.** Limits and locks hold at every moment, rates in every window. No identity of a resource is held by
///   two jobs.
///
/// # A job that is due keeps what it needs
///
/// A job that needs several things at once could be passed forever by jobs that need only one of them. So, as soon as
/// it is due:
///
/// 1. While it waits for its host (or its key's bucket), the lock (or one token) is kept for it
///    once free: for the first in order of the due jobs there.
/// 2. Once its host is free, or if it needs none, one unit of each limit it names is kept for
///    it, and as many units of each resource as it takes: for the first in order of the due jobs
///    that name the limit or the resource.
/// 3. Once it lacks only slots, or quiet if it must be alone, no job behind it starts.
///
/// Nothing else is held back. A due job behind a busy host keeps no slot, no unit and no worker,
/// so a backlog on one host, however old, costs the others nothing.
///
/// # The bound on waiting, and its proof
///
/// Let *T* be longer than any job runs, than any token takes to come, and than any kind of worker
/// stays busy; let the job's span be *S*, and let *n* jobs be ahead of it in order when
/// it falls due, of which some may be pushed only later because they [came](Self::push_late) before their push. **It
/// starts within S + 4(n + 1)T of its push**, time not counted while it waits for its not-before time.
///
/// *Proof.* After *S* the job *J* is due, and every job that comes from then on has a later due time, so the jobs
/// ahead are among the *n*. First, *n* = 0: no job is ahead. Its place is free within *T*, and then by rule 1 no other
/// job takes it. From then on rule 2 holds, and as *J* is first in line for each of its limits and resources, no other
/// job takes what is kept for it of any of them: what is held now comes back within *T*, after which it is there and
/// stays. Then *J* lacks at most a worker of its kind and slots. A pop looks at *J* before all others. If a worker is
/// missing, the next one to come free, within *T*, is not given to another job: either *J* starts, or it now lacks only
/// slots, and by rule 3 nothing else starts. Then within *T* all that runs has ended, and *J* starts. That is 4*T*. Now
/// *n* > 0: the first of the *n* starts within 4*T* by the same argument, which leaves *n* - 1 ahead. (A job ahead may
/// come back by a retry and take its place again: each return counts as one more of the *n*.) Induction on *n* gives
/// the bound.
///
/// # What it costs
///
/// Jobs with the same claims share one lane, of which only the head is looked at. Lanes that differ only in their host
/// or key form a group. A group that is blocked waits at the one gate that blocks it, and gates that can let no group
/// pass are not looked at: a busy host, a full limit and an empty bucket cost nothing until they change. A change is
/// one heap operation, never a search. So a push, a pop and a finish each cost O(c log n), for the job's own *c* claims
/// and *n* lanes; the length of the queue does not matter. Three numbers are assumed to be small, because they follow
/// from a user's settings and not from the size of a run: the different weights in use, the different combinations of
/// kind, weight, limits and units of resources used on one host, and the combinations that share one limit while all of
/// them are blocked by yet another. A fully parallel job hashes nothing and, once the queue has been as long before,
/// allocates nothing.
///
/// ```
/// use ratchet_runtime::{Decision, ParallelizationHint, SchedulerRequest, Scheduler, SchedulerSettings};
///
/// # #[expect(clippy::disallowed_methods, reason = "an example outside tokio")]
/// let now = std::time::Instant::now();
/// let mut scheduler = Scheduler::new(SchedulerSettings { slots: 4, ..SchedulerSettings::default() }, now)?;
/// let exclusive = |host| SchedulerRequest {
///     hint: &ParallelizationHint::HostExclusive,
///     host: Some(host),
///     ..SchedulerRequest::new("apt")
/// };
/// let first = scheduler.push(exclusive("a"), now)?;
/// let second = scheduler.push(exclusive("a"), now)?;
/// let other = scheduler.push(exclusive("b"), now)?;
///
/// // The second job waits for host a, and the one behind it goes on.
/// assert_eq!(scheduler.pop(now), Decision::Start(first));
/// assert_eq!(scheduler.pop(now), Decision::Start(other));
/// assert_eq!(scheduler.pop(now), Decision::Idle);
///
/// scheduler.finish(first)?;
/// assert_eq!(scheduler.pop(now), Decision::Start(second));
/// # Ok::<(), ratchet_runtime::Error>(())
/// ```
#[derive(Debug)]
pub struct Scheduler {
    /// The moment from which nanoseconds count.
    epoch: Instant,
    /// The latest time that the caller has passed, in nanoseconds since the epoch.
    now: u64,
    /// How waiting makes up for priority.
    ageing: Ageing,
    /// How many jobs may wait.
    capacity: usize,
    /// The number of slots.
    total: u32,
    /// How many slots running jobs fill.
    used: u32,
    /// How many jobs run.
    running: u32,
    /// How many jobs were sent ahead. They hold nothing, but a job that must be alone cannot start while there are any.
    ahead: u32,
    /// How many jobs wait, in lanes or for their not-before time.
    waiting: usize,
    /// Whether a job that must be alone is running.
    runs_alone: bool,
    /// The arrival number of the next job.
    next_number: u64,
    /// The running job of whose rates all tokens are kept back.
    freezes_rates: Option<u32>,

    /// All jobs, by the index of their ticket.
    jobs: Slab<QueuedJob>,
    /// All lanes, by their number.
    lanes: Slab<Lane>,
    /// All groups, by their number.
    groups: Slab<Group>,
    /// The numbers of groups by kind, slots, aloneness and limits, without the groups that are the `base` of a kind.
    group_index: Table<Box<[u32]>, u32>,
    /// A buffer for the key of the group that is looked up, kept to save an allocation.
    group_key: Vec<u32>,
    /// All hosts and rate keys in use, by their number.
    places: Slab<HostOrKey>,
    /// The places of hosts, by name.
    hosts: Table<Box<str>, u32>,
    /// The places of rate keys, by name.
    keys: Table<Box<str>, u32>,
    /// The quotas of rate keys that were set at run time, and replace those that jobs declare.
    changed_rates: Table<Box<str>, Quota>,
    /// The global lock and the named limits, by their number.
    limits: Vec<NamedLimit>,
    /// The numbers of named limits, by name.
    limit_index: Table<Box<str>, u32>,
    /// The numbers of resources among the limits, by name.
    resource_index: Table<Box<str>, u32>,
    /// The units of resources that running jobs hold, in the order of the limits of their groups.
    held_units: Table<u32, Vec<HeldUnits>>,
    /// What is known of each kind of worker, by its number.
    kinds: Vec<KindState>,
    /// The gate of each weight in use, lightest first.
    weights: Vec<(u32, u32)>,
    /// How many jobs, waiting or running, have each weight above one.
    heavy: BTreeMap<u32, u32>,
    /// The gate of groups whose jobs must run alone.
    quiet: u32,
    /// The numbers of free slots.
    numbers: SlotNumbers,
    /// The slots of running jobs that fill several, except the first of each.
    more_numbers: Table<u32, Vec<SlotNumber>>,
    /// The accounting of waiting times, if they are recorded.
    accounting: Option<Box<accounting::Accounting>>,

    /// All gates, by their number.
    gates: Slab<Gate>,
    /// Gates that may let a group pass, by the first group that waits there.
    open: Heap,
    /// Jobs that wait for their not-before time.
    delayed: Heap,
    /// Places and limits to check again because time may let a lane pass.
    wakes: Heap,
    /// Places to check again because time makes a job due, or a bucket full.
    chores: Heap,
}

impl Scheduler {
    /// Makes a scheduler whose time starts now.
    pub fn new(settings: SchedulerSettings, now: Instant) -> Result<Self, Error> {
        if settings.slots == 0 {
            return Err(Error::ImpossibleSlots { asked: 1, total: 0 });
        }
        if settings.capacity == 0 {
            return Err(Error::InvalidLimit {
                reason: "a capacity of 0 would never let anything in",
            });
        }
        let mut scheduler = Self::empty(settings.slots, settings.capacity, settings.ageing, now);
        for (name, limit) in settings.limits {
            scheduler.declare_limit(&name, limit)?;
        }
        for (name, resource) in settings.resources {
            scheduler.declare_resource(&name, resource)?;
        }
        Ok(scheduler)
    }

    /// Makes a scheduler without named limits, so that no setting can be refused.
    pub(super) fn empty(slots: u32, capacity: usize, ageing: Ageing, now: Instant) -> Self {
        let mut scheduler = Self {
            epoch: now,
            now: 0,
            ageing,
            capacity: capacity.min(u32::MAX as usize / 2),
            total: slots,
            used: 0,
            running: 0,
            ahead: 0,
            waiting: 0,
            runs_alone: false,
            next_number: 0,
            freezes_rates: None,
            jobs: Slab::new(),
            lanes: Slab::new(),
            groups: Slab::new(),
            group_index: Table::default(),
            group_key: Vec::new(),
            places: Slab::new(),
            hosts: Table::default(),
            keys: Table::default(),
            changed_rates: Table::default(),
            limits: Vec::new(),
            limit_index: Table::default(),
            resource_index: Table::default(),
            held_units: Table::default(),
            kinds: Vec::new(),
            weights: Vec::new(),
            heavy: BTreeMap::new(),
            quiet: 0,
            numbers: SlotNumbers::default(),
            more_numbers: Table::default(),
            accounting: None,
            gates: Slab::new(),
            open: Heap::default(),
            delayed: Heap::default(),
            wakes: Heap::default(),
            chores: Heap::default(),
        };
        scheduler.quiet = scheduler.add_gate(GateCondition::Quiet);
        // The global lock, GLOBAL. Its name is empty, so no job can name it.
        let one = Limit::Max(std::num::NonZeroU32::MIN);
        scheduler.add_limit(Box::default(), Level::new(one));
        scheduler
    }

    /// Declares a limit that jobs can name. Repeating the same declaration is allowed; a different one is refused.
    pub fn declare_limit(&mut self, name: &str, limit: Limit) -> Result<LimitId, Error> {
        let Some(&id) = self.limit_index.get(name) else {
            let id = self.add_limit(name.into(), Level::new(limit));
            self.limit_index.insert(name.into(), id);
            return Ok(LimitId(id));
        };
        match self.limits[id as usize].level.limit() {
            Some(first) if first != limit => Err(Error::LimitConflict {
                name: name.to_owned(),
                first: first.to_string(),
                second: limit.to_string(),
            }),
            _ => Ok(LimitId(id)),
        }
    }

    /// Declares a resource of which jobs can take units. Repeating the same declaration is allowed; a different one is
    /// refused.
    ///
    /// The wait of a job is charged to the first thing that it lacks, and limits come before resources. So declare
    /// limits first.
    pub fn declare_resource(
        &mut self,
        name: &str,
        resource: Resource,
    ) -> Result<ResourceId, Error> {
        check_resource_name(name)?;
        if let Some(&id) = self.resource_index.get(name) {
            let first = self.limits[id as usize].level.resource();
            let first = first.map(|level| level.pool.resource());
            return match first {
                Some(first) if *first != resource => Err(Error::ResourceConflict {
                    name: name.to_owned(),
                    first: first.to_string(),
                    second: resource.to_string(),
                }),
                _ => Ok(ResourceId(id)),
            };
        }
        let id = self.add_resource(name, resource);
        self.resource_index.insert(name.into(), id.0);
        Ok(id)
    }

    /// Adds a resource that cannot be found by name, next to others of the same name.
    pub(crate) fn add_resource(&mut self, name: &str, resource: Resource) -> ResourceId {
        let level = ResourceLevel {
            pool: ResourcePool::new(name, resource),
            gates: Vec::new(),
        };
        ResourceId(self.add_limit(name.into(), Level::Resource(Box::new(level))))
    }

    /// Returns the resource of this name, to be put into requests.
    pub fn resource(&self, name: &str) -> Result<ResourceId, Error> {
        let id = self.resource_index.get(name).copied().map(ResourceId);
        id.ok_or_else(|| Error::UnknownResource {
            name: name.to_owned(),
            suggestion: closest(name, self.resource_index.keys().map(|name| &**name))
                .map(str::to_owned),
        })
    }

    /// Returns the limit of this name, to be put into requests.
    pub fn limit(&self, name: &str) -> Result<LimitId, Error> {
        let id = self.limit_index.get(name).copied().map(LimitId);
        id.ok_or_else(|| Error::UnknownLimit {
            name: name.to_owned(),
            suggestion: closest(name, self.limit_index.keys().map(|name| &**name))
                .map(str::to_owned),
        })
    }

    /// Whether a limit bounds how often jobs start, and not how many run.
    pub(crate) fn is_rate(&self, id: LimitId) -> bool {
        let limit = self.limits.get(id.0 as usize);
        limit.is_some_and(|limit| matches!(limit.level, Level::Rate(_)))
    }

    /// Adds a limit with its gate and its line.
    #[expect(
        clippy::expect_used,
        reason = "four thousand million limits would not fit into memory"
    )]
    fn add_limit(&mut self, name: Box<str>, level: Level) -> u32 {
        let id = u32::try_from(self.limits.len()).expect("limits are counted by a u32");
        let gate = self.add_gate(GateCondition::Limit(id));
        self.limits.push(NamedLimit {
            name,
            level,
            line: Heap::default(),
            gate,
            wake: NOWHERE,
        });
        id
    }

    /// Adds a gate at which no group waits.
    fn add_gate(&mut self, barred: GateCondition) -> u32 {
        self.gates.insert(Gate::new(barred))
    }

    /// Advances the time, and charges it to what groups lack. Time only goes forward: an earlier moment is taken as the
    /// last one.
    fn advance_time(&mut self, now: Instant) {
        let to = self.now.max(since(self.epoch, now));
        self.charge(to - self.now);
        self.now = to;
    }

    /// Returns the moment that is this many nanoseconds after the epoch.
    fn moment(&self, nanos: u64) -> Instant {
        // A moment beyond what the system can count never comes.
        let far = || self.epoch + Duration::from_hours(24 * 365);
        self.epoch
            .checked_add(Duration::from_nanos(nanos))
            .unwrap_or_else(far)
    }

    /// Returns how many slots are free. More may be used than there are, after their number was lowered.
    fn free(&self) -> u32 {
        self.total.saturating_sub(self.used)
    }

    /// Whether a job or a timer of this rank is due by now.
    fn is_due(&self, rank: Rank) -> bool {
        rank.due <= self.now
    }

    /// Returns the ticket of the job at this index.
    fn ticket(&self, index: u32) -> Ticket {
        Ticket {
            index,
            generation: generation(self.jobs[index].rank),
        }
    }
}

/// Returns the lower half of the arrival number. It is the same only for jobs that are four billion apart.
#[expect(
    clippy::cast_possible_truncation,
    reason = "only the lower half is needed"
)]
fn generation(rank: Rank) -> u32 {
    rank.seq as u32
}
