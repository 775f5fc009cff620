//! Ends jobs, or makes them wait again.

use std::time::Instant;

use super::super::bucket::since;
use super::super::gates::{Level, LockOrBucket};
use super::super::heap::NOWHERE;
use super::super::priority::Rank;
use super::super::queue::QueuedState;
use super::Scheduler;
use super::push::finish_group_key;
use crate::Error;
use crate::ids::Ticket;

/// The result of [`Scheduler::cancel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelResult {
    /// The job waited, and was removed.
    Removed,
    /// The job runs: stop it, then call [`finish`](Scheduler::finish). Or it was sent ahead: get it back, and [put it
    /// back](Scheduler::put_back) first.
    Running,
}

/// What happens to a job whose attempt has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterAttempt {
    /// The job is over, as with [`finish`](Scheduler::finish).
    Over,
    /// The job is to run again, not before this moment, as with [`retry`](Scheduler::retry).
    Again(Instant),
}

impl Scheduler {
    /// Ends the attempt of a running job in one of these ways.
    pub fn end(&mut self, ticket: Ticket, end: AfterAttempt) -> Result<(), Error> {
        match end {
            AfterAttempt::Over => self.finish(ticket),
            AfterAttempt::Again(not_before) => self.retry(ticket, not_before),
        }
    }

    /// Keeps back all tokens of the rates of which a running job has taken some, because it may begin only later. This ends
    /// when the job [has begun](Self::began_late) or ends. There is one such job at a time.
    pub(crate) fn begins_late(&mut self, ticket: Ticket) -> Result<(), Error> {
        let id = self.find_running(ticket)?;
        self.freeze_rates(id, true);
        self.freezes_rates = Some(id);
        Ok(())
    }

    /// Keeps back the tokens of the rates of a running job, or no longer.
    fn freeze_rates(&mut self, id: u32, is_frozen: bool) {
        let lane = self.jobs[id].lane;
        let group = self.lanes[lane].group;
        for number in 0..self.groups[group].limits.len() {
            let limit = self.groups[group].limits[number] as usize;
            if let Level::Rate(bucket) = &mut self.limits[limit].level {
                bucket.set_frozen(is_frozen);
                let gate = self.limits[limit].gate;
                self.reopen(gate);
            }
        }
        let place = self.lanes[lane].place;
        if place != NOWHERE
            && let LockOrBucket::Key { bucket, .. } = &mut self.places[place].hold
        {
            bucket.set_frozen(is_frozen);
            self.refresh_place(place);
        }
    }

    /// Ends the freeze of rates if it belongs to this job.
    fn thaw_rates(&mut self, id: u32) {
        if self.freezes_rates == Some(id) {
            self.freezes_rates = None;
            self.freeze_rates(id, false);
        }
    }

    /// Counts the tokens that a running job took as taken now, because it has begun only now: its worker was not there
    /// when it was started. No other job that takes tokens of the same rates may have been started in between.
    pub fn began_late(&mut self, ticket: Ticket, now: Instant) -> Result<(), Error> {
        self.advance_time(now);
        let now = self.now;
        let id = self.find_running(ticket)?;
        self.thaw_rates(id);
        let lane = self.jobs[id].lane;
        let group = self.lanes[lane].group;
        for number in 0..self.groups[group].limits.len() {
            let limit = self.groups[group].limits[number] as usize;
            self.limits[limit].level.take_later(now);
            let gate = self.limits[limit].gate;
            self.reopen(gate);
        }
        let place = self.lanes[lane].place;
        if place != NOWHERE
            && let LockOrBucket::Key { bucket, .. } = &mut self.places[place].hold
        {
            bucket.take_later(now);
            self.refresh_place(place);
        }
        Ok(())
    }

    /// Ends a running job, successfully or not, and frees what it held.
    pub fn finish(&mut self, ticket: Ticket) -> Result<(), Error> {
        let id = self.find_running(ticket)?;
        self.release(id);
        self.forget(id);
        Ok(())
    }

