//! Sends jobs ahead: to a busy worker, before their turn.

use std::time::Instant;

use super::super::claims::Kind;
use super::super::gates::GateCondition;
use super::super::priority::Rank;
use super::super::queue::QueuedState;
use super::{AfterAttempt, Scheduler};
use crate::Error;
use crate::ids::Ticket;

impl Scheduler {
    /// Takes the next job of a kind that may be sent ahead. It begins when another job of its worker ends.
    ///
    /// Only a job that claims nothing but one slot is sent ahead, and only if it is the first in order of all jobs that
    /// could run but for slots and workers of this kind. So no job is passed that a pop would not have passed. Once a
    /// due job lacks only slots or quiet, no job is sent ahead.
    ///
    /// A job that was sent ahead holds no slot and no worker, but counts as running for a job that must be alone. Rule
    /// 3 keeps further jobs from being sent ahead, and those already sent begin and end, or come back, so the job that
    /// must be alone waits for no more of them than there are. A job that was sent ahead begins by
    /// [`begin_after`](Self::begin_after) or comes back by [`put_back`](Self::put_back). Call this after
    /// [`pop`](Self::pop) starts no more.
    ///
    /// ```
    /// use ratchet_runtime::{Decision, AfterAttempt, Kind, SchedulerRequest, Scheduler, SchedulerSettings};
    ///
    /// # #[expect(clippy::disallowed_methods, reason = "an example outside tokio")]
    /// let now = std::time::Instant::now();
    /// let mut scheduler = Scheduler::new(SchedulerSettings::default(), now)?;
    /// let first = scheduler.push(SchedulerRequest::new("resize"), now)?;
    /// let second = scheduler.push(SchedulerRequest::new("resize"), now)?;
    /// assert_eq!(scheduler.pop(now), Decision::Start(first));
    ///
    /// // The one slot is filled; the second job lies in the worker's pipe already.
    /// assert_eq!(scheduler.pop(now), Decision::Idle);
    /// assert_eq!(scheduler.pop_ahead(Kind(0), now), Some(second));
    /// assert!(!scheduler.is_running(second));
    ///
    /// // It begins in the step in which the first ends.
    /// scheduler.begin_after(first, AfterAttempt::Over, second)?;
    /// assert!(scheduler.is_running(second));
    /// # Ok::<(), ratchet_runtime::Error>(())
    /// ```
    pub fn pop_ahead(&mut self, kind: Kind, now: Instant) -> Option<Ticket> {
        self.advance_time(now);
        self.catch_up();
        let worker = self.kinds.get(usize::from(kind.0))?;
        if self.runs_alone {
            return None;
        }
        let (gate, base) = (worker.gate, worker.base);
        let (rank, lane) = self.groups[base].lanes.top()?;
        if lane != self.groups[base].plain {
            return None; // A job that needs more than a slot is first.
        }
        self.show_due();
        self.show_before(rank, gate);
        while let Some((first, open)) = self.open.top()
            && first < rank
        {
            let (_, group) = self.first_group(open);
            // A job that must be alone is passed by all others until it is due, as in a pop.
            let noisy = self.groups[group].alone && self.running + self.ahead > 0;
            let barred = if noisy && !self.is_due(first) {
                self.quiet
            } else {
                self.obstacle(group)?
            };
            match self.gates[barred].barred {
                GateCondition::Slots => return None,
                GateCondition::Quiet if self.is_due(first) => return None,
                _ if barred == gate => return None,
                _ if barred == open => self.shut(open),
                _ => self.move_group(group, barred),
            }
        }
        let (_, job) = self.lanes[lane].head()?;
        self.waiting -= 1;
        self.ahead += 1;
        self.lanes[lane].remove(job, &mut self.jobs);
        self.jobs[job].queued_state = QueuedState::Ahead;
        self.refresh_lane(lane);
        Some(self.ticket(job))
    }

    /// Ends a running job, and begins one that was sent ahead in its place, in one step, so that no other job comes in
    /// between.
    ///
    /// An error changes nothing. The count of free workers is not changed: the worker of the first job is now that of
    /// the second.
    pub fn begin_after(
        &mut self,
        ended: Ticket,
        end: AfterAttempt,
        ahead: Ticket,
    ) -> Result<(), Error> {
        let id = self.find_ahead(ahead)?;
        let before = self.find_running(ended)?;
        // The slot number is passed on, and is never free in between.
        let slot = self.jobs[before].slot.take();
        self.end(ended, end)?;
        self.jobs[id].slot = slot;
        let lane = self.jobs[id].lane;
        self.jobs[id].queued_state = QueuedState::Running;
        self.ahead -= 1;
        self.running += 1;
        self.used += self.groups[self.lanes[lane].group].slots;
        Ok(())
    }

    /// Makes a job that was sent ahead wait again, in its old place.
    pub fn put_back(&mut self, ticket: Ticket) -> Result<(), Error> {
        let id = self.find_ahead(ticket)?;
        self.ahead -= 1;
        self.waiting += 1;
        self.enter(id);
        self.reopen_quiet();
        Ok(())
    }

    /// Returns the index of a ticket whose job was sent ahead.
    fn find_ahead(&self, ticket: Ticket) -> Result<u32, Error> {
        let id = self.find(ticket)?;
        if self.jobs[id].queued_state != QueuedState::Ahead {
            return Err(Error::NotAhead { ticket });
        }
        Ok(id)
    }

    /// Reopens the gates for slots, and for this kind of worker, at which a job before this rank waits: that job may
    /// lack something else first by now.
    fn show_before(&mut self, rank: Rank, kind_gate: u32) {
        for at in 0..=self.weights.len() {
            let gate = self.weights.get(at).map_or(kind_gate, |(_, gate)| *gate);
            let waiting = &self.gates[gate];
            if waiting.shut && waiting.groups.top().is_some_and(|(first, _)| first < rank) {
                self.reopen(gate);
            }
        }
    }

    /// Reopens the gate of jobs that must be alone, once no job runs or was sent ahead.
    pub(super) fn reopen_quiet(&mut self) {
        if self.running == 0 && self.ahead == 0 {
            self.reopen(self.quiet);
        }
    }
}
