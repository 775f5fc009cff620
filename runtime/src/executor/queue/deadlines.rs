//! The jobs that have to start by a certain moment, because their terms set a queue timeout.

use std::collections::BTreeSet;
use std::time::Instant;

use super::super::entry::JobEntry;
use crate::ids::Ticket;

/// Knows by when each queued job has to have started, if it has a queue timeout.
///
/// The entry of a job holds its deadline as well, so that it can be found here without a search. Only
/// [`set`](Self::set) and [`pop`](Self::pop) change the two.
#[derive(Debug, Default)]
pub(super) struct QueueDeadlines(BTreeSet<(Instant, Ticket)>);

impl QueueDeadlines {
    /// Sets the deadline of a job, or removes it.
    pub(super) fn set(&mut self, entry: &mut JobEntry, deadline: Option<Instant>) {
        let before = std::mem::replace(&mut entry.queue_deadline, deadline);
        if before == deadline {
            return;
        }
        if let Some(before) = before {
            self.0.remove(&(before, entry.ticket));
        }
        if let Some(deadline) = deadline {
            self.0.insert((deadline, entry.ticket));
        }
    }

    /// Removes and returns the next job whose deadline has passed. The caller has to clear
    /// [`queue_deadline`](JobEntry::queue_deadline) in its entry.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Ticket> {
        self.next().filter(|deadline| *deadline <= now)?;
        self.0.pop_first().map(|(_, ticket)| ticket)
    }

    /// Returns the earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(deadline, _)| *deadline)
    }
}
