//! Snapshots of a run: which jobs run at one moment, and what each waiting job waits for.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_ipc::JobKey;

use super::arrival::{Arrival, UnresolvedJob};
use super::control::RunControl;
use super::entry::{EntryState, JobEntry};
use super::kinds::Kinds;
use super::performers::Performers;
use super::places::Places;
use super::queue::Queue;
use crate::context::Step;
use crate::ids::{PlaceId, PlaceName, SlotNumber, WorkerName};
use crate::job::{Job, ResourceNeed, Work};
use crate::scheduling::{
    Blocker, KeyState, Limit, LimitState, ParallelizationHint, Quota, ResourceShare, Workers,
};

/// How many of the jobs that a waiting job waits for are named.
const NAMED: usize = 3;

/// How many holders of one limit are collected at most.
const MAX_HOLDERS: usize = 16;

/// The running and waiting jobs of a run at one moment.
///
/// It leaves out the jobs that were not pulled from their source yet, and those with an answer of a filter that is not
/// confirmed yet.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Snapshot {
    /// The running jobs, the one that has run longest first.
    pub running: Vec<RunningJob>,
    /// The waiting jobs, the one that has waited longest first.
    pub waiting: Vec<WaitingJob>,
    /// The named limits, each with what is left of it.
    pub limits: Vec<(String, LimitState)>,
}

/// A job that runs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunningJob {
    /// The job that runs.
    pub job: Arc<Job>,
    /// The number of the attempt; the first is 1.
    pub attempt: u32,
    /// The place where the attempt runs; `None` for the machine of the executor.
    pub place: Option<PlaceName>,
    /// The first slot that the attempt holds.
    pub slot: Option<SlotNumber>,
    /// The worker that performs the attempt, if one does.
    pub worker: Option<WorkerName>,
    /// The progress that the attempt has reported last.
    pub progress: Option<Step>,
    /// How long this attempt has been running.
    pub age: Duration,
    /// The resources that the job holds.
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

/// What a job waits for. If it waits for several things, this is the first one that the snapshot has found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitCause {
    /// Jobs that have to succeed first.
    Needs(Vec<JobKey>),
    /// The delay before another attempt.
    Retry {
        /// How much of the delay is left.
        left: Duration,
    },
    /// The run is paused.
    Paused,
    /// A breaker that lets no attempt through.
    Breaker {
        /// After what time the breaker is asked again.
        left: Duration,
    },
    /// The cache, which looks for an earlier result or waits for that of an equal job.
    Cache,
    /// A connection to a host: none of the hosts on which the job may run is connected.
    Connect,
    /// The lock of its host.
    Host {
        /// The host; it is empty for jobs without a host.
        host: String,
        /// The jobs that run under the lock.
        held_by: Vec<JobKey>,
    },
    /// Another job has the global lock.
    Global {
        /// The jobs that run under the lock.
        held_by: Vec<JobKey>,
    },
    /// A unit or a token of a named limit.
    Limit {
        /// The name of the limit.
        name: String,
        /// What the limit allows.
        limit: Limit,
        /// The time until there is a token for the job, if the limit is a rate. The jobs before it in line take theirs first.
        next: Option<Duration>,
        /// Some of the running jobs that hold a unit of the limit. Nobody holds the tokens of a rate.
        held_by: Vec<JobKey>,
    },
    /// Units of a resource.
    Resource {
        /// The name of the resource.
        name: String,
        /// The running jobs that have some of it.
        held_by: Vec<JobKey>,
    },
    /// A token of the rate in its own hint.
    Rate {
        /// The key of the rate.
        key: String,
        /// The time until there is a token for the job. The jobs before it in line take theirs first.
        next: Duration,
    },
    /// Starts are held back, for this reason.
    Held(String),
    /// A free worker of this kind.
    Worker(String),
    /// The end of all running jobs, because the job has to be alone.
    Quiet,
    /// The end of this job, which has to be alone.
    Alone(JobKey),
    /// All slots are filled, or too few are free for this job.
    Slot,
    /// Its turn: another job has reserved what it needs, or it is about to start.
    Turn,
}

impl WaitCause {
    /// Returns the blocker that is charged for this cause, whose [`Blocker::word`] stands in result lines. Several
    /// causes share a blocker.
    pub fn blocker(&self) -> Blocker {
        match self {
            Self::Needs(_) => Blocker::Needs,
            Self::Retry { .. } => Blocker::Retry,
            Self::Paused => Blocker::Paused,
            Self::Breaker { .. } => Blocker::Breaker,
            Self::Cache => Blocker::Cache,
            Self::Connect => Blocker::Connect,
            Self::Host { .. } => Blocker::Host,
            Self::Global { .. } => Blocker::Global,
            Self::Limit { name, .. } => Blocker::Limit(name.as_str().into()),
            Self::Rate { .. } => Blocker::Rate,
            Self::Resource { name, .. } => Blocker::Resource(name.as_str().into()),
            Self::Held(_) => Blocker::Admission,
            Self::Worker(_) => Blocker::Worker,
            Self::Quiet | Self::Alone(_) | Self::Slot | Self::Turn => Blocker::Slot,
        }
    }

