//! What runs at one moment, and what waits for what: for people who ask why nothing moves.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_ipc::JobKey;

use super::arrival::Arrival;
use super::control::RunControl;
use super::entry::{Entry, State};
use super::kinds::Kinds;
use super::performers::Performers;
use super::places::Places;
use super::queue::Queue;
use crate::ids::{PlaceId, PlaceName};
use crate::job::{Job, ResourceNeed, Work};
use crate::scheduling::{ParallelizationHint, ResourceShare, Workers};

/// How many jobs are named that a waiting job waits for.
const NAMED: usize = 3;

/// The jobs that a run has in hand at one moment.
///
/// Jobs that its source has not handed over yet are not among them, nor are those whose results are being looked up
/// in the cache.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Snapshot {
    /// The jobs that run, the one that has run longest first.
    pub running: Vec<RunningJob>,
    /// The jobs that wait, the one that has waited longest first.
    pub waiting: Vec<WaitingJob>,
}

/// A job that runs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunningJob {
    /// The job that runs.
    pub job: Arc<Job>,
    /// Which attempt it is; the first is 1.
    pub attempt: u32,
    /// The place where it runs; nothing if that is the machine of the executor itself.
    pub place: Option<PlaceName>,
    /// How long this attempt has been running.
    pub age: Duration,
    /// What it has of resources.
    pub resources: Vec<ResourceShare>,
}

/// A job that waits.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WaitingJob {
    /// The job that waits.
    pub job: Arc<Job>,
    /// How long it has been waiting.
    pub age: Duration,
    /// What the job waits for.
    pub cause: WaitCause,
}

/// What a job waits for. Where it waits for several things, this is the first of them, in the order of the variants.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitCause {
    /// Jobs that have to succeed first.
    Needs(Vec<JobKey>),
    /// The delay before another attempt.
    Retry,
    /// The run is paused.
    Paused,
    /// A breaker that lets no attempt through.
    Breaker,
    /// A connection to a host: none of those on which it may run can be reached now.
    Connect,
    /// The lock of its host.
    Host {
        /// The host; empty is the host of jobs that name none.
        host: String,
        /// The jobs that run under the lock.
        held_by: Vec<JobKey>,
    },
    /// Another job has the global lock.
    Global {
        /// The jobs that run under the lock.
        held_by: Vec<JobKey>,
    },
    /// A unit of a named limit.
    Limit {
        /// The limit.
        name: String,
        /// Jobs that run and name the limit, a few of them.
        held_by: Vec<JobKey>,
    },
    /// A token of the bucket of this key.
    Rate(String),
    /// Units of a resource.
    Resource {
        /// The name of the resource.
        name: String,
        /// Jobs that run and have some of it, a few of them.
        held_by: Vec<JobKey>,
    },
    /// New jobs are held back, for this reason.
    Held(String),
    /// A worker of this kind that is ready.
    Worker(String),
    /// The end of all jobs that run, because it has to be alone.
    Quiet,
    /// The end of this job, which has to be alone.
    Alone(JobKey),
    /// All slots are filled, or too few are free for this job.
    Slot,
    /// Its turn: another job keeps what it needs, or it is about to start.
    Turn,
}

impl fmt::Display for WaitCause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = |out: &mut fmt::Formatter<'_>, held_by: &[JobKey]| {
            if held_by.is_empty() {
                return Ok(());
            }
            write!(out, ", held by {}", names(held_by))
        };
        match self {
            Self::Needs(needs) => write!(out, "needs {}", names(needs)),
            Self::Retry => out.write_str("waits to be tried again"),
            Self::Paused => out.write_str("waits: the run is paused"),
            Self::Breaker => out.write_str("waits for a breaker to let it through"),
            Self::Connect => out.write_str("waits for a connection to a host"),
            Self::Host { host, held_by } => {
                if host.is_empty() {
                    out.write_str("waits for the lock of jobs without a host")?;
                } else {
                    write!(out, "waits for host {host}")?;
                }
                held(out, held_by)
            }
            Self::Global { held_by } => {
                out.write_str("waits for the global lock")?;
                held(out, held_by)
            }
            Self::Limit { name, held_by } => {
                write!(out, "waits for limit {name}")?;
                held(out, held_by)
            }
            Self::Rate(key) => write!(out, "waits for the rate of {key}"),
            Self::Resource { name, held_by } => {
                write!(out, "waits for resource {name}")?;
                held(out, held_by)
            }
            Self::Held(reason) => write!(out, "is held back: {reason}"),
            Self::Worker(kind) => write!(out, "waits for a worker {kind}"),
            Self::Quiet => out.write_str("waits until nothing else runs"),
            Self::Alone(job) => write!(out, "waits for {job}, which has to be alone"),
            Self::Slot => out.write_str("waits for a slot"),
            Self::Turn => out.write_str("waits for its turn"),
        }
    }
}

