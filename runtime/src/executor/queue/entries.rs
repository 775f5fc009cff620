//! The entries of the jobs in the queue, and the counts of their states.

use super::super::entry::{EntryState, JobEntry};
use super::super::routes::RouteId;
use crate::ids::KindId;
use crate::ids::Ticket;

/// How many jobs of a kind of worker are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::executor) struct KindCounts {
    /// How many jobs run.
    pub(in crate::executor) running: u32,
    /// How many jobs were sent ahead and have not begun.
    pub(in crate::executor) ahead: u32,
    /// How many jobs wait for their start.
    pub(in crate::executor) waiting: usize,
    /// How many jobs wait for the result of an equal job.
    pub(in crate::executor) parked: usize,
}

impl KindCounts {
    /// Returns the number of jobs in any state.
    pub(in crate::executor) fn jobs(&self) -> usize {
        self.waiting + self.parked + self.running as usize + self.ahead as usize
    }

    /// Adds a job in this state to the counts.
    fn add(&mut self, state: EntryState) {
        match state {
            EntryState::Waiting => self.waiting += 1,
            EntryState::Parked => self.parked += 1,
            EntryState::Ahead => self.ahead += 1,
            EntryState::Running => self.running += 1,
        }
    }

    // A count below zero would show that an entry was counted out twice. The subtractions panic then where overflow
    // checks are on.
    /// Removes a job in this state from the counts.
    fn remove(&mut self, state: EntryState) {
        match state {
            EntryState::Waiting => self.waiting -= 1,
            EntryState::Parked => self.parked -= 1,
            EntryState::Ahead => self.ahead -= 1,
            EntryState::Running => self.running -= 1,
        }
    }
}

/// Owns an entry for each job that the scheduler knows, and counts the entries of each kind by their state.
///
/// The counts always match the entries, because a state changes only by [`enter`](Self::enter).
pub(super) struct JobEntries {
    /// The entries by the index of their tickets.
    list: Vec<Option<JobEntry>>,
    /// The counts of jobs by kind.
    counts: Vec<KindCounts>,
    /// How many jobs of each route wait for their start, by the number of the route.
    waiting: Vec<usize>,
}

impl JobEntries {
    /// Makes an empty table for this many kinds of worker.
    pub(super) fn new(kinds: u16) -> Self {
        Self {
            list: Vec::new(),
            counts: vec![KindCounts::default(); kinds.into()],
            waiting: Vec::new(),
        }
    }

    /// Adds the entry of a job that was just pushed to the scheduler.
    pub(super) fn insert(&mut self, entry: JobEntry) {
        let route = entry.route.index();
        if self.waiting.len() <= route {
            self.waiting.resize(route + 1, 0);
        }
        self.counts[usize::from(entry.kind.0)].add(entry.state());
        self.waiting[route] += usize::from(entry.state() == EntryState::Waiting);
        let index = entry.ticket.index();
        if self.list.len() <= index {
            self.list.resize_with(index + 1, || None);
        }
        debug_assert!(
            self.list[index].is_none(),
            "the scheduler reuses the index of a ticket only after its job has left"
        );
        self.list[index] = Some(entry);
    }

    /// Returns the entry of a ticket, unless its job has left the queue.
    pub(super) fn find(&self, ticket: Ticket) -> Option<&JobEntry> {
        let entry = self.list.get(ticket.index())?.as_ref()?;
        (entry.ticket == ticket).then_some(entry)
    }