    /// Returns how long until the job may continue by itself, if that is known.
    pub fn left(&self) -> Option<Duration> {
        match self {
            Self::Retry { left } | Self::Breaker { left } => Some(*left),
            Self::Limit { next, .. } => *next,
            Self::Rate { next, .. } => Some(*next),
            _ => None,
        }
    }
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
            Self::Retry { .. } => out.write_str("waits to be tried again"),
            Self::Paused => out.write_str("waits: the run is paused"),
            Self::Cache => out.write_str("waits for the cache"),
            Self::Breaker { .. } => out.write_str("waits for a breaker to let it through"),
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
            Self::Limit { name, held_by, .. } => {
                write!(out, "waits for limit {name}")?;
                held(out, held_by)
            }
            Self::Rate { key, .. } => write!(out, "waits for the rate of {key}"),
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

/// Joins the first few names of jobs for a message.
fn names(jobs: &[JobKey]) -> String {
    let named: Vec<&str> = jobs.iter().take(NAMED).map(JobKey::as_str).collect();
    let more = jobs.len() - named.len();
    if more > 0 {
        format!("{} and {more} more", named.join(", "))
    } else {
        named.join(", ")
    }
}

/// The holders of each lock, limit and resource for which a job may wait.
#[derive(Default)]
struct Holders<'a> {
    /// The jobs that hold the lock of each host.
    hosts: HashMap<&'a str, Vec<JobKey>>,
    /// The job that holds the global lock; empty if none does.
    global: Vec<JobKey>,
    /// The jobs that hold units of each named limit.
    limits: HashMap<&'a str, Vec<JobKey>>,
    /// The jobs that have some of each resource.
    resources: HashMap<&'a str, Vec<JobKey>>,
    /// The job that runs alone, if one does.
    alone: Option<JobKey>,
}

impl Holders<'_> {
    /// Returns the jobs that hold units of a limit. A token is used up when a job begins, so nobody holds one.
    fn of_limit(&self, name: &str, limit: Limit) -> Vec<JobKey> {
        match limit {
            Limit::Rate(_) => Vec::new(),
            Limit::Max(_) => self.limits.get(name).cloned().unwrap_or_default(),
        }
    }
}

/// What the scheduler has left of everything, read once for all jobs.
struct RemainingCapacity<'a> {
    /// What each named limit has left.
    limits: HashMap<&'a str, LimitState>,
    /// How many units of each resource are free.
    resources: HashMap<&'a str, u64>,
    /// The state of each rate by its key.
    rates: HashMap<&'a str, KeyState>,
    /// Whether a job holds the lock of each host.
    locked: HashMap<&'a str, bool>,
}

/// The state of a run from which a snapshot is made.
pub(super) struct SnapshotInput<'a> {
    /// The moment to which all waits and ages are computed.
    pub(super) now: Instant,
    /// The jobs that are queued or running.
    pub(super) queue: &'a Queue,
    /// The performers, whose seats show who waits for a worker.
    pub(super) performers: &'a Performers,
    /// The places. Some may not be connected, or may be held back.
    pub(super) places: &'a Places,
    /// The kinds of worker, with their names and hints.
    pub(super) kinds: &'a Kinds,
    /// The control of the run, which knows whether it is paused or held back.
    pub(super) control: &'a RunControl,
}