/// Joins the names of jobs for a message, the first few of them.
fn names(jobs: &[JobKey]) -> String {
    let named: Vec<&str> = jobs.iter().take(NAMED).map(JobKey::as_str).collect();
    let more = jobs.len() - named.len();
    if more > 0 {
        format!("{} and {more} more", named.join(", "))
    } else {
        named.join(", ")
    }
}

/// Who holds what, as far as a waiting job may want it.
#[derive(Default)]
struct Holders<'a> {
    /// The jobs that hold the lock of each host.
    hosts: HashMap<&'a str, Vec<JobKey>>,
    /// The job that holds the global lock; empty if nobody does.
    global: Vec<JobKey>,
    /// The jobs that hold units of each named limit.
    limits: HashMap<&'a str, Vec<JobKey>>,
    /// The jobs that have some of each resource.
    resources: HashMap<&'a str, Vec<JobKey>>,
    /// The job that runs alone, if one does.
    alone: Option<JobKey>,
}

/// What the scheduler has left, looked up once for all jobs.
struct Left<'a> {
    /// How many units or tokens each named limit has left.
    limits: HashMap<&'a str, f64>,
    /// How many units of each resource nobody has.
    resources: HashMap<&'a str, u64>,
    /// How many tokens each key of a rate has left.
    rates: HashMap<&'a str, f64>,
    /// Whether a job holds the lock of each host.
    locked: HashMap<&'a str, bool>,
}

/// What the loop's owners know, for one snapshot.
pub(super) struct View<'a> {
    /// The moment as of which all waits and ages are told.
    pub(super) now: Instant,
    /// The jobs that are queued or running.
    pub(super) queue: &'a Queue,
    /// The pools with their seats, which say who waits for a worker.
    pub(super) performers: &'a Performers,
    /// The places, of which some may not be connected, or be held back.
    pub(super) places: &'a Places,
    /// The names of the kinds of worker.
    pub(super) kinds: &'a Kinds,
    /// Says whether the run is paused or held back, which keeps every job waiting.
    pub(super) control: &'a RunControl,
}

