//! The pings that show that a worker still answers.

use std::time::{Duration, Instant};

/// When a worker is pinged, and by when it has to answer the ping.
#[derive(Debug)]
pub(super) struct Pings {
    /// How long after a pong the next ping is sent, and how long the worker may take for its pong; `None` if the pool
    /// does not ping its workers.
    interval: Option<Duration>,
    /// The ping that was not answered yet.
    open: Option<OpenPing>,
    /// How many pings were sent. The number is the nonce of the next, so a late pong never answers another ping.
    sent: u64,
    /// When the next ping is due.
    next: Option<Instant>,
}

/// A ping that was sent and not answered yet.
#[derive(Debug)]
struct OpenPing {
    nonce: u64,
    by: Instant,
}

impl Pings {
    /// Makes the pings of a worker, none of which is due before [`begin`](Self::begin).
    pub(super) fn new(interval: Option<Duration>) -> Self {
        Self {
            interval,
            open: None,
            sent: 0,
            next: None,
        }
    }

    /// Begins to ping a worker that answers pings, or stops for one that does not.
    pub(super) fn begin(&mut self, answers: bool, now: Instant) {
        self.next = self.due_after(now).filter(|_| answers);
    }

    /// Returns the nonce of the next ping, which is sent now, if it is due.
    pub(super) fn send(&mut self, now: Instant) -> Option<u64> {
        self.next.filter(|at| *at <= now)?;
        self.next = None;
        self.sent += 1;
        let nonce = self.sent;
        self.open = self.due_after(now).map(|by| OpenPing { nonce, by });
        Some(nonce)
    }

    /// Takes a pong. One that does not answer the ping that was sent last is ignored.
    pub(super) fn answered(&mut self, nonce: u64, now: Instant) {
        if self.open.as_ref().is_some_and(|open| open.nonce == nonce) {
            self.open = None;
            self.next = self.due_after(now);
        }
    }

    /// Returns the time that a worker had for its pong, if that time is over.
    pub(super) fn overdue(&self, now: Instant) -> Option<Duration> {
        let open = self.open.as_ref()?;
        self.interval.filter(|_| open.by <= now)
    }

    /// Returns the next moment at which a ping or its answer is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.answer_by().into_iter().chain(self.next).min()
    }

    /// Returns the moment by which the open ping has to be answered.
    pub(super) fn answer_by(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.by)
    }

    /// Gives the worker more time for its pong, because it may have got its ping later by this time.
    pub(super) fn was_delayed(&mut self, delay: Duration) {
        if let Some(open) = &mut self.open {
            open.by += delay;
        }
    }

    /// Returns the moment one interval from now. An interval beyond the range of the clock never passes.
    fn due_after(&self, now: Instant) -> Option<Instant> {
        now.checked_add(self.interval?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suspension::working_now;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_next_ping_is_sent_an_interval_after_the_pong_to_the_last_one() {
        let start = working_now();
        let mut pings = Pings::new(Some(SECOND));
        assert_eq!(pings.deadline(), None);
        pings.begin(true, start);
        assert_eq!(pings.send(start), None);
        let first = pings.send(start + SECOND);
        assert_eq!(first, Some(1));
        assert_eq!(pings.deadline(), Some(start + 2 * SECOND));
        // A pong to no ping answers nothing.
        pings.answered(7, start + SECOND);
        assert_eq!(pings.overdue(start + 2 * SECOND), Some(SECOND));
        pings.answered(1, start + SECOND);
        assert_eq!(pings.overdue(start + 2 * SECOND), None);
        assert_eq!(pings.send(start + 2 * SECOND), Some(2));
        pings.was_delayed(5 * SECOND);
        assert_eq!(pings.answer_by(), Some(start + 8 * SECOND));
    }

    #[test]
    fn a_worker_that_answers_no_pings_gets_none() {
        let start = working_now();
        let mut pings = Pings::new(Some(SECOND));
        pings.begin(false, start);
        assert_eq!((pings.deadline(), pings.send(start + SECOND)), (None, None));
    }
}
