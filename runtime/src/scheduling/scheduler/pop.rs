//! Chooses the job that starts next.

use std::time::Instant;

use super::super::bucket::since;
use super::super::gates::GateCondition;
use super::super::priority::Rank;
use super::super::queue::QueuedState;
use super::{Decision, Scheduler, Workers};
use crate::ids::Ticket;

impl Scheduler {
    /// Starts one job, or returns until when none can start.
    ///
    /// Call it until it starts no more. Call it again whenever a job was pushed or has ended, a setting was changed, or
    /// the moment that it returned has come.
    pub fn pop(&mut self, now: Instant) -> Decision {
        self.pop_if(now, |_| Ok(()))
    }

    /// Starts one job like [`pop`](Self::pop), but asks `admit` first whether the job may start.
    ///
    /// `admit` is asked about a job that lacks nothing, before any of its claims is taken. If it returns a moment, the
    /// job waits for that moment and holds nothing until then, no token of a rate either, and the next job is looked
    /// at. A job that is admitted starts.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ratchet_runtime::{Decision, SchedulerRequest, Scheduler, SchedulerSettings};
    ///
    /// # #[expect(clippy::disallowed_methods, reason = "an example outside tokio")]
    /// let now = std::time::Instant::now();
    /// let mut scheduler = Scheduler::new(SchedulerSettings::default(), now)?;
    /// let first = scheduler.push(SchedulerRequest::new("fetch"), now)?;
    /// let second = scheduler.push(SchedulerRequest::new("resize"), now)?;
    ///
    /// // What the first one calls is down for a second.
    /// let back = now + Duration::from_secs(1);
    /// let admit = |ticket| if ticket == first { Err(back) } else { Ok(()) };
    /// assert_eq!(scheduler.pop_if(now, admit), Decision::Start(second));
    /// scheduler.finish(second)?;
    /// assert_eq!(scheduler.pop(now), Decision::WaitUntil(back));
    /// assert_eq!(scheduler.pop(back), Decision::Start(first));
    /// # Ok::<(), ratchet_runtime::Error>(())
    /// ```
    pub fn pop_if(
        &mut self,
        now: Instant,
        mut admit: impl FnMut(Ticket) -> Result<(), Instant>,
    ) -> Decision {
        self.advance_time(now);
        self.catch_up();
        if self.runs_alone || self.free() == 0 {
            return Decision::Idle;
        }
        self.show_due();
        while let Some((_, gate)) = self.open.top() {
            let (rank, group) = self.first_group(gate);
            let Some(barred) = self.obstacle(group) else {
                let job = self.first_job(group);
                if let Err(not_before) = admit(self.ticket(job)) {
                    self.leave_lane(job);
                    // Later than now in any case, or this loop would ask about the same job forever.
                    let due = since(self.epoch, not_before).max(self.now.saturating_add(1));
                    self.delay(job, due);
                    continue;
                }
                self.start(group, job);
                return Decision::Start(self.ticket(job));
            };
            let slots_only = matches!(
                self.gates[barred].barred,
                GateCondition::Slots | GateCondition::Quiet
            );
            if slots_only && self.is_due(rank) {
                break; // Rule 3: nothing behind it starts.
            }
            if barred == gate {
                self.shut(gate);
            } else {
                self.move_group(group, barred);
            }
        }
        let next = [self.delayed.top(), self.wakes.top()];
        match next.into_iter().flatten().map(|(rank, _)| rank.due).min() {
            Some(when) => Decision::WaitUntil(self.moment(when)),
            None => Decision::Idle,
        }
    }

    /// Reopens the gates of slots and quiet at which a due job waits: it may hold back the jobs behind it.
    pub(super) fn show_due(&mut self) {
        for at in 0..=self.weights.len() {
            let gate = self.weights.get(at).map_or(self.quiet, |(_, gate)| *gate);
            let waiting = &self.gates[gate];
            if waiting.shut
                && waiting
                    .groups
                    .top()
                    .is_some_and(|(rank, _)| self.is_due(rank))
            {
                self.reopen(gate);
            }
        }
    }

