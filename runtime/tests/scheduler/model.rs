//! A slow and simple model of the scheduler. Every pop looks at every job in order, and checks by the rules of the
//! documentation whether the job may start.

use std::collections::{BTreeMap, BTreeSet};

use ratchet_runtime::{Priority, Workers};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    Host(u8),
    Key(u8),
    Global,
    Max(u8),
    Rate(u8),
}

/// A rate: `count` starts in `nanos`, `burst` of them together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StartRate {
    pub(crate) count: u64,
    pub(crate) nanos: u64,
    pub(crate) burst: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Delayed(u64),
    Ready,
    /// The job was sent to its worker before its turn.
    Ahead,
    Running,
    Gone,
}

#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) state: State,
    pub(crate) due: u64,
    pub(crate) kind: usize,
    pub(crate) slots: u32,
    pub(crate) alone: bool,
    /// The host or key that the job locks.
    pub(crate) place: Option<Thing>,
    pub(crate) limits: BTreeSet<Thing>,
    /// How many units of each resource the job takes.
    pub(crate) resources: BTreeMap<u8, u64>,
    /// How often the job has ended. It has to end exactly once.
    pub(crate) endings: u32,
}

pub(crate) struct Model {
    pub(crate) jobs: Vec<Job>,
    pub(crate) slots: u32,
    pub(crate) workers: Vec<Workers>,
    pub(crate) maxima: Vec<u32>,
    /// How many units each resource has.
    pub(crate) totals: Vec<u64>,
    pub(crate) rates: BTreeMap<Thing, StartRate>,
    /// The times of all starts that took a token.
    pub(crate) starts: BTreeMap<Thing, Vec<u64>>,
    pub(crate) step: u64,
}

/// The claims that are reserved for jobs that are due.
#[derive(Default)]
struct Reserved {
    /// The places and limits of which one unit each is reserved.
    things: BTreeSet<Thing>,
    /// How many units of each resource are reserved: as many as the first due job takes.
    units: BTreeMap<u8, u64>,
}

impl Job {
    /// Reserves the claims of this job, which is due. Units of its limits and resources are reserved only if there is room
    /// at its place.
    fn reserve_claims(&self, has_place: bool, kept: &mut Reserved) {
        kept.things.extend(self.place);
        if has_place {
            kept.things.extend(self.limits.iter().copied());
            for (resource, units) in &self.resources {
                kept.units.entry(*resource).or_insert(*units);
            }
        }
    }
}

impl Model {
    pub(crate) fn span(&self, priority: Priority) -> u64 {
        self.step
            * (1 + Priority::ALL
                .iter()
                .position(|&other| other == priority)
                .unwrap() as u64)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(|job| job.state == State::Running)
    }

    /// Whether no job runs or was sent ahead.
    fn is_quiet(&self) -> bool {
        let busy = |job: &Job| matches!(job.state, State::Running | State::Ahead);
        !self.jobs.iter().any(busy)
    }

    pub(crate) fn used(&self) -> u32 {
        self.running().map(|job| job.slots).sum()
    }

    fn held(&self, thing: Thing) -> u32 {
        let holds = |job: &&Job| job.place == Some(thing) || job.limits.contains(&thing);
        u32::try_from(self.running().filter(holds).count()).unwrap()
    }

    /// Whether this many units could be taken at this moment.
    fn holds(&self, thing: Thing, units: u32, now: u64) -> bool {
        match thing {
            Thing::Host(_) | Thing::Global => self.held(thing) + units <= 1,
            Thing::Max(number) => self.held(thing) + units <= self.maxima[usize::from(number)],
            Thing::Key(_) | Thing::Rate(_) => {
                let rate = self.rates[&thing];
                let mut starts = self.starts.get(&thing).cloned().unwrap_or_default();
                starts.extend((0..units).map(|_| now));
                within(rate, &starts)
            }
        }
    }

    /// Returns the jobs that wait for nothing but their turn, in order.
    fn in_order(&self, now: u64) -> Vec<usize> {
        let mut waiting: Vec<usize> = (0..self.jobs.len())
            .filter(|&job| match self.jobs[job].state {
                State::Ready => true,
                State::Delayed(until) => until <= now,
                _ => false,
            })
            .collect();
        waiting.sort_by_key(|&job| (self.jobs[job].due, job));
        waiting
    }

