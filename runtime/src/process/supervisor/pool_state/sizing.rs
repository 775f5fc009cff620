//! The size of a pool: which workers are started, and which are retired.

use std::time::Instant;

use super::super::worker::SupervisedWorker;
use super::{PoolState, count};
use crate::dispatch::{Demand, Kill, Order, Retirement, WorkerNumber};

impl PoolState {
    /// Retires workers that are not needed, and returns the workers to start now: one entry each, with the worker that
    /// it replaces, if it replaces one.
    pub(in crate::process::supervisor) fn plan_starts(
        &mut self,
        now: Instant,
    ) -> Vec<Option<WorkerNumber>> {
        self.kill_unwanted();
        if self.broken.is_some() {
            return Vec::new();
        }
        self.shrink(now);
        self.retire_filters(now);
        if !self.is_used_by_run() {
            self.seats.recall(now);
        }
        if self.needs_no_worker() {
            self.short_since = None;
            return Vec::new();
        }
        if self.awaits_demand {
            return Vec::new();
        }
        let mut starts = Vec::new();
        let size = self.size();
        let missing = self.min.saturating_sub(size);
        let wanted = missing.max(self.growth(size, now));
        let may_start = self.restarts.not_before(now).is_none();
        if wanted > 0 && may_start {
            starts.extend((0..wanted).map(|_| None));
        }
        let ttl = self.config.recycling.ttl;
        for worker in &mut self.workers {
            let worn = worker.counts_towards_size()
                && !worker.is_starting()
                && worker.is_due_for_replacement(ttl, now);
            if worn && may_start && !worker.has_successor && !self.seats.is_leased(worker.number) {
                worker.has_successor = true;
                starts.push(Some(worker.number));
            }
        }
        starts
    }

    /// Returns how many workers to add, from how much work waits and for how long.
    fn growth(&mut self, size: u32, now: Instant) -> u32 {
        let waiting = self.demand.unseated();
        let waiting = waiting.saturating_add(self.pending.len() + self.lease_requests.len());
        let coming = count(self.workers.iter().filter(|worker| worker.is_starting()));
        let short = waiting.saturating_sub(coming as usize);
        if short == 0 || size >= self.max {
            self.short_since = None;
            return 0;
        }
        let since = *self.short_since.get_or_insert(now);
        let waited = now.saturating_duration_since(since);
        let step = u32::try_from(short).unwrap_or(u32::MAX);
        if self.config.size.grow_after.is_zero() {
            return step.min(self.max - size);
        }
        // If there is no worker at all, waiting before the start would gain nothing.
        if size > 0 && waited < self.config.size.grow_after {
            return 0;
        }
        self.short_since = Some(now);
        1
    }

    /// Kills idle workers if the work of the run was killed. Busy workers are killed with their attempts.
    fn kill_unwanted(&self) {
        if self.is_called || self.demand != Demand::Killed {
            return;
        }
        for worker in self.workers.iter().filter(|one| !one.state.is_busy()) {
            worker.order(Order::Kill(Kill::Shutdown));
        }
    }

    /// Retires the workers beyond the maximum, and those that have been idle for too long.
    fn shrink(&mut self, now: Instant) {
        let mut surplus = self.size().saturating_sub(self.max);
        while surplus > 0 {
            let staying = self.workers.iter().filter(|worker| {
                worker.counts_towards_size() && !self.seats.is_leased(worker.number)
            });
            // Idle ones leave first, and among equals the one that has done least.
            let leaver = staying.min_by_key(|one| (one.state.is_busy(), one.jobs_done));
            let Some(number) = leaver.map(|worker| worker.number) else {
                break;
            };
            self.retire(number, Retirement::Shrunk, now);
            surplus -= 1;
        }
        let Some(ttl) = self.config.recycling.idle_ttl else {
            return;
        };
        let spare = self.size().saturating_sub(self.min) as usize;
        let long_idle = self.idle().filter(|(_, since)| {
            let idle_for = now.saturating_duration_since(*since);
            idle_for >= ttl
        });
        let leavers: Vec<_> = long_idle.map(|(number, _)| number).take(spare).collect();
        for number in leavers {
            self.retire(number, Retirement::Idle, now);
        }
    }

    /// Returns the idle workers that are not leased, with the times since which they have been idle.
    fn idle(&self) -> impl Iterator<Item = (WorkerNumber, Instant)> {
        let free = self
            .workers
            .iter()
            .filter(|worker| !self.seats.is_leased(worker.number));
        free.filter_map(|worker| Some((worker.number, worker.idle_since()?)))
    }

    /// Retires the worker that has been idle for longest, to make room for another pool. Returns whether one was
    /// retired.
    pub(in crate::process::supervisor) fn retire_one_idle(&mut self, now: Instant) -> bool {
        if self.size() <= self.min || self.demand.unseated() > 0 {
            return false;
        }
        let longest = self.idle().min_by_key(|(_, since)| *since);
        if let Some((number, _)) = longest {
            self.retire(number, Retirement::Shrunk, now);
        }
        longest.is_some()
    }

    /// Returns the time at which [`plan_starts`](Self::plan_starts) has to be called again, if nothing happens before.
    pub(in crate::process::supervisor) fn next_check(&self, now: Instant) -> Option<Instant> {
        if self.broken.is_some() {
            return None;
        }
        let recycling = &self.config.recycling;
        let ages = recycling.ttl.into_iter().flat_map(|ttl| {
            let living = self
                .workers
                .iter()
                .filter(|worker| worker.counts_towards_size() && !worker.has_successor);
            living.filter_map(move |worker: &SupervisedWorker| worker.started_at.checked_add(ttl))
        });
        let spare = self.size() > self.min;
        let idles = recycling
            .idle_ttl
            .filter(|_| spare)
            .into_iter()
            .flat_map(|ttl| {
                self.idle()
                    .filter_map(move |(_, since)| since.checked_add(ttl))
            });
        let grow = self
            .short_since
            .and_then(|since| since.checked_add(self.config.size.grow_after));
        let recall = self.seats.recall_at().filter(|_| !self.is_used_by_run());
        let restart = self.restarts.not_before(now);
        // A time in the past was handled by `plan_starts`, or waits for an event that wakes the actor.
        let times = [grow, recall, restart].into_iter().flatten();
        let times = times.chain(ages).chain(idles);
        times.filter(|at| *at > now).min()
    }
}