impl View<'_> {
    /// What runs now and what waits for what, with the jobs that are not queued: those that wait for others, and those
    /// whose worker is not known yet. It reads all that lives, so it is for a question, not for every turn.
    pub(super) fn snapshot<'b>(
        &self,
        needing: impl Iterator<Item = (&'b Arrival, Vec<JobKey>)>,
        unresolved: impl Iterator<Item = &'b Arrival>,
    ) -> Snapshot {
        let now = self.now;
        let age = |since| now.saturating_duration_since(since);
        let mut running = Vec::new();
        let mut waiting = Vec::new();
        let mut holders = Holders::default();
        for entry in self.queue.entries() {
            if entry.state() == State::Running {
                self.note_holder(entry, &mut holders);
                running.push((entry.since, entry.position, entry));
            }
        }
        let scheduler = self.queue.scheduler();
        let left = Left {
            limits: scheduler
                .limits(now)
                .map(|(name, state)| (name, state.left))
                .collect(),
            resources: scheduler
                .resources()
                .map(|(name, _, free)| (name, free))
                .collect(),
            rates: scheduler
                .keys(now)
                .map(|(key, state)| (key, state.tokens))
                .collect(),
            locked: scheduler.hosts().collect(),
        };
        for entry in self.queue.entries() {
            if entry.state() != State::Running {
                let cause = self.cause(entry, &holders, &left);
                waiting.push((entry.since, entry.position, Arc::clone(&entry.job), cause));
            }
        }
        for (arrival, needs) in needing {
            let cause = WaitCause::Needs(needs);
            waiting.push((
                arrival.times.arrived,
                arrival.position,
                Arc::clone(&arrival.job),
                cause,
            ));
        }
        for arrival in unresolved {
            let cause = WaitCause::Worker(format!("that knows `{}`", arrival.job.task_name()));
            waiting.push((
                arrival.times.arrived,
                arrival.position,
                Arc::clone(&arrival.job),
                cause,
            ));
        }
        running.sort_unstable_by_key(|(since, position, _)| (*since, *position));
        waiting.sort_unstable_by_key(|(since, position, ..)| (*since, *position));
        Snapshot {
            running: running
                .into_iter()
                .map(|(since, _, entry)| RunningJob {
                    job: Arc::clone(&entry.job),
                    attempt: entry.attempts,
                    place: (entry.at != PlaceId::LOCAL).then(|| self.places.name(entry.at).clone()),
                    age: age(since),
                    resources: self
                        .queue
                        .shares(entry.ticket)
                        .map_or_else(Vec::new, |shares| shares.to_vec()),
                })
                .collect(),
            waiting: waiting
                .into_iter()
                .map(|(since, _, job, cause)| WaitingJob {
                    job,
                    age: age(since),
                    cause,
                })
                .collect(),
        }
    }

    /// Notes what a running job holds.
    fn note_holder<'a>(&'a self, entry: &'a Entry, holders: &mut Holders<'a>) {
        let id = || entry.job.id.clone();
        for limit in &entry.job.terms.limits {
            holders.limits.entry(limit).or_default().push(id());
        }
        for need in &entry.job.terms.resources {
            holders.resources.entry(&need.name).or_default().push(id());
        }
        // Its worker has declared a hint that is wrong after the job was given out, which so is bound by none.
        let Ok(hint) = self.kinds.hint(&entry.job) else {
            return;
        };
        match hint {
            ParallelizationHint::HostExclusive => {
                holders
                    .hosts
                    .entry(host(&entry.job))
                    .or_default()
                    .push(id());
            }
            ParallelizationHint::GlobalExclusive => {
                holders
                    .hosts
                    .entry(host(&entry.job))
                    .or_default()
                    .push(id());
                holders.global.push(id());
            }
            ParallelizationHint::Alone => holders.alone = Some(id()),
            ParallelizationHint::FullyParallel | ParallelizationHint::RateLimited { .. } => {}
        }
    }

    /// Finds the first thing that a job waits for, in the order of [`WaitCause`].
    fn cause(&self, entry: &Entry, holders: &Holders<'_>, left: &Left<'_>) -> WaitCause {
        let job = &entry.job;
        if self.queue.scheduler().is_delayed(entry.ticket) {
            return if entry.rejected {
                WaitCause::Breaker
            } else {
                WaitCause::Retry
            };
        }
        if self.control.is_paused() {
            return WaitCause::Paused;
        }
        let set = self.queue.routes().get(entry.route).places;
        let absence = self.places.absence(set);
        if absence == Some(Workers::Away) {
            return WaitCause::Connect;
        }
        let hint = self.kinds.hint(job).ok();
        let wants_host = matches!(
            hint,
            Some(ParallelizationHint::HostExclusive | ParallelizationHint::GlobalExclusive)
        );
        let host = host(job);
        if wants_host && left.locked.get(host).is_some_and(|locked| *locked) {
            return WaitCause::Host {
                host: host.to_owned(),
                held_by: holders.hosts.get(host).cloned().unwrap_or_default(),
            };
        }
        if hint == Some(&ParallelizationHint::GlobalExclusive)
            && !self.queue.scheduler().global_available()
        {
            return WaitCause::Global {
                held_by: holders.global.clone(),
            };
        }
        let is_used_up = |name: &&String| {
            left.limits
                .get(name.as_str())
                .is_some_and(|left| *left < 1.0)
        };
        if let Some(name) = job.terms.limits.iter().find(is_used_up) {
            return WaitCause::Limit {
                name: name.clone(),
                held_by: holders
                    .limits
                    .get(name.as_str())
                    .cloned()
                    .unwrap_or_default(),
            };
        }
        if let Some(ParallelizationHint::RateLimited { key, .. }) = hint {
            let key = key.as_deref().unwrap_or(match &job.work {
                Work::Task { task, .. } => task.as_str(),
                _ => job.task_name(),
            });
            if left.rates.get(key).is_some_and(|tokens| *tokens < 1.0) {
                return WaitCause::Rate(key.to_owned());
            }
        }
        let units = |need: &ResourceNeed| {
            let units = self.queue.units_needed(entry, need);
            (left.resources.get(need.name.as_str())).is_some_and(|free| *free < units)
        };
        if let Some(need) = job.terms.resources.iter().find(|need| units(need)) {
            return WaitCause::Resource {
                name: need.name.clone(),
                held_by: holders
                    .resources
                    .get(need.name.as_str())
                    .cloned()
                    .unwrap_or_default(),
            };
        }
        let held_there = self.places.held(set).filter(|_| absence.is_some());
        if let Some(reason) = self.control.held().or(held_there) {
            return WaitCause::Held(reason.to_owned());
        }
        if let Some(alone) = &holders.alone {
            return WaitCause::Alone(alone.clone());
        }
        let has_seats = !self.performers.performs_here(entry.kind);
        let is_full = has_seats && self.performers.free_seats(entry.kind) == 0;
        // One that takes tokens waits for a worker that is proven to read its requests.
        if is_full || (entry.is_rated && self.queue.uncertain().is_some()) {
            return WaitCause::Worker(self.kinds.name(entry.kind).to_owned());
        }
        let load = self.queue.load();
        if hint == Some(&ParallelizationHint::Alone) && load.running > 0 {
            return WaitCause::Quiet;
        }
        let is_full = self.queue.workers(entry.route) == Workers::Full;
        if is_full || load.slots_used.saturating_add(job.terms.slots) > load.slots {
            return WaitCause::Slot;
        }
        WaitCause::Turn
    }
}

/// Returns the host whose lock a job takes; those that name none share the lock of the empty name.
fn host(job: &Job) -> &str {
    job.host.as_ref().map_or("", |host| host.as_str())
}