    /// Returns which job of a kind is sent ahead at this moment, if one is: the first of all that could run but for
    /// slots and workers of the kind, if it claims nothing else, and if no due job lacks only quiet.
    pub(crate) fn would_send_ahead(&self, kind: usize, now: u64) -> Option<usize> {
        if self.running().any(|job| job.alone) {
            return None;
        }
        let mut kept = Reserved::default();
        for id in self.in_order(now) {
            let job = &self.jobs[id];
            let due = job.due <= now;
            let (place, limits) = self.has_claims(job, &kept, now);
            if place && limits {
                let foreign = job.kind != kind && self.workers[job.kind] == Workers::Free(0);
                let noisy = job.alone && !self.is_quiet() && !due;
                if !foreign && !noisy {
                    let plain = job.slots == 1
                        && !job.alone
                        && job.place.is_none()
                        && job.limits.is_empty()
                        && job.resources.is_empty();
                    return (plain && job.kind == kind).then_some(id);
                }
            }
            if due {
                job.reserve_claims(place, &mut kept);
            }
        }
        None
    }

    /// Whether there is room at a job's place, and whether there is room within its limits. A claim that is reserved for
    /// another job has to be free twice.
    fn has_claims(&self, job: &Job, kept: &Reserved, now: u64) -> (bool, bool) {
        let there = |thing: &Thing| {
            self.holds(*thing, if kept.things.contains(thing) { 2 } else { 1 }, now)
        };
        let has_units = |(resource, units): (&u8, &u64)| {
            let kept = kept.units.get(resource).copied().unwrap_or(0);
            self.taken(*resource) + units + kept <= self.totals[usize::from(*resource)]
        };
        let has_limits = job.limits.iter().all(there) && job.resources.iter().all(has_units);
        (job.place.iter().all(there), has_limits)
    }

    /// Returns how many units of a resource running jobs have.
    pub(crate) fn taken(&self, resource: u8) -> u64 {
        let units = self.running().map(|job| job.resources.get(&resource));
        units.flatten().sum()
    }

    /// Returns which job starts at this moment, by the rules, if any does.
    pub(crate) fn would_start(&self, now: u64) -> Option<usize> {
        if self.running().any(|job| job.alone) || self.used() >= self.slots {
            return None;
        }
        let mut kept = Reserved::default();
        for id in self.in_order(now) {
            let job = &self.jobs[id];
            let due = job.due <= now;
            let (place, limits) = self.has_claims(job, &kept, now);
            let worker = self.workers[job.kind] != Workers::Free(0);
            let room = self.used() + job.slots <= self.slots && (!job.alone || self.is_quiet());
            if place && limits && worker && room {
                return Some(id);
            }
            if !due {
                continue;
            }
            job.reserve_claims(place, &mut kept);
            if place && limits && worker {
                return None;
            }
        }
        None
    }

    pub(crate) fn start(&mut self, id: usize, now: u64) {
        self.jobs[id].state = State::Running;
        let job = &self.jobs[id];
        if let Workers::Free(free) = &mut self.workers[job.kind] {
            *free -= 1;
        }
        for thing in job.place.iter().chain(&job.limits) {
            if self.rates.contains_key(thing) {
                self.starts.entry(*thing).or_default().push(now);
            }
        }
    }

    /// Checks what must hold whatever the rules of order are.
    pub(crate) fn audit(&self) {
        for (resource, total) in (0..).zip(&self.totals) {
            assert!(self.taken(resource) <= *total, "resource {resource}");
        }
        for job in self.running() {
            for thing in job.place.iter().chain(&job.limits) {
                if matches!(thing, Thing::Host(_) | Thing::Global) {
                    assert_eq!(self.held(*thing), 1, "{thing:?} is held by one");
                }
            }
            if job.alone {
                assert_eq!(self.running().count(), 1, "alone is alone");
                let ahead = |job: &Job| job.state == State::Ahead;
                assert!(!self.jobs.iter().any(ahead), "alone in the pipes too");
            }
        }
        for (thing, rate) in &self.rates {
            if let Some(starts) = self.starts.get(thing) {
                assert!(
                    within(*rate, starts),
                    "{thing:?} exceeds {rate:?}: {starts:?}"
                );
            }
        }
    }

    /// Records that a job is over.
    pub(crate) fn end(&mut self, id: usize) {
        self.jobs[id].state = State::Gone;
        self.jobs[id].endings += 1;
    }
}

/// Whether every window between two starts has at most burst + rate x length starts.
pub(crate) fn within(rate: StartRate, starts: &[u64]) -> bool {
    starts.iter().enumerate().all(|(first, start)| {
        starts[first..].iter().enumerate().all(|(more, end)| {
            let count = more as u128 + 1;
            count * u128::from(rate.nanos)
                <= u128::from(rate.burst) * u128::from(rate.nanos)
                    + u128::from(rate.count) * u128::from(end - start)
        })
    })
}
