//! The jobs that have to start by a certain moment, because their terms set a queue timeout.

use std::collections::BTreeSet;
use std::time::Instant;

use super::super::entry::JobEntry;
use crate::ids::Ticket;

/// Knows by when each job of the queue has to have started, where it has to.
///
/// The deadline of a job stands in its entry, too, so that it can be found here without a search. Both are only changed
/// together, by [`set`](Self::set) and [`pop`](Self::pop).
#[derive(Debug, Default)]
pub(super) struct QueueDeadlines(BTreeSet<(Instant, Ticket)>);

impl QueueDeadlines {
    /// Sets the deadline of a job, or takes it away.
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

    /// Takes out the next job whose deadline has passed. The caller has to [forget](JobEntry::queue_deadline) it in the entry.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Ticket> {
        self.next().filter(|deadline| *deadline <= now)?;
        self.0.pop_first().map(|(_, ticket)| ticket)
    }

    /// Returns the first deadline of all.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(deadline, _)| *deadline)
    }
}
