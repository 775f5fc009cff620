//! Accounts for how long each job waits for what.
//!
//! Thousands of jobs wait at once, and the scheduler looks only at the first of each lane, so waiting is not counted
//! per job. Clocks are kept for what jobs have in common:
//!
//! - One clock runs while the run is paused, and no other clock runs then.
//! - A group has a clock for each thing that its jobs may lack: a connected host, each of its limits and resources, each
//!   resource that the caller counts, admission, a worker, a slot. One of them runs at any moment: that of the first thing
//!   that the group lacks.
//! - A lane with a place (a host or a rate key) has one more clock, which runs while the place blocks the lane. It runs
//!   instead of those clocks of the group that come after it in the order of blockers.
//!
//! A job records what the clocks show when it enters its lane. When it starts, it has waited for what they show in
//! addition. At each moment exactly one clock runs for a job, so its waits add up to the time that it waited.

use std::time::{Duration, Instant};

use smol_str::SmolStr;

use super::super::clocks::{ADMISSION, CONNECT, Clocks, SLOT, WORKER};
use super::super::gates::{GateCondition, LockOrBucket};
use super::super::heap::NOWHERE;
use super::super::waits::{Blocker, Waits};
use super::{KindState, Scheduler, Workers};
use crate::Error;
use crate::ids::Ticket;

/// The accounting, except for the clocks of groups and lanes.
#[derive(Debug, Default)]
pub(super) struct Accounting {
    /// Whether the run is paused.
    is_paused: bool,
    /// Whether new jobs are held back.
    is_held: bool,
    /// How long the run has been paused in all.
    paused: u64,
    /// The names of the resources that the caller counts, by number.
    counted_elsewhere: Vec<SmolStr>,
    /// The record of each waiting job, by the number of the job.
    notes: Vec<WaitRecord>,
}

/// The record of how a job has waited.
#[derive(Debug, Default)]
pub(super) struct WaitRecord {
    /// How the job waits now, and what the clocks showed when it began to.
    mark: WaitMark,
    /// What it waited for before the mark. Few jobs wait in more than one way between two attempts.
    before: Option<Box<Waits>>,
}

/// How a job waits, and since when.
#[derive(Debug, Clone, Default)]
enum WaitMark {
    /// The job does not wait, or waiting times are not recorded.
    #[default]
    None,
    /// The job waits for its not-before time.
    Delayed {
        /// The moment from which the delay counts.
        since: u64,
        /// How long the run had been paused by then.
        paused: u64,
        /// The moment until which it is the delay of a retry.
        retry_until: u64,
        /// Whether a breaker has put it off.
        by_breaker: bool,
    },
    /// The job is parked, and has no not-before time any more.
    Parked {
        /// The moment from which it is parked without such a time.
        since: u64,
        /// How long the run had been paused by then.
        paused: u64,
    },
    /// The job waits in its lane.
    Listed {
        /// How long the run had been paused by then.
        paused: u64,
        /// What the clock of the lane's place showed.
        place: u64,
        /// What the clocks of the group showed.
        clocks: Clocks,
    },
}

/// The first thing that a group lacks.
enum FirstBlocker {
    /// A unit of the limit with this index among the limits of the group. The resources that the caller counts come after
    /// these limits.
    Limit(usize),
    /// The thing with this index among the other clocks.
    Other(usize),
}

impl Scheduler {
    /// Turns on the recording of waiting times. Without it they cost nothing.
    ///
    /// `counted_elsewhere` has the names of resources that the caller counts, and that are missing when no worker of a
    /// kind is free ([`set_lack`](Self::set_lack)).
    pub(crate) fn keep_waits(&mut self, counted_elsewhere: Vec<SmolStr>) {
        self.accounting = Some(Box::new(Accounting {
            counted_elsewhere,
            ..Accounting::default()
        }));
    }

    /// Advances the time. A caller that records waiting times calls this before any change at this moment, so that the
    /// time is charged to what was lacking until now.
    pub(crate) fn pass_time(&mut self, now: Instant) {
        self.advance_time(now);
        self.catch_up();
    }

