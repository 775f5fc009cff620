//! Keeps gates, lines and timers in order: which groups may pass each gate, and which is first.

use super::super::gates::{GateCondition, Level, LockOrBucket};
use super::super::heap::NOWHERE;
use super::super::priority::Rank;
use super::Scheduler;

/// The target of a timer: a place or a limit, packed into one number.
#[derive(Clone, Copy)]
pub(super) enum Alarm {
    /// A host or a rate key, by its number.
    Place(u32),
    /// A named limit, by its number.
    Limit(u32),
}

impl Alarm {
    /// Packs the alarm into one number, under which the heap of timers keeps it.
    fn pack(self) -> u32 {
        match self {
            Self::Place(id) => id << 1,
            Self::Limit(id) => (id << 1) | 1,
        }
    }

    /// Unpacks an alarm from its number.
    fn unpack(packed: u32) -> Self {
        match packed & 1 {
            0 => Self::Place(packed >> 1),
            _ => Self::Limit(packed >> 1),
        }
    }
}

impl Scheduler {
    /// Moves a lane to its position in its group, after its head or its place has changed.
    pub(super) fn reposition_lane(&mut self, lane: u32, may_go: bool) {
        self.note_place(lane, may_go);
        let (group, position) = (self.lanes[lane].group, self.lanes[lane].position);
        let rank = match self.lanes[lane].head() {
            Some((rank, _)) if may_go => Some(rank),
            _ => None,
        };
        let lanes = &mut self.lanes;
        let heap = &mut self.groups[group].lanes;
        match (rank, position) {
            (None, NOWHERE) => return,
            (None, at) => {
                heap.remove(at, |id, at| lanes[id].position = at);
                lanes[lane].position = NOWHERE;
            }
            (Some(rank), NOWHERE) => heap.push(rank, lane, |id, at| lanes[id].position = at),
            (Some(rank), at) if heap.rank_at(at) == rank => return,
            (Some(rank), at) => heap.rerank(at, rank, |id, at| lanes[id].position = at),
        }
        self.reposition_group(group);
    }

    /// Moves a group to its position at its gate and in the lines of its limits, after its first job has changed.
    pub(super) fn reposition_group(&mut self, id: u32) {
        let group = &self.groups[id];
        let rank = group.lanes.top().map(|(rank, _)| rank);
        let (gate, position) = (group.gate, group.position);
        for number in 0..self.groups[id].limits.len() {
            self.reposition_in_line(id, number, rank);
        }
        let groups = &mut self.groups;
        let waiting = &mut self.gates[gate].groups;
        match (rank, position) {
            (None, NOWHERE) => return,
            (None, at) => {
                waiting.remove(at, |id, at| groups[id].position = at);
                groups[id].position = NOWHERE;
            }
            (Some(rank), NOWHERE) => waiting.push(rank, id, |id, at| groups[id].position = at),
            (Some(rank), at) if waiting.rank_at(at) == rank => return,
            (Some(rank), at) => waiting.rerank(at, rank, |id, at| groups[id].position = at),
        }
        self.relist(gate);
    }

