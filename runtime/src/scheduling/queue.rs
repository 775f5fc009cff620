//! The jobs that wait, and the lanes in which they wait.
//!
//! Jobs with exactly the same claims share one lane: whether the first of them may run decides for all of them, so the
//! scheduler looks only at heads of lanes. A lane is four lists, one for each priority, each in order of rank because
//! time only goes forward. A job that comes back out of order (a retry) goes to the lane's heap instead. Taking the
//! first job, adding at the end and removing from the middle cost the same with ten jobs as with a million.

use super::clocks::PlaceClock;
use super::heap::{Heap, NOWHERE};
use super::priority::{Priority, Rank};
use super::slab::Slab;
use crate::ids::SlotNumber;

/// The state of a job in the scheduler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum QueuedState {
    /// The record belongs to no job.
    #[default]
    Free,
    /// The job waits for its not-before time.
    Delayed,
    /// The job waits in one of its lane's lists.
    Listed,
    /// The job waits in its lane's heap.
    Late,
    /// The job is parked, and its not-before time has come.
    Parked,
    /// The job was sent to its worker before its turn, and holds nothing.
    Ahead,
    /// The job runs and holds its claims.
    Running,
}

/// A job of the queue, as its lane and the heaps link it.
#[derive(Debug)]
pub(super) struct QueuedJob {
    /// The position in the order of all jobs.
    pub(super) rank: Rank,
    /// The state of the job.
    pub(super) queued_state: QueuedState,
    /// The priority, which is the list of its lane that holds the job.
    pub(super) priority: Priority,
    /// Whether the job is parked. A parked job with a not-before time is in the state `Delayed` until that time.
    pub(super) is_parked: bool,
    /// The lane of jobs with the same claims.
    pub(super) lane: u32,
    /// The job before this one in its list, or the position of this job in a heap.
    before: u32,
    /// The job behind this one in its list.
    after: u32,
    /// The first slot that it fills, while it runs.
    pub(super) slot: Option<SlotNumber>,
}

impl Default for QueuedJob {
    fn default() -> Self {
        Self::new(Rank::default(), Priority::Normal, NOWHERE)
    }
}

impl QueuedJob {
    /// Makes the record of a job that is not in a lane yet.
    pub(super) fn new(rank: Rank, priority: Priority, lane: u32) -> Self {
        Self {
            rank,
            queued_state: QueuedState::Free,
            priority,
            is_parked: false,
            lane,
            before: NOWHERE,
            after: NOWHERE,
            slot: None,
        }
    }

    /// Returns the job's position in the heap that holds it.
    pub(super) fn position(&self) -> u32 {
        self.before
    }

    /// Records the job's position in the heap that holds it.
    pub(super) fn set_position(&mut self, position: u32) {
        self.before = position;
    }
}

/// The ends of a list of jobs that are linked by `before` and `after`.
#[derive(Clone, Copy, Debug)]
struct List {
    /// The job at the head of the list.
    first: u32,
    /// The job at the end of the list.
    last: u32,
}

/// A list without jobs.
const EMPTY: List = List {
    first: NOWHERE,
    last: NOWHERE,
};

/// Jobs with the same claims, in order.
#[derive(Debug)]
pub(super) struct Lane {
    /// The group of lanes that differ only in their place.
    pub(super) group: u32,
    /// The host or rate key that this lane's jobs claim in addition to the claims of the group.
    pub(super) place: u32,
    /// The next lane of the same place.
    pub(super) sibling: u32,
    /// Its position in the group's heap; `NOWHERE` while it is empty or its place is taken.
    pub(super) position: u32,
    /// How many jobs of this lane wait or run. The lane lives as long as there are any.
    pub(super) jobs: u32,
    /// How many of these jobs wait.
    pub(super) waiting: u32,
    /// How long its place has blocked the lane; kept only if waiting times are recorded.
    pub(super) clock: Option<Box<PlaceClock>>,
    /// The first job of the lists and of the heap, with its rank.
    head: Option<(Rank, u32)>,
    /// One list for each priority, each in order of rank.
    lists: [List; 4],
    /// Jobs that came back out of order.
    late: Heap,
}

impl Default for Lane {
    fn default() -> Self {
        Self::new(NOWHERE, NOWHERE)
    }
}

impl Lane {
    /// Makes an empty lane of a group at a place. The caller links it to both.
    pub(super) fn new(group: u32, place: u32) -> Self {
        Self {
            group,
            place,
            sibling: NOWHERE,
            position: NOWHERE,
            jobs: 0,
            waiting: 0,
            clock: None,
            head: None,
            lists: [EMPTY; 4],
            late: Heap::default(),
        }
    }

    /// Returns the first job of the lane.
    pub(super) fn head(&self) -> Option<(Rank, u32)> {
        self.head
    }

    /// Adds a job that waits: at the end of its list, or in the heap if it comes back out of order.
    pub(super) fn insert(&mut self, id: u32, jobs: &mut Slab<QueuedJob>) {
        self.waiting += 1;
        let (rank, level) = (jobs[id].rank, jobs[id].priority.level());
        let list = &mut self.lists[level];
        if list.last == NOWHERE || jobs[list.last].rank < rank {
            let job = &mut jobs[id];
            job.queued_state = QueuedState::Listed;
            job.before = list.last;
            job.after = NOWHERE;
            match list.last {
                NOWHERE => list.first = id,
                before => jobs[before].after = id,
            }
            list.last = id;
        } else {
            jobs[id].queued_state = QueuedState::Late;
            self.late.push(rank, id, |id, at| jobs[id].set_position(at));
        }
        if self.head.is_none_or(|(head, _)| rank < head) {
            self.head = Some((rank, id));
        }
    }

    /// Removes a job that no longer waits, from its list or from the heap.
    pub(super) fn remove(&mut self, id: u32, jobs: &mut Slab<QueuedJob>) {
        self.waiting -= 1;
        let job = &mut jobs[id];
        if job.queued_state == QueuedState::Late {
            let position = job.position();
            self.late
                .remove(position, |id, at| jobs[id].set_position(at));
        } else {
            let (before, after, level) = (job.before, job.after, job.priority.level());
            let list = &mut self.lists[level];
            match before {
                NOWHERE => list.first = after,
                before => jobs[before].after = after,
            }
            match after {
                NOWHERE => list.last = before,
                after => jobs[after].before = before,
            }
        }
        if self.head.is_some_and(|(_, head)| head == id) {
            let listed = self.lists.iter().map(|list| list.first);
            let listed = listed.filter(|&first| first != NOWHERE);
            let listed = listed.map(|first| (jobs[first].rank, first));
            self.head = listed.chain(self.late.top()).min();
        }
    }
}