impl SnapshotInput<'_> {
    /// Makes a snapshot of the queue and of the jobs that are not queued: those that wait for others, for a worker's
    /// hello or a place, for the cache, and for a retry after a refuted answer. It reads every unfinished job, so it is
    /// made when somebody asks, and not in every turn.
    pub(super) fn snapshot<'b>(
        &self,
        needing: impl Iterator<Item = (&'b Arrival, Vec<JobKey>)>,
        unresolved: impl Iterator<Item = &'b UnresolvedJob>,
        asking: impl Iterator<Item = &'b Arrival>,
        refuted: impl Iterator<Item = (Instant, &'b JobEntry)>,
    ) -> Snapshot {
        let now = self.now;
        let age = |since| now.saturating_duration_since(since);
        let mut running = Vec::new();
        let mut waiting = Vec::new();
        let mut holders = Holders::default();
        for entry in self.queue.entries() {
            if entry.state() == EntryState::Running {
                self.note_holder(entry, &mut holders);
                running.push((entry.since, entry.position, entry));
            }
        }
        let scheduler = self.queue.scheduler();
        let left = RemainingCapacity {
            limits: scheduler.limits(now).collect(),
            resources: scheduler
                .resources()
                .map(|(name, _, free)| (name, free))
                .collect(),
            rates: scheduler.keys(now).collect(),
            locked: scheduler.hosts().collect(),
        };
        for entry in self.queue.entries() {
            if entry.state() != EntryState::Running {
                let cause = self.cause(entry, &holders, &left);
                waiting.push((entry.since, entry.position, Arc::clone(&entry.job), cause));
            }
        }
        let unqueued = |arrival: &Arrival, cause| {
            let job = Arc::clone(&arrival.job);
            (arrival.times.arrived, arrival.position, job, cause)
        };
        for (arrival, needs) in needing {
            let cause = WaitCause::Needs(needs);
            waiting.push(unqueued(arrival, cause));
        }
        // A pause comes first, as it does for the jobs of the queue.
        let is_paused = self.control.is_paused();
        for UnresolvedJob { arrival, waits_for } in unresolved {
            let cause = match waits_for {
                _ if is_paused => WaitCause::Paused,
                Blocker::Connect => WaitCause::Connect,
                _ => WaitCause::Worker(format!("that knows `{}`", arrival.job.task_name())),
            };
            waiting.push(unqueued(arrival, cause));
        }
        for arrival in asking {
            let cause = if is_paused {
                WaitCause::Paused
            } else {
                WaitCause::Cache
            };
            waiting.push(unqueued(arrival, cause));
        }
        for (when, entry) in refuted {
            let left = when.saturating_duration_since(now);
            let cause = WaitCause::Retry { left };
            waiting.push((entry.since, entry.position, Arc::clone(&entry.job), cause));
        }
        add_tokens_of_others(&mut waiting, &left.rates);
        running.sort_unstable_by_key(|(since, position, _)| (*since, *position));
        waiting.sort_unstable_by_key(|(since, position, ..)| (*since, *position));
        Snapshot {
            limits: scheduler
                .limits(now)
                .map(|(name, state)| (name.to_owned(), state))
                .collect(),
            running: running
                .into_iter()
                .map(|(since, _, entry)| RunningJob {
                    job: Arc::clone(&entry.job),
                    attempt: entry.attempts,
                    place: (entry.at != PlaceId::LOCAL).then(|| self.places.name(entry.at).clone()),
                    slot: if self.places.are_several() {
                        self.places.slot(entry.ticket)
                    } else {
                        scheduler.slot(entry.ticket)
                    },
                    worker: self.worker(entry),
                    progress: Self::progress(entry),
                    age: age(since),
                    resources: self.shares(entry),
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

    /// Returns the worker that performs the attempt of a running job.
    fn worker(&self, entry: &JobEntry) -> Option<WorkerName> {
        let seats = self.performers.seats(entry.pool())?;
        Some(seats.name(entry.seat?).clone())
    }

    /// Returns the progress that the attempt of a running job has reported.
    fn progress(entry: &JobEntry) -> Option<Step> {
        let messages = entry.messages.as_ref()?;
        let is_of_attempt = messages.attempt == entry.attempts;
        messages.progress.clone().filter(|_| is_of_attempt)
    }

    /// Records what a running job holds.
    fn note_holder<'a>(&'a self, entry: &'a JobEntry, holders: &mut Holders<'a>) {
        let id = || entry.job.id.clone();
        for limit in &entry.job.terms.limits {
            let holders = holders.limits.entry(limit.as_str()).or_default();
            // Each job that waits for the limit gets a copy of the list, so only some of the holders are kept.
            if holders.len() < MAX_HOLDERS {
                holders.push(id());
            }
        }
        for need in &entry.job.terms.resources {
            holders.resources.entry(&need.name).or_default().push(id());
        }
        // The worker has declared a wrong hint after the job was started, so no hint binds this job.
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

    /// Finds the first thing for which a job waits. The order of the checks decides which one is first.
    fn cause(
        &self,
        entry: &JobEntry,
        holders: &Holders<'_>,
        left: &RemainingCapacity<'_>,
    ) -> WaitCause {
        let job = &entry.job;
        if let Some(left) = self.queue.scheduler().delay_left(entry.ticket, self.now) {
            return if entry.rejected {
                WaitCause::Breaker { left }
            } else {
                WaitCause::Retry { left }
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
        let used_up = |name: &String| {
            let state = left.limits.get(name.as_str())?;
            (state.left < 1.0).then(|| (name.clone(), *state))
        };
        if let Some((name, state)) = job.terms.limits.iter().find_map(used_up) {
            return WaitCause::Limit {
                limit: state.limit,
                next: match state.limit {
                    Limit::Rate(quota) => Some(next_token(state.left, quota)),
                    Limit::Max(_) => None,
                },
                held_by: holders.of_limit(&name, state.limit),
                name,
            };
        }
        if let Some(ParallelizationHint::RateLimited { key, .. }) = hint {
            let key = key.as_deref().unwrap_or(match &job.work {
                Work::Task { task, .. } => task.as_str(),
                _ => job.task_name(),
            });
            if let Some(state) = left.rates.get(key).filter(|state| state.tokens < 1.0) {
                return WaitCause::Rate {
                    key: key.to_owned(),
                    next: next_token(state.tokens, state.quota),
                };
            }
        }
        if let Some(cause) = self.lacked_resource(entry, holders, left) {
            return cause;
        }
        let held_there = self.places.hold_reason(set).filter(|_| absence.is_some());
        if let Some(reason) = self.control.hold_reason().or(held_there) {
            return WaitCause::Held(reason.to_owned());
        }
        if let Some(alone) = &holders.alone {
            return WaitCause::Alone(alone.clone());
        }
        let has_seats = !self.performers.performs_here(entry.kind);
        let is_full = has_seats && self.performers.free_seats(entry.kind) == 0;
        // A job that takes tokens also waits for a worker that is proven to read its requests.
        let has_none = || self.queue.workers(entry.route) == Workers::Free(0);
        if is_full || (entry.is_rated && has_none()) {
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

    /// Returns the resources that a running attempt holds.
    fn shares(&self, entry: &JobEntry) -> Vec<ResourceShare> {
        let mut shares = self.queue.scheduler().shares(entry.ticket);
        shares.extend(self.places.shares(entry.ticket));
        shares
    }

    /// Finds the first resource of which a job takes more units than are free.
    fn lacked_resource(
        &self,
        entry: &JobEntry,
        holders: &Holders<'_>,
        left: &RemainingCapacity<'_>,
    ) -> Option<WaitCause> {
        let is_lacking = |need: &&ResourceNeed| {
            let free = left.resources.get(need.name.as_str());
            free.is_some_and(|free| *free < self.queue.units_needed(entry, need))
        };
        let terms = &entry.job.terms;
        let need = terms.resources.iter().find(is_lacking);
        let need = need.or_else(|| {
            let places = self.queue.routes().get(entry.route).places;
            self.places.first_short_resource(places, terms)
        })?;
        let held_by = holders.resources.get(need.name.as_str());
        Some(WaitCause::Resource {
            name: need.name.clone(),
            held_by: held_by.cloned().unwrap_or_default(),
        })
    }
}

/// Adds the time in which the jobs before it in line take their tokens to the wait of each job for a token. The more
/// urgent job comes first, and then the one that was submitted first.
fn add_tokens_of_others(
    waiting: &mut [(Instant, u64, Arc<Job>, WaitCause)],
    rates: &HashMap<&str, KeyState>,
) {
    /// What gives the tokens: a limit or the key of a rate.
    #[derive(PartialEq, Eq, Hash)]
    enum Giver {
        Limit(String),
        Key(String),
    }
    let mut in_line = Vec::new();
    for (_, position, job, cause) in waiting {
        match cause {
            WaitCause::Limit {
                name,
                limit: Limit::Rate(quota),
                next: Some(next),
                ..
            } => in_line.push((
                (Reverse(job.terms.priority), *position),
                Giver::Limit(name.clone()),
                *quota,
                next,
            )),
            WaitCause::Rate { key, next } => {
                if let Some(state) = rates.get(key.as_str()) {
                    let place = (Reverse(job.terms.priority), *position);
                    in_line.push((place, Giver::Key(key.clone()), state.quota, next));
                }
            }
            _ => {}
        }
    }
    in_line.sort_unstable_by_key(|(place, ..)| *place);
    let mut taken: HashMap<Giver, u32> = HashMap::new();
    for (_, giver, quota, next) in in_line {
        let before = taken.entry(giver).or_default();
        *next = next.saturating_add(time_of_tokens(f64::from(*before), quota));
        *before += 1;
    }
}

/// Returns the time until a bucket with this part of a token has a whole one.
fn next_token(tokens: f64, quota: Quota) -> Duration {
    time_of_tokens((1.0 - tokens).max(0.0), quota)
}

/// Returns the time in which this many tokens come.
fn time_of_tokens(tokens: f64, quota: Quota) -> Duration {
    let seconds = tokens / quota.rate.as_per_second();
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// Returns the host whose lock a job takes. Jobs without a host share the lock of the empty name.
fn host(job: &Job) -> &str {
    job.host.as_ref().map_or("", |host| host.as_str())
}