    /// Moves a group to its position in the line of one of its limits.
    fn reposition_in_line(&mut self, id: u32, number: usize, rank: Option<Rank>) {
        let limit = self.groups[id].limits[number];
        let position = self.groups[id].line_positions[number];
        let groups = &mut self.groups;
        let mut keep = |id: u32, at: u32| {
            let group = &mut groups[id];
            #[expect(
                clippy::expect_used,
                reason = "only groups that name a limit are put in its line"
            )]
            let number = (group.limits.binary_search(&limit))
                .expect("a group in the line of a limit names the limit");
            group.line_positions[number] = at;
        };
        let line = &mut self.limits[limit as usize].line;
        let first = line.top();
        match (rank, position) {
            (None, NOWHERE) => return,
            (None, at) => {
                line.remove(at, &mut keep);
                keep(id, NOWHERE);
            }
            (Some(rank), NOWHERE) => line.push(rank, id, &mut keep),
            (Some(rank), at) if line.rank_at(at) == rank => return,
            (Some(rank), at) => line.rerank(at, rank, &mut keep),
        }
        if line.top() != first {
            // Units may have been kept for the group that was first.
            self.reopen_limit(limit);
        }
    }

    /// Marks a gate to be checked again, because something about it has changed.
    pub(super) fn reopen(&mut self, gate: u32) {
        self.gates[gate].shut = false;
        self.relist(gate);
    }

    /// Marks all gates of a limit to be checked again. A resource has one for each number of units that jobs take.
    pub(super) fn reopen_limit(&mut self, limit: u32) {
        self.reopen(self.limits[limit as usize].gate);
        let count = |level: &Level| level.resource().map_or(0, |level| level.gates.len());
        for at in 0..count(&self.limits[limit as usize].level) {
            if let Some(level) = self.limits[limit as usize].level.resource() {
                self.reopen(level.gates[at].gate);
            }
        }
    }

    /// Closes a gate, because no group there can pass; time may change that.
    pub(super) fn shut(&mut self, gate: u32) {
        self.gates[gate].shut = true;
        self.relist(gate);
        if let GateCondition::Limit(limit) = self.gates[gate].barred {
            let level = &self.limits[limit as usize].level;
            let missing = if level.holds(1, self.now) { 2 } else { 1 };
            let when = level.ready_at(missing);
            self.set_wake(Alarm::Limit(limit), when);
        }
    }

    /// Adds a gate to those that may let a group pass, or removes it from them.
    pub(super) fn relist(&mut self, id: u32) {
        let gate = &mut self.gates[id];
        if gate.shut && gate.groups.top().is_none() {
            // The next group that comes is checked in any case, and until then no timer is needed.
            gate.shut = false;
            if let GateCondition::Limit(limit) = gate.barred {
                self.set_wake(Alarm::Limit(limit), None);
            }
        }
        let gate = &self.gates[id];
        let rank = match gate.groups.top() {
            Some((rank, _)) if !gate.shut => Some(rank),
            _ => None,
        };
        let (position, gates) = (gate.position, &mut self.gates);
        match (rank, position) {
            (None, NOWHERE) => {}
            (None, at) => {
                self.open.remove(at, |id, at| gates[id].position = at);
                gates[id].position = NOWHERE;
            }
            (Some(rank), NOWHERE) => {
                self.open.push(rank, id, |id, at| gates[id].position = at);
            }
            (Some(rank), at) if self.open.rank_at(at) == rank => {}
            (Some(rank), at) => {
                self.open.rerank(at, rank, |id, at| gates[id].position = at);
            }
        }
    }

    /// Decides which lanes of a place may pass it, after its lock, its tokens or its first jobs have changed.
    ///
    /// This is rule 1 of the scheduler's documentation. It looks at every lane of the place;
    /// there is one for each combination of kind, weight and limits used there.
    pub(super) fn refresh_place(&mut self, id: u32) {
        let place = &self.places[id];
        let (one, two) = (place.holds(1, self.now), place.holds(2, self.now));
        let mut first: Option<(Rank, u32)> = None;
        let mut waiting = 0;
        for lane in self.lanes_of(id) {
            let Some((rank, _)) = self.lanes[lane].head() else {
                continue;
            };
            waiting += 1;
            if first.is_none_or(|(best, _)| rank < best) {
                first = Some((rank, lane));
            }
        }
        let kept = first.filter(|(rank, _)| !two && self.is_due(*rank));
        let mut lane = self.places[id].lanes;
        while lane != NOWHERE {
            let may_go = one && kept.is_none_or(|(_, first)| first == lane);
            self.reposition_lane(lane, may_go);
            lane = self.lanes[lane].sibling;
        }

        let place = &self.places[id];
        let wake = match (one, kept) {
            _ if waiting == 0 => None,
            (false, _) => place.ready_at(1),
            (true, Some(_)) if waiting > 1 => place.ready_at(2),
            (true, _) => None,
        };
        let falls_due = |(rank, _): &(Rank, u32)| waiting > 1 && !self.is_due(*rank);
        let due = first.filter(falls_due).map(|(rank, _)| rank.due);
        let chore = match place.hold {
            // No job needs it any more. It is removed when the bucket is full, which is the state of a new one.
            LockOrBucket::Key { bucket, .. } if place.lanes == NOWHERE => Some(bucket.when_full()),
            _ => due,
        };
        self.set_wake(Alarm::Place(id), wake);
        self.set_timer(id, chore);
    }

    /// Iterates over the lanes of a place.
    pub(super) fn lanes_of(&self, place: u32) -> impl Iterator<Item = u32> {
        let present = |lane: u32| (lane != NOWHERE).then_some(lane);
        std::iter::successors(present(self.places[place].lanes), move |&lane| {
            present(self.lanes[lane].sibling)
        })
    }

    /// Sets or removes the timer that can let a job start.
    pub(super) fn set_wake(&mut self, alarm: Alarm, when: Option<u64>) {
        let position = match alarm {
            Alarm::Place(id) => self.places[id].wake,
            Alarm::Limit(id) => self.limits[id as usize].wake,
        };
        let (places, limits) = (&mut self.places, &mut self.limits);
        let mut keep = |packed: u32, at: u32| match Alarm::unpack(packed) {
            Alarm::Place(id) => places[id].wake = at,
            Alarm::Limit(id) => limits[id as usize].wake = at,
        };
        let packed = alarm.pack();
        let rank = when.map(|due| Rank { due, seq: 0 });
        match (rank, position) {
            (None, NOWHERE) => {}
            (None, at) => {
                self.wakes.remove(at, &mut keep);
                keep(packed, NOWHERE);
            }
            (Some(rank), NOWHERE) => self.wakes.push(rank, packed, &mut keep),
            (Some(rank), at) => self.wakes.rerank(at, rank, &mut keep),
        }
    }

    /// Sets or removes the timer of a place that lets no job start.
    pub(super) fn set_timer(&mut self, id: u32, when: Option<u64>) {
        let (position, places) = (self.places[id].chore, &mut self.places);
        let rank = when.map(|due| Rank { due, seq: 0 });
        match (rank, position) {
            (None, NOWHERE) => {}
            (None, at) => {
                self.chores.remove(at, |id, at| places[id].chore = at);
                places[id].chore = NOWHERE;
            }
            (Some(rank), NOWHERE) => {
                self.chores.push(rank, id, |id, at| places[id].chore = at);
            }
            (Some(rank), at) => {
                self.chores.rerank(at, rank, |id, at| places[id].chore = at);
            }
        }
    }

    /// Handles the timers that have fallen due since the last call.
    pub(super) fn catch_up(&mut self) {
        while let Some((rank, id)) = self.delayed.top()
            && self.is_due(rank)
        {
            let jobs = &mut self.jobs;
            self.delayed.remove(0, |id, at| jobs[id].set_position(at));
            self.enter_unless_parked(id);
        }
        while let Some((rank, packed)) = self.wakes.top()
            && self.is_due(rank)
        {
            let alarm = Alarm::unpack(packed);
            self.set_wake(alarm, None);
            match alarm {
                Alarm::Place(id) => self.refresh_place(id),
                Alarm::Limit(id) => self.reopen(self.limits[id as usize].gate),
            }
        }
        while let Some((rank, id)) = self.chores.top()
            && self.is_due(rank)
        {
            self.set_timer(id, None);
            if self.places[id].lanes == NOWHERE {
                self.forget_place(id);
            } else {
                self.refresh_place(id);
            }
        }
    }
}