    /// Returns the entry of a ticket whose job is in the queue.
    pub(super) fn get(&self, ticket: Ticket) -> &JobEntry {
        #[expect(
            clippy::expect_used,
            reason = "the scheduler knows exactly the tickets that have an entry"
        )]
        self.find(ticket)
            .expect("a ticket that the scheduler knows has its entry")
    }

    /// Returns the entry of a job, for changes that do not concern the counts.
    pub(super) fn get_mut(&mut self, ticket: Ticket) -> &mut JobEntry {
        #[expect(
            clippy::expect_used,
            reason = "the scheduler knows exactly the tickets that have an entry"
        )]
        self.list[ticket.index()]
            .as_mut()
            .filter(|entry| entry.ticket == ticket)
            .expect("a ticket that the scheduler knows has its entry")
    }

    /// Changes the state of an entry, and returns the entry.
    pub(super) fn enter(&mut self, ticket: Ticket, state: EntryState) -> &mut JobEntry {
        // `get_mut` would borrow the counts as well.
        #[expect(
            clippy::expect_used,
            reason = "the scheduler knows exactly the tickets that have an entry"
        )]
        let entry = self.list[ticket.index()]
            .as_mut()
            .filter(|entry| entry.ticket == ticket)
            .expect("a ticket that the scheduler knows has its entry");
        let counts = &mut self.counts[usize::from(entry.kind.0)];
        counts.remove(entry.state());
        counts.add(state);
        let waiting = &mut self.waiting[entry.route.index()];
        *waiting -= usize::from(entry.state() == EntryState::Waiting);
        *waiting += usize::from(state == EntryState::Waiting);
        entry.set_state(state);
        entry
    }

    /// Moves a job to another route of its kind.
    pub(super) fn reroute(&mut self, ticket: Ticket, route: RouteId) {
        let entry = self.get_mut(ticket);
        let (old, is_waiting) = (entry.route, entry.state() == EntryState::Waiting);
        entry.route = route;
        if self.waiting.len() <= route.index() {
            self.waiting.resize(route.index() + 1, 0);
        }
        self.waiting[old.index()] -= usize::from(is_waiting);
        self.waiting[route.index()] += usize::from(is_waiting);
    }

    /// Removes the entry of a job that leaves the queue.
    pub(super) fn remove(&mut self, ticket: Ticket) -> JobEntry {
        #[expect(clippy::expect_used, reason = "a job leaves the queue once")]
        let entry = self.list[ticket.index()]
            .take_if(|entry| entry.ticket == ticket)
            .expect("a job that leaves the queue has its entry");
        self.counts[usize::from(entry.kind.0)].remove(entry.state());
        self.waiting[entry.route.index()] -= usize::from(entry.state() == EntryState::Waiting);
        entry
    }

    /// Iterates over all entries.
    pub(super) fn iter(&self) -> impl Iterator<Item = &JobEntry> {
        self.list.iter().flatten()
    }

    /// Returns how many jobs of a kind are in each state.
    pub(super) fn count(&self, kind: KindId) -> KindCounts {
        self.counts[usize::from(kind.0)]
    }

    /// Returns how many jobs run or were sent ahead.
    pub(super) fn count_begun(&self) -> usize {
        let begun = |count: &KindCounts| count.running as usize + count.ahead as usize;
        self.counts.iter().map(begun).sum()
    }

    /// Returns how many jobs of a route wait for their start.
    pub(super) fn waiting_on(&self, route: RouteId) -> usize {
        self.waiting.get(route.index()).copied().unwrap_or(0)
    }

    /// Returns the number of jobs in the queue.
    pub(super) fn len(&self) -> usize {
        self.counts.iter().map(KindCounts::jobs).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ratchet_ipc::Payload;

    use super::*;
    use crate::executor::entry::tests::entry;
    use crate::job::Job;

    #[test]
    fn the_counts_of_a_kind_follow_the_states_of_its_entries() {
        let now = tokio::time::Instant::now().into_std();
        let entry = entry(Arc::new(Job::task("a", "t", Payload::null())), now);
        let (ticket, kind, route) = (entry.ticket, entry.kind, entry.route);
        let mut entries = JobEntries::new(1);
        let counts = |running, ahead, waiting| KindCounts {
            running,
            ahead,
            waiting,
            parked: 0,
        };
        entries.insert(entry);
        assert_eq!(entries.count(kind), counts(0, 0, 1));
        assert_eq!(entries.waiting_on(route), 1);
        entries.enter(ticket, EntryState::Parked);
        assert_eq!(entries.count(kind).parked, 1);
        assert_eq!((entries.waiting_on(route), entries.len()), (0, 1));
        entries.enter(ticket, EntryState::Ahead);
        assert_eq!(entries.count(kind), counts(0, 1, 0));
        assert_eq!(entries.waiting_on(route), 0);
        entries.enter(ticket, EntryState::Running);
        assert_eq!((entries.count(kind), entries.len()), (counts(1, 0, 0), 1));
        entries.remove(ticket);
        assert_eq!((entries.count(kind), entries.len()), (counts(0, 0, 0), 0));
        assert!(entries.find(ticket).is_none());
    }
}