    /// Records whether the run is paused.
    pub(crate) fn set_paused(&mut self, is_paused: bool) {
        if let Some(accounting) = &mut self.accounting {
            accounting.is_paused = is_paused;
        }
    }

    /// Records whether new jobs are held back.
    pub(crate) fn set_held(&mut self, is_held: bool) {
        if let Some(accounting) = &mut self.accounting {
            accounting.is_held = is_held;
        }
    }

    /// Returns how long the run has been paused so far.
    pub(crate) fn time_paused(&self) -> Duration {
        let paused = self.accounting.as_ref().map_or(0, |known| known.paused);
        Duration::from_nanos(paused)
    }

    /// Adds what a job has waited for since it was pushed, since its last attempt ended, or since the last call. To be
    /// called when the job has begun or leaves.
    pub(crate) fn take_waits(&mut self, ticket: Ticket, waits: &mut Waits) -> Result<(), Error> {
        let id = self.find(ticket)?;
        let Some(note) = self.take_note(id) else {
            return Ok(());
        };
        self.add_waits(id, &note.mark, waits);
        if let Some(before) = note.before {
            waits.add_all(&before);
        }
        Ok(())
    }
}

impl Scheduler {
    /// Charges time to what each group lacks.
    pub(super) fn charge(&mut self, time: u64) {
        let Some(accounting) = &mut self.accounting else {
            return;
        };
        if time == 0 {
            return;
        }
        if accounting.is_paused {
            accounting.paused += time;
            return;
        }
        let is_held = accounting.is_held;
        let more_clocks = accounting.counted_elsewhere.len();
        // Groups are few: they differ by kinds, weights and limits, which are a user's settings.
        for id in 0..self.groups.capacity() {
            if !self.has_jobs(id) {
                continue;
            }
            let lacking = self.first_blocker(id, is_held);
            let group = &mut self.groups[id];
            match lacking {
                FirstBlocker::Other(at) => group.clocks.others[at] += time,
                FirstBlocker::Limit(at) => {
                    if group.clocks.limits.is_empty() {
                        group.clocks.limits = vec![0; group.limits.len() + more_clocks].into();
                    }
                    group.clocks.limits[at] += time;
                }
            }
        }
    }

    /// Whether a job of a group waits or runs.
    fn has_jobs(&self, group: u32) -> bool {
        let group = &self.groups[group];
        match group.lane_count {
            0 => false,
            // The lane of fully parallel jobs is kept when it has no jobs.
            1 if group.plain != NOWHERE => self.lanes[group.plain].jobs > 0,
            _ => true,
        }
    }