    /// Makes a running job wait for another attempt, not before a given time, and frees what it held.
    ///
    /// It keeps its place in the queue and holds nothing while it waits. A retry is never refused, even when the queue
    /// is full.
    pub fn retry(&mut self, ticket: Ticket, not_before: Instant) -> Result<(), Error> {
        let id = self.find_running(ticket)?;
        self.release(id);
        self.waiting += 1;
        self.enter_at(id, not_before);
        Ok(())
    }

    /// Makes a job wait for another attempt, not before a given time, that was just pushed again after its last attempt.
    pub(crate) fn delay_pushed(
        &mut self,
        ticket: Ticket,
        not_before: Instant,
    ) -> Result<(), Error> {
        let id = self.find(ticket)?;
        if !matches!(
            self.jobs[id].queued_state,
            QueuedState::Listed | QueuedState::Late
        ) {
            return Err(Error::NotWaiting { ticket });
        }
        self.leave_lane(id);
        // It has not waited in its lane, so its wait begins as that for another attempt.
        self.take_note(id);
        self.enter_at(id, not_before);
        Ok(())
    }

    /// Changes the not-before time of a job that waits for its turn or for such a time. With a moment in the past it
    /// can start at once. It keeps its place.
    pub fn postpone(&mut self, ticket: Ticket, not_before: Instant) -> Result<(), Error> {
        let id = self.find(ticket)?;
        match self.jobs[id].queued_state {
            QueuedState::Listed | QueuedState::Late => self.leave_lane(id),
            QueuedState::Delayed => self.leave_delayed(id),
            QueuedState::Parked => {}
            QueuedState::Free | QueuedState::Ahead | QueuedState::Running => {
                return Err(Error::NotWaiting { ticket });
            }
        }
        self.enter_at(id, not_before);
        Ok(())
    }

    /// Makes a job wait for its turn, from this moment on.
    fn enter_at(&mut self, id: u32, not_before: Instant) {
        let due = since(self.epoch, not_before);
        if due <= self.now {
            self.enter_unless_parked(id);
        } else {
            self.delay(id, due);
        }
    }

    /// Delays a job that is not in a lane until a future moment.
    pub(super) fn delay(&mut self, id: u32, due: u64) {
        self.note_delayed(id, due);
        let job = &mut self.jobs[id];
        job.queued_state = QueuedState::Delayed;
        let rank = Rank {
            due,
            seq: job.rank.seq,
        };
        let jobs = &mut self.jobs;
        self.delayed
            .push(rank, id, |id, at| jobs[id].set_position(at));
    }

    /// Removes a job from those that wait for their not-before time.
    fn leave_delayed(&mut self, id: u32) {
        let (position, jobs) = (self.jobs[id].position(), &mut self.jobs);
        self.delayed
            .remove(position, |id, at| jobs[id].set_position(at));
    }

    /// Removes a waiting job from its lane.
    pub(super) fn leave_lane(&mut self, id: u32) {
        let lane = self.jobs[id].lane;
        let first = self.lanes[lane].head();
        self.lanes[lane].remove(id, &mut self.jobs);
        if self.lanes[lane].head() != first {
            self.refresh_lane(lane);
        }
    }

    /// Removes a waiting job.
    pub fn cancel(&mut self, ticket: Ticket) -> Result<CancelResult, Error> {
        let id = self.find(ticket)?;
        match self.jobs[id].queued_state {
            QueuedState::Running | QueuedState::Ahead => return Ok(CancelResult::Running),
            QueuedState::Listed | QueuedState::Late => self.leave_lane(id),
            QueuedState::Delayed => self.leave_delayed(id),
            QueuedState::Parked => {}
            QueuedState::Free => unreachable!("a ticket that is found is that of a job"),
        }
        self.waiting -= 1;
        self.forget(id);
        Ok(CancelResult::Removed)
    }

    /// Returns the index of a ticket whose job waits, was sent ahead or runs.
    pub(super) fn find(&self, ticket: Ticket) -> Result<u32, Error> {
        match self.jobs.get(ticket.index) {
            Some(job)
                if job.queued_state != QueuedState::Free
                    && super::generation(job.rank) == ticket.generation =>
            {
                Ok(ticket.index)
            }
            _ => Err(Error::UnknownTicket { ticket }),
        }
    }

