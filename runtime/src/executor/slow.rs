//! The running jobs that will become slow, because their terms say after how long a job is slow.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use crate::ids::Ticket;

/// Knows when each running job becomes slow. It is empty if no terms set that.
#[derive(Debug, Default)]
pub(super) struct SlowWatch {
    due: BTreeSet<(Instant, Ticket)>,
    /// When each job is due, so that it can be removed without a search.
    by_ticket: HashMap<Ticket, Instant>,
}

impl SlowWatch {
    /// Watches a job whose attempt has begun. The job becomes slow at `due`.
    pub(super) fn begin(&mut self, ticket: Ticket, due: Instant) {
        self.end(ticket);
        self.due.insert((due, ticket));
        self.by_ticket.insert(ticket, due);
    }

    /// Stops watching a job, because its attempt has ended or did not begin.
    pub(super) fn end(&mut self, ticket: Ticket) {
        // In nearly all runs no terms set a limit, and this check is all that they pay.
        if self.by_ticket.is_empty() {
            return;
        }
        if let Some(due) = self.by_ticket.remove(&ticket) {
            self.due.remove(&(due, ticket));
        }
    }

    /// Removes and returns the next job that has become slow by now.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Ticket> {
        self.next().filter(|due| *due <= now)?;
        let (_, ticket) = self.due.pop_first()?;
        self.by_ticket.remove(&ticket);
        Some(ticket)
    }

    /// Returns when the next job becomes slow.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scheduling::{Scheduler, SchedulerRequest, SchedulerSettings};

    #[test]
    fn a_job_is_slow_once_and_only_while_it_runs() {
        let now = tokio::time::Instant::now().into_std();
        let mut scheduler = Scheduler::new(SchedulerSettings::default(), now).unwrap();
        let [first, second] =
            [(); 2].map(|()| scheduler.push(SchedulerRequest::new("any"), now).unwrap());
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut watch = SlowWatch::default();
        assert_eq!(watch.next(), None);
        watch.begin(first, after(9));
        watch.begin(first, after(2));
        watch.begin(second, after(1));
        assert_eq!(watch.next(), Some(after(1)));
        watch.end(second);
        assert_eq!(watch.pop(after(1)), None);
        assert_eq!(watch.pop(after(2)), Some(first));
        assert_eq!((watch.pop(after(99)), watch.next()), (None, None));
    }
}
