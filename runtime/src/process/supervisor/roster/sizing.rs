//! How many workers there are: who is started, and who may leave.

use std::time::Instant;

use super::super::member::Member;
use super::work::RECALL_AFTER;
use super::{Roster, count, retire};
use crate::executor::crew::Prospect;
use crate::worker::orders::Order;
use crate::worker::{Cause, Retirement};

impl Roster {
    /// Sees to the size and the state of the pool. Says how many workers are to be started now, and
    /// whom each replaces.
    pub(in crate::process::supervisor) fn tend(&mut self, now: Instant) -> Vec<Option<u64>> {
        self.kill_unwanted();
        if self.broken.is_some() {
            return Vec::new();
        }
        self.shrink(now);
        self.retire_filters(now);
        self.recall(now);
        if self.rests() {
            self.short_since = None;
            return Vec::new();
        }
        if self.heeds(now) {
            return Vec::new();
        }
        let mut starts = Vec::new();
        let size = self.size();
        let missing = self.min.saturating_sub(size);
        let wanted = missing.max(self.growth(size, now));
        if wanted > 0 && self.health.not_before(now).is_none() {
            starts.extend((0..wanted).map(|_| None));
        }
        let ttl = self.config.recycling.ttl;
        for member in &mut self.members {
            let worn = member.stays() && !member.is_starting() && member.is_worn(ttl, now);
            if worn && !member.succeeded && !member.leased && self.health.not_before(now).is_none()
            {
                member.succeeded = true;
                starts.push(Some(member.number));
            }
        }
        starts
    }

    /// How many workers more there should be, by what waits and for how long.
    fn growth(&mut self, size: u32, now: Instant) -> u32 {
        let waiting = self.prospect.waiting();
        let waiting = waiting.saturating_add(self.pending.len() + self.acquirers.len());
        let coming = count(self.members.iter().filter(|member| member.is_starting()));
        // What workers say of themselves can be any number.
        let room = self.members.iter().map(Member::room);
        let room = room.fold(coming, u32::saturating_add);
        let short = waiting.saturating_sub(room as usize);
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
        // With nobody there, there is nothing to wait for.
        if size > 0 && waited < self.config.size.grow_after {
            return 0;
        }
        self.short_since = Some(now);
        1
    }

    /// Once what the executors had is killed, no worker is let end well. Those that have work are killed for it.
    fn kill_unwanted(&self) {
        if self.called || self.prospect != Prospect::Killed {
            return;
        }
        for member in self.members.iter().filter(|one| one.state.jobs() == 0) {
            member.order(Order::Kill(Cause::Retired(Retirement::Shutdown)));
        }
    }

    /// Workers beyond the most there may be leave, and so do those that have long been idle.
    fn shrink(&mut self, now: Instant) {
        let mut surplus = self.size().saturating_sub(self.max);
        while surplus > 0 {
            let idle = self
                .members
                .iter_mut()
                .filter(|member| member.stays() && !member.leased);
            // Whoever has least to do leaves first.
            let Some(member) = idle.min_by_key(|member| (member.state.jobs(), member.jobs_done))
            else {
                break;
            };
            retire(member, Retirement::Shrunk, now);
            surplus -= 1;
        }
        let Some(ttl) = self.config.recycling.idle_ttl else {
            return;
        };
        let mut spare = self.size().saturating_sub(self.min);
        for member in &mut self.members {
            let idle = member.idle_since();
            if spare > 0 && idle.is_some_and(|since| now.saturating_duration_since(since) >= ttl) {
                retire(member, Retirement::Idle, now);
                spare -= 1;
            }
        }
    }

    /// Makes room for another kind: the worker that has been idle longest leaves.
    pub(in crate::process::supervisor) fn yield_one(&mut self, now: Instant) -> bool {
        if self.size() <= self.min || self.prospect.waiting() > 0 {
            return false;
        }
        let idle = self
            .members
            .iter_mut()
            .filter(|member| member.idle_since().is_some());
        match idle.min_by_key(|member| member.idle_since()) {
            Some(member) => {
                retire(member, Retirement::Shrunk, now);
                true
            }
            None => false,
        }
    }

    /// When to tend to the pool again, if nothing happens before.
    pub(in crate::process::supervisor) fn next_check(&self, now: Instant) -> Option<Instant> {
        if self.broken.is_some() {
            return None;
        }
        let recycling = &self.config.recycling;
        let ages = recycling.ttl.into_iter().flat_map(|ttl| {
            let living = self
                .members
                .iter()
                .filter(|member| member.stays() && !member.succeeded);
            living.filter_map(move |member| member.born.checked_add(ttl))
        });
        let spare = self.size() > self.min;
        let idles = recycling
            .idle_ttl
            .filter(|_| spare)
            .into_iter()
            .flat_map(|ttl| {
                let idle = self.members.iter().filter_map(Member::idle_since);
                idle.filter_map(move |since| since.checked_add(ttl))
            });
        let grow = self
            .short_since
            .and_then(|since| since.checked_add(self.config.size.grow_after));
        let recall = self
            .bored_since()
            .and_then(|since| since.checked_add(RECALL_AFTER));
        let restart = self.health.not_before(now);
        // What is past was seen to, or waits for something that will happen.
        let times = [grow, recall, restart, self.heeds_until]
            .into_iter()
            .flatten()
            .chain(ages)
            .chain(idles);
        times.filter(|at| *at > now).min()
    }
}