    /// Returns the index of a ticket whose job runs.
    pub(super) fn find_running(&self, ticket: Ticket) -> Result<u32, Error> {
        let id = self.find(ticket)?;
        if self.jobs[id].queued_state != QueuedState::Running {
            return Err(Error::NotRunning { ticket });
        }
        Ok(id)
    }

    /// Gives back what a running job holds, and reopens the gates of groups that may need it.
    fn release(&mut self, id: u32) {
        let lane = self.jobs[id].lane;
        let group = self.lanes[lane].group;
        self.thaw_rates(id);
        self.running -= 1;
        self.runs_alone = false;
        let before = self.free();
        self.used -= self.groups[group].slots;
        if let Some(number) = self.jobs[id].slot.take() {
            self.numbers.give_back(number);
        }
        if self.groups[group].slots > 1 {
            for number in self.more_numbers.remove(&id).unwrap_or_default() {
                self.numbers.give_back(number);
            }
        }
        self.reopen_weights(before);
        self.reopen_quiet();
        for number in 0..self.groups[group].limits.len() {
            let limit = self.groups[group].limits[number];
            let limit = &mut self.limits[limit as usize];
            if let Level::Max { held, .. } = &mut limit.level {
                *held -= 1;
                let gate = limit.gate;
                self.reopen(gate);
            }
        }
        if !self.groups[group].units.is_empty() {
            self.release_units(id, group);
        }
        let place = self.lanes[lane].place;
        if place != NOWHERE
            && let LockOrBucket::Host { locked } = &mut self.places[place].hold
        {
            *locked = false;
            self.refresh_place(place);
        }
    }