    /// Returns the gate of the first thing that a group's first job lacks: a limit, a worker, quiet, slots.
    pub(super) fn obstacle(&self, id: u32) -> Option<u32> {
        let group = &self.groups[id];
        for (at, &number) in group.limits.iter().enumerate() {
            let limit = &self.limits[number as usize];
            let units = group.units_at(at);
            if !limit.level.holds(units, self.now) {
                return Some(limit.gate_of(units));
            }
            // Rule 2: the units that the first in line needs are kept for it, once it is due.
            if let Some((rank, first)) = limit.line.top()
                && first != id
                && self.is_due(rank)
            {
                let kept = self.groups[first].units_of(number);
                if !limit.level.holds(units.saturating_add(kept), self.now) {
                    return Some(limit.gate_of(units));
                }
            }
        }
        let kind = &self.kinds[usize::from(group.kind)];
        if kind.workers.are_none() {
            return Some(kind.gate);
        }
        if group.alone && self.running + self.ahead > 0 {
            return Some(self.quiet);
        }
        if group.slots > self.free() {
            let gates = &self.weights;
            #[expect(
                clippy::expect_used,
                reason = "the gate of a weight is removed with the last job of that weight"
            )]
            let at = gates
                .binary_search_by_key(&group.slots, |(weight, _)| *weight)
                .expect("each weight in use has its gate");
            return Some(gates[at].1);
        }
        None
    }

    /// Moves a group to another gate.
    pub(super) fn move_group(&mut self, id: u32, gate: u32) {
        let (old, position) = (self.groups[id].gate, self.groups[id].position);
        let groups = &mut self.groups;
        let waiting = &mut self.gates[old].groups;
        let rank = waiting.rank_at(position);
        waiting.remove(position, |id, at| groups[id].position = at);
        groups[id].gate = gate;
        self.gates[gate]
            .groups
            .push(rank, id, |id, at| groups[id].position = at);
        // The first group of the old gate has changed. The new gate is checked in its turn, and closed if no group can
        // pass.
        self.relist(old);
        self.relist(gate);
    }

    /// Returns the first group at a gate that may let a group pass.
    #[expect(clippy::expect_used, reason = "`relist` removes an empty gate")]
    pub(super) fn first_group(&self, gate: u32) -> (Rank, u32) {
        (self.gates[gate].groups.top()).expect("an empty gate is never listed")
    }

    /// Returns the first job of a group that waits at a gate.
    #[expect(
        clippy::expect_used,
        reason = "a group waits at a gate only while one of its lanes has a job that its place lets pass"
    )]
    fn first_job(&self, group: u32) -> u32 {
        let (_, lane) = self.groups[group]
            .lanes
            .top()
            .expect("a group without a lane waits at no gate");
        let (_, job) = self.lanes[lane]
            .head()
            .expect("a lane without a job is in no group's heap");
        job
    }

    /// Takes everything that the group's first job claims, in one step.
    fn start(&mut self, id: u32, job: u32) {
        let now = self.now;
        let lane = self.jobs[job].lane;
        let group = &self.groups[id];
        let mut held = Vec::new();
        for (at, &limit) in group.limits.iter().enumerate() {
            let units = group.units_at(at);
            held.extend(self.limits[limit as usize].level.take(units, now));
        }
        if !held.is_empty() {
            self.held_units.insert(job, held);
        }
        if let Workers::Free(free) = &mut self.kinds[usize::from(group.kind)].workers {
            *free -= 1;
        }
        self.used += group.slots;
        self.jobs[job].slot = Some(self.numbers.take());
        if group.slots > 1 {
            let more = (1..group.slots).map(|_| self.numbers.take()).collect();
            self.more_numbers.insert(job, more);
        }
        self.running += 1;
        self.waiting -= 1;
        self.runs_alone = group.alone;
        self.lanes[lane].remove(job, &mut self.jobs);
        self.jobs[job].queued_state = QueuedState::Running;
        let place = self.lanes[lane].place;
        if place != super::NOWHERE {
            self.places[place].take(now);
        }
        self.refresh_lane(lane);
    }
}