    /// Returns what the jobs of a group lack first, once their place lets them pass.
    fn first_blocker(&self, id: u32, is_held: bool) -> FirstBlocker {
        let &KindState { workers, lacks, .. } = &self.kinds[usize::from(self.groups[id].kind)];
        if workers == Workers::Away {
            // A connection comes before limits, and `obstacle` looks at limits first.
            return FirstBlocker::Other(CONNECT);
        }
        let barred = self.obstacle(id).map(|gate| self.gates[gate].barred);
        match barred {
            Some(GateCondition::Limit(limit)) => {
                let at = self.groups[id].limits.binary_search(&limit);
                #[expect(
                    clippy::expect_used,
                    reason = "an obstacle of a group is one of its own limits, and they are in order"
                )]
                FirstBlocker::Limit(at.expect("a group waits for a limit that it names"))
            }
            _ if let Some(resource) = lacks => {
                FirstBlocker::Limit(self.groups[id].limits.len() + usize::from(resource))
            }
            _ if is_held || workers == Workers::Held => FirstBlocker::Other(ADMISSION),
            Some(GateCondition::Kind) if workers != Workers::Full => FirstBlocker::Other(WORKER),
            // Without a gate, nothing is lacking: jobs before it keep what it needs, or nothing is started for the
            // moment.
            Some(GateCondition::Kind | GateCondition::Slots | GateCondition::Quiet) | None => {
                FirstBlocker::Other(SLOT)
            }
        }
    }

    /// Records that a job enters its lane.
    pub(super) fn note_listed(&mut self, id: u32) {
        if self.accounting.is_none() {
            return;
        }
        self.close_mark(id);
        let (place, clocks) = self.lane_clocks(self.jobs[id].lane);
        self.set_mark(id, |paused| WaitMark::Listed {
            paused,
            place,
            clocks,
        });
    }

    /// Records that a job waits until this moment at least: after an attempt, or because a breaker puts it off.
    pub(super) fn note_delayed(&mut self, id: u32, due: u64) {
        let now = self.now;
        let Some(accounting) = &mut self.accounting else {
            return;
        };
        let mark = accounting.notes.get_mut(id as usize);
        match mark.map(|note| &mut note.mark) {
            None | Some(WaitMark::None) => self.set_mark(id, |paused| WaitMark::Delayed {
                since: now,
                paused,
                retry_until: due,
                by_breaker: false,
            }),
            Some(WaitMark::Delayed { by_breaker, .. }) => *by_breaker = true,
            Some(WaitMark::Listed { .. } | WaitMark::Parked { .. }) => {
                self.close_mark(id);
                self.set_mark(id, |paused| WaitMark::Delayed {
                    since: now,
                    paused,
                    retry_until: now,
                    by_breaker: true,
                });
            }
        }
    }

    /// Records that a job is parked, and has no not-before time any more.
    pub(super) fn note_parked(&mut self, id: u32) {
        self.close_mark(id);
        let since = self.now;
        self.set_mark(id, |paused| WaitMark::Parked { since, paused });
    }

    /// Records whether a place lets jobs of a lane pass.
    pub(super) fn note_place(&mut self, lane: u32, may_go: bool) {
        if self.accounting.is_none() || self.lanes[lane].place == NOWHERE {
            return;
        }
        let is_stopped = {
            let clock = self.lanes[lane].clock.get_or_insert_default();
            clock.stopped_at.is_some()
        };
        match (is_stopped, may_go) {
            (false, true) | (true, false) => {}
            (false, false) => {
                let clocks = self.groups[self.lanes[lane].group].clocks.clone();
                if let Some(clock) = &mut self.lanes[lane].clock {
                    clock.stopped_at = Some(clocks);
                }
            }
            (true, true) => {
                let stop = self.present_stop(lane);
                if let Some(clock) = &mut self.lanes[lane].clock {
                    clock.shown += stop.sum();
                    clock.instead_of.add(&stop);
                    clock.stopped_at = None;
                }
            }
        }
    }

    /// Returns how much the group's clocks have advanced since the place has blocked a lane, for those clocks instead
    /// of which the clock of the lane runs.
    fn present_stop(&self, lane: u32) -> Clocks {
        let lane = &self.lanes[lane];
        let stopped_at = lane
            .clock
            .as_ref()
            .and_then(|clock| clock.stopped_at.as_ref());
        let Some(stopped_at) = stopped_at else {
            return Clocks::default();
        };
        let mut stop = self.groups[lane.group].clocks.since(stopped_at);
        // A connection comes before all places.
        stop.others[CONNECT] = 0;
        match self.places[lane.place].hold {
            LockOrBucket::Host { .. } => stop,
            // Limits come before the rate of a hint, and resources after it.
            LockOrBucket::Key { .. } => {
                for (time, limit) in stop.limits.iter_mut().zip(&self.groups[lane.group].limits) {
                    if self.limits[*limit as usize].level.resource().is_none() {
                        *time = 0;
                    }
                }
                stop
            }
        }
    }

    /// Returns what the clock of a lane's place shows, and what the group's clocks show for this lane.
    fn lane_clocks(&self, id: u32) -> (u64, Clocks) {
        let lane = &self.lanes[id];
        let clocks = &self.groups[lane.group].clocks;
        let Some(clock) = &lane.clock else {
            return (0, clocks.clone());
        };
        let stop = self.present_stop(id);
        let shown = clock.shown + stop.sum();
        (shown, clocks.since(&clock.instead_of).since(&stop))
    }

    /// Records how a job waits from now on, if waiting times are recorded.
    fn set_mark(&mut self, id: u32, mark: impl FnOnce(u64) -> WaitMark) {
        let Some(accounting) = &mut self.accounting else {
            return;
        };
        let at = id as usize;
        if accounting.notes.len() <= at {
            accounting.notes.resize_with(at + 1, WaitRecord::default);
        }
        accounting.notes[at].mark = mark(accounting.paused);
    }

    /// Takes the record of a job, and leaves an empty one.
    pub(super) fn take_note(&mut self, id: u32) -> Option<WaitRecord> {
        let notes = &mut self.accounting.as_mut()?.notes;
        notes.get_mut(id as usize).map(std::mem::take)
    }

    /// Charges what a job has waited for, because it is about to wait in another way.
    pub(super) fn close_mark(&mut self, id: u32) {
        let notes = self.accounting.as_ref().map(|known| &known.notes);
        let note = notes.and_then(|notes| notes.get(id as usize));
        // A job that is pushed has no mark yet.
        if note.is_none_or(|note| matches!(note.mark, WaitMark::None)) {
            return;
        }
        let Some(mut note) = self.take_note(id) else {
            return;
        };
        let mut waits = Waits::default();
        self.add_waits(id, &note.mark, &mut waits);
        if !waits.is_empty() {
            note.before.get_or_insert_default().add_all(&waits);
        }
        note.mark = WaitMark::None;
        if let Some(accounting) = &mut self.accounting {
            accounting.notes[id as usize] = note;
        }
    }

    /// Adds what a job has waited for since a mark.
    fn add_waits(&self, id: u32, mark: &WaitMark, waits: &mut Waits) {
        let paused_now = self.accounting.as_ref().map_or(0, |known| known.paused);
        // Most jobs wait for one thing or two.
        let mut add = |blocker, time| {
            if time > 0 {
                waits.add(blocker, Duration::from_nanos(time));
            }
        };
        match mark {
            WaitMark::None => {}
            WaitMark::Delayed {
                since,
                paused,
                retry_until,
                by_breaker,
            } => {
                let retry = (*retry_until).min(self.now).saturating_sub(*since);
                let rest = self.now - since - retry;
                let paused = rest.min(paused_now - paused);
                let delay = if *by_breaker {
                    Blocker::Breaker
                } else {
                    Blocker::Retry
                };
                add(Blocker::Retry, retry);
                add(Blocker::Paused, paused);
                add(delay, rest - paused);
            }
            WaitMark::Parked { since, paused } => {
                let paused = paused_now - paused;
                add(Blocker::Paused, paused);
                add(Blocker::Cache, self.now - since - paused);
            }
            WaitMark::Listed {
                paused,
                place,
                clocks,
            } => {
                let lane = &self.lanes[self.jobs[id].lane];
                let (shown, more) = self.lane_clocks(self.jobs[id].lane);
                let more = more.since(clocks);
                add(Blocker::Paused, paused_now - paused);
                if lane.place != NOWHERE {
                    let blocker = match self.places[lane.place].hold {
                        LockOrBucket::Host { .. } => Blocker::Host,
                        LockOrBucket::Key { .. } => Blocker::Rate,
                    };
                    add(blocker, shown - place);
                }
                let limits = &self.groups[lane.group].limits;
                for (limit, time) in limits.iter().zip(&more.limits) {
                    let named = &self.limits[*limit as usize];
                    let blocker = match (*limit, named.level.resource()) {
                        (0, _) => Blocker::Global,
                        (_, None) => Blocker::of_limit(&named.name),
                        (_, Some(level)) => Blocker::Resource(level.pool.name().clone()),
                    };
                    add(blocker, *time);
                }
                let resources = (self.accounting.iter()).flat_map(|known| &known.counted_elsewhere);
                for (name, time) in resources.zip(more.limits.iter().skip(limits.len())) {
                    add(Blocker::Resource(name.clone()), *time);
                }
                add(Blocker::Connect, more.others[CONNECT]);
                add(Blocker::Admission, more.others[ADMISSION]);
                add(Blocker::Worker, more.others[WORKER]);
                add(Blocker::Slot, more.others[SLOT]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