    /// Gives back the units of resources that a job of a group holds.
    fn release_units(&mut self, id: u32, group: u32) {
        let mut held = self.held_units.remove(&id).unwrap_or_default().into_iter();
        for number in 0..self.groups[group].limits.len() {
            let limit = self.groups[group].limits[number];
            if let Level::Resource(level) = &mut self.limits[limit as usize].level {
                #[expect(
                    clippy::expect_used,
                    reason = "`start` has put one entry there for each resource of the group"
                )]
                let units = (held.next()).expect("a running job holds units of its resources");
                level.pool.give_back(units);
                self.reopen_limit(limit);
            }
        }
    }

    /// Reopens the gates of groups for which the slots that have become free may suffice.
    pub(super) fn reopen_weights(&mut self, before: u32) {
        let free = self.free();
        let first = self
            .weights
            .partition_point(|(weight, _)| *weight <= before);
        for at in first..self.weights.len() {
            let (weight, gate) = self.weights[at];
            if weight > free {
                break;
            }
            self.reopen(gate);
        }
    }

    /// Forgets a job that neither waits nor runs.
    fn forget(&mut self, id: u32) {
        // A caller that wanted to know its waits has asked by now, and another job may get its number.
        self.take_note(id);
        let job = self.jobs.remove(id);
        let lane = job.lane;
        let group = self.lanes[lane].group;
        let slots = self.groups[group].slots;
        self.lanes[lane].jobs -= 1;
        if self.lanes[lane].jobs == 0 {
            self.drop_lane(lane);
        }
        if slots > 1 {
            self.forget_weight(slots);
        }
    }

    /// Counts down the jobs of a weight. The last one removes the gate, at which no group waits any more.
    #[expect(
        clippy::expect_used,
        reason = "what puts a heavy job into a group counts it and makes the gate of its weight, and only this function undoes both"
    )]
    pub(super) fn forget_weight(&mut self, slots: u32) {
        let count = (self.heavy.get_mut(&slots)).expect("each heavy job was counted at its push");
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.heavy.remove(&slots);
        let at = self
            .weights
            .binary_search_by_key(&slots, |(weight, _)| *weight)
            .expect("each weight in use has its gate");
        let (_, gate) = self.weights.remove(at);
        self.gates.remove(gate);
    }

    /// Removes a lane that has no jobs left, and its group if that was its last lane.
    pub(super) fn drop_lane(&mut self, id: u32) {
        let (group, place) = (self.lanes[id].group, self.lanes[id].place);
        if place == NOWHERE {
            if self.groups[group].lasting {
                return; // Fully parallel jobs find their lane warm.
            }
            self.groups[group].plain = NOWHERE;
        } else {
            self.leave_place(id, place);
        }
        self.lanes.remove(id);
        let group_id = group;
        let group = &mut self.groups[group_id];
        group.lane_count -= 1;
        if group.lane_count == 0 && !group.lasting {
            let group = self.groups.remove(group_id);
            for (limit, units) in group.limits.iter().zip(&group.units) {
                self.remove_units_gate(*limit, *units);
            }
            self.group_key.clear();
            self.group_key.extend(&group.limits);
            finish_group_key(
                &mut self.group_key,
                &group.units,
                (group.kind, group.slots, group.alone),
            );
            self.group_index.remove(&*self.group_key);
            if self.group_index.is_empty() {
                self.group_index.shrink_to(64);
            }
        }
    }

    /// Unlinks a lane from its place, and removes the place if that was its last lane, unless the bucket of the place
    /// still counts tokens that were taken.
    #[expect(
        clippy::expect_used,
        reason = "`lane_for` links each lane of a place, and only this function unlinks it"
    )]
    fn leave_place(&mut self, lane: u32, place: u32) {
        let next = self.lanes[lane].sibling;
        if self.places[place].lanes == lane {
            self.places[place].lanes = next;
        } else {
            let before = self
                .lanes_of(place)
                .find(|&before| self.lanes[before].sibling == lane)
                .expect("a lane of a place is linked from the one before it");
            self.lanes[before].sibling = next;
        }
        if self.places[place].lanes != NOWHERE {
            return;
        }
        match &self.places[place].hold {
            // A bucket that is not full still counts tokens that were taken from it.
            LockOrBucket::Key { bucket, .. } if bucket.when_full() > self.now => {
                self.refresh_place(place);
            }
            LockOrBucket::Key { .. } | LockOrBucket::Host { .. } => self.forget_place(place),
        }
    }

    /// Removes a host or a key that no job needs any more.
    pub(super) fn forget_place(&mut self, id: u32) {
        self.set_wake(super::lines::Alarm::Place(id), None);
        self.set_timer(id, None);
        let place = self.places.remove(id);
        let names = match place.hold {
            LockOrBucket::Host { .. } => &mut self.hosts,
            LockOrBucket::Key { .. } => &mut self.keys,
        };
        names.remove(&place.name);
        if names.is_empty() {
            names.shrink_to(1024);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::claims::SchedulerRequest;
    use super::super::{Decision, SchedulerSettings};
    use super::*;

    #[test]
    fn a_weight_used_once_leaves_nothing_behind() {
        let now = tokio::time::Instant::now().into_std();
        let settings = SchedulerSettings {
            slots: 1_000,
            ..SchedulerSettings::default()
        };
        let mut scheduler = Scheduler::new(settings, now).unwrap();
        let run_all = |scheduler: &mut Scheduler| {
            while let Decision::Start(ticket) = scheduler.pop(now) {
                scheduler.finish(ticket).unwrap();
            }
        };
        scheduler.push(SchedulerRequest::new("light"), now).unwrap();
        run_all(&mut scheduler);
        let before = (scheduler.weights.len(), scheduler.gates.len());
        for slots in 1..=1_000 {
            let heavy = SchedulerRequest {
                slots,
                ..SchedulerRequest::new("heavy")
            };
            scheduler.push(heavy, now).unwrap();
        }
        assert_eq!(scheduler.weights.len(), 1_000);
        run_all(&mut scheduler);
        assert_eq!(scheduler.load().waiting, 0);
        assert_eq!((scheduler.weights.len(), scheduler.gates.len()), before);
    }
}
