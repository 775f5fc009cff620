//! For what each waiting job of the queue waits.

use std::collections::HashMap;

use ratchet_ipc::JobKey;

use super::WaitCause;
use super::input::SnapshotInput;
use super::tokens::next_token;
use crate::executor::entry::{EntryState, JobEntry};
use crate::executor::kinds::Kinds;
use crate::job::{Job, ResourceNeed, Work};
use crate::scheduling::{KeyState, Limit, LimitState, ParallelizationHint, Workers};

/// How many holders of one limit are collected at most.
const MAX_HOLDERS: usize = 16;

/// Finds for what the jobs of the queue wait at one moment.
pub(super) struct CauseFinder<'a> {
    input: &'a SnapshotInput<'a>,
    holders: Holders<'a>,
    left: RemainingCapacity<'a>,
}

impl<'a> CauseFinder<'a> {
    /// Reads once what all jobs hold and what is left of everything.
    pub(super) fn new(input: &'a SnapshotInput<'a>) -> Self {
        let scheduler = input.seated.queue().scheduler();
        Self {
            input,
            holders: Holders::of(input),
            left: RemainingCapacity {
                limits: scheduler.limits(input.now).collect(),
                resources: scheduler
                    .resources()
                    .map(|(name, _, free)| (name, free))
                    .collect(),
                rates: scheduler.keys(input.now).collect(),
                locked: scheduler.hosts().collect(),
            },
        }
    }

    /// Returns the state of each rate by its key.
    pub(super) fn rates(&self) -> &HashMap<&'a str, KeyState> {
        &self.left.rates
    }

    /// Finds the first thing for which a job waits. The order of the checks decides which one is first.
    pub(super) fn cause(&self, entry: &JobEntry) -> WaitCause {
        let hint = self.input.kinds.hint(&entry.job).ok();
        self.delay(entry)
            .or_else(|| self.pause_or_cache(entry))
            .or_else(|| self.absence_of_places(entry))
            .or_else(|| self.locked(&entry.job, hint))
            .or_else(|| self.used_up_limit(&entry.job))
            .or_else(|| self.used_up_rate(&entry.job, hint))
            .or_else(|| self.lacked_resource(entry))
            .or_else(|| self.hold(entry))
            .or_else(|| self.holders.alone.clone().map(WaitCause::Alone))
            .or_else(|| self.lacked_worker(entry))
            .or_else(|| self.lacked_slot(entry, hint))
            .unwrap_or(WaitCause::Turn)
    }

    fn delay(&self, entry: &JobEntry) -> Option<WaitCause> {
        let scheduler = self.input.seated.queue().scheduler();
        let left = scheduler.delay_left(entry.ticket, self.input.now)?;
        Some(if entry.rejected {
            WaitCause::Breaker { left }
        } else {
            WaitCause::Retry { left }
        })
    }

    fn pause_or_cache(&self, entry: &JobEntry) -> Option<WaitCause> {
        if self.input.control.is_paused() {
            return Some(WaitCause::Paused);
        }
        let computing = self.input.seated.queue().computing(entry);
        (entry.state() == EntryState::Parked).then(|| match computing {
            Some(job) => WaitCause::Equal(job.clone()),
            None => WaitCause::Cache,
        })
    }

    fn absence_of_places(&self, entry: &JobEntry) -> Option<WaitCause> {
        (self.absence(entry) == Some(Workers::Away)).then_some(WaitCause::Connect)
    }

    /// Returns why no place of a job can start anything, if that is so.
    fn absence(&self, entry: &JobEntry) -> Option<Workers> {
        let seated = self.input.seated;
        let places = seated.queue().routes().get(entry.route).places;
        seated.places().absence(places)
    }

    fn locked(&self, job: &Job, hint: Option<&ParallelizationHint>) -> Option<WaitCause> {
        let wants_global = hint == Some(&ParallelizationHint::GlobalExclusive);
        let wants_host = wants_global || hint == Some(&ParallelizationHint::HostExclusive);
        let host = host(job);
        if wants_host && self.left.locked.get(host).is_some_and(|locked| *locked) {
            return Some(WaitCause::Host {
                host: host.to_owned(),
                held_by: self.holders.hosts.get(host).cloned().unwrap_or_default(),
            });
        }
        let scheduler = self.input.seated.queue().scheduler();
        (wants_global && !scheduler.global_available()).then(|| WaitCause::Global {
            held_by: self.holders.global.clone(),
        })
    }

    fn used_up_limit(&self, job: &Job) -> Option<WaitCause> {
        let used_up = |name: &String| {
            let state = self.left.limits.get(name.as_str())?;
            (state.left < 1.0).then(|| (name.clone(), *state))
        };
        let (name, state) = job.terms.limits.iter().find_map(used_up)?;
        Some(WaitCause::Limit {
            limit: state.limit,
            next: match state.limit {
                Limit::Rate(quota) => Some(next_token(state.left, quota)),
                Limit::Max(_) => None,
            },
            held_by: self.holders.of_limit(&name, state.limit),
            name,
        })
    }

    fn used_up_rate(&self, job: &Job, hint: Option<&ParallelizationHint>) -> Option<WaitCause> {
        let Some(ParallelizationHint::RateLimited { key, .. }) = hint else {
            return None;
        };
        let key = key.as_deref().unwrap_or(match &job.work {
            Work::Task { task, .. } => task.as_str(),
            _ => job.task_name(),
        });
        let state = self.left.rates.get(key)?;
        (state.tokens < 1.0).then(|| WaitCause::Rate {
            key: key.to_owned(),
            next: next_token(state.tokens, state.quota),
        })
    }

    /// Finds the first resource of which a job takes more units than are free.
    fn lacked_resource(&self, entry: &JobEntry) -> Option<WaitCause> {
        let queue = self.input.seated.queue();
        let is_lacking = |need: &&ResourceNeed| {
            let free = self.left.resources.get(need.name.as_str());
            free.is_some_and(|free| *free < queue.units_needed(entry, need))
        };
        let terms = &entry.job.terms;
        let need = terms.resources.iter().find(is_lacking);
        let need = need.or_else(|| {
            let places = queue.routes().get(entry.route).places;
            (self.input.seated.places()).first_short_resource(places, terms)
        })?;
        let held_by = self.holders.resources.get(need.name.as_str());
        Some(WaitCause::Resource {
            name: need.name.clone(),
            held_by: held_by.cloned().unwrap_or_default(),
        })
    }

    fn hold(&self, entry: &JobEntry) -> Option<WaitCause> {
        let seated = self.input.seated;
        let places = seated.queue().routes().get(entry.route).places;
        let there = seated.places().hold_reason(places);
        let there = there.filter(|_| self.absence(entry).is_some());
        let reason = self.input.control.hold_reason().or(there)?;
        Some(WaitCause::Held(reason.to_owned()))
    }

    fn lacked_worker(&self, entry: &JobEntry) -> Option<WaitCause> {
        let (queue, performers) = (self.input.seated.queue(), self.input.seated.performers());
        let has_seats = !performers.performs_here(entry.kind);
        let is_full = has_seats && performers.free_seats(entry.kind) == 0;
        // A job that takes tokens also waits for a worker that is proven to read its requests.
        let has_none = || queue.workers(entry.route) == Workers::Free(0);
        (is_full || (entry.is_rated && has_none()))
            .then(|| WaitCause::Worker(self.input.kinds.name(entry.kind).to_owned()))
    }

    fn lacked_slot(
        &self,
        entry: &JobEntry,
        hint: Option<&ParallelizationHint>,
    ) -> Option<WaitCause> {
        let queue = self.input.seated.queue();
        let load = queue.load();
        if hint == Some(&ParallelizationHint::Alone) && load.running > 0 {
            return Some(WaitCause::Quiet);
        }
        let is_full = queue.workers(entry.route) == Workers::Full;
        (is_full || load.slots_used.saturating_add(entry.job.terms.slots) > load.slots)
            .then_some(WaitCause::Slot)
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

impl<'a> Holders<'a> {
    /// Finds what the running jobs hold.
    fn of(input: &'a SnapshotInput<'a>) -> Self {
        let mut holders = Self::default();
        let entries = input.seated.queue().entries();
        for entry in entries.filter(|entry| entry.state() == EntryState::Running) {
            holders.add(entry, input.kinds);
        }
        holders
    }

    /// Records what a running job holds.
    fn add(&mut self, entry: &'a JobEntry, kinds: &Kinds) {
        let id = || entry.job.id.clone();
        for limit in &entry.job.terms.limits {
            let holders = self.limits.entry(limit.as_str()).or_default();
            // Each job that waits for the limit gets a copy of the list, so only some of the holders are kept.
            if holders.len() < MAX_HOLDERS {
                holders.push(id());
            }
        }
        for need in &entry.job.terms.resources {
            self.resources.entry(&need.name).or_default().push(id());
        }
        // The worker has declared a wrong hint after the job was started, so no hint binds this job.
        let Ok(hint) = kinds.hint(&entry.job) else {
            return;
        };
        let mut lock_host = || {
            let holders = self.hosts.entry(host(&entry.job)).or_default();
            holders.push(id());
        };
        match hint {
            ParallelizationHint::HostExclusive => lock_host(),
            ParallelizationHint::GlobalExclusive => {
                lock_host();
                self.global.push(id());
            }
            ParallelizationHint::Alone => self.alone = Some(id()),
            ParallelizationHint::FullyParallel | ParallelizationHint::RateLimited { .. } => {}
        }
    }

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

/// Returns the host whose lock a job takes. Jobs without a host share the lock of the empty name.
fn host(job: &Job) -> &str {
    job.host.as_ref().map_or("", |host| host.as_str())
}
