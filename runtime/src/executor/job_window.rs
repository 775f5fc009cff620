//! The window bounds how many jobs a run holds at once.

use std::time::Instant;

use super::throughput::Throughput;

/// How many bytes of inputs and results may be in memory before no more jobs are taken in, and how many bytes of
/// untaken results before no more jobs start. The window alone is not enough: if each of 4096 jobs carries a megabyte,
/// they need gigabytes.
pub(super) const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The outcomes that were not delivered yet. They count against the window as well.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct UndeliveredOutcomes {
    /// How many outcomes were not taken yet.
    pub(super) outcomes: usize,
    /// How many bytes their results and failures have.
    pub(super) bytes: usize,
}

/// Counts the jobs between their source and the receiver of their outcomes. The memory that a run needs grows with this
/// count.
pub(super) struct JobWindow {
    /// How many jobs and undelivered outcomes there may be at once.
    window: usize,
    /// How many jobs were pulled and have no outcome yet.
    unfinished: usize,
    /// How many bytes these jobs carry.
    bytes: usize,
    /// Measures how fast jobs end, because fewer jobs have to be held while they end fast.
    throughput: Throughput,
}

impl JobWindow {
    /// Makes an empty window with room for `window` jobs.
    pub(super) fn new(window: usize, now: Instant) -> Self {
        Self {
            window,
            unfinished: 0,
            bytes: 0,
            throughput: Throughput::new(now),
        }
    }

    /// Counts a pulled job that carries this many bytes.
    pub(super) fn add(&mut self, bytes: usize) {
        self.unfinished += 1;
        self.bytes += bytes;
    }

    /// Stops counting a job of this many bytes, because it has its outcome.
    pub(super) fn remove(&mut self, bytes: usize) {
        self.unfinished -= 1;
        self.bytes -= bytes;
    }

    /// Returns how many jobs were pulled and have no outcome yet.
    pub(super) fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Whether there is room for another job.
    pub(super) fn has_room(&self, out: UndeliveredOutcomes) -> bool {
        // One job is always let in. Without it, no job would end and free memory.
        let is_light = self.bytes + out.bytes < MAX_BYTES || self.unfinished == 0;
        is_light && self.unfinished + out.outcomes < self.window
    }

    /// Records how many jobs have ended since the run began.
    pub(super) fn note_ended(&mut self, ended: u64, now: Instant) {
        self.throughput.ended(ended, now);
    }

    /// Returns the time until which no more jobs have to be pulled, because jobs end fast and `ready` of them could
    /// start already. `ahead` returns how many attempts can be sent ahead at most.
    pub(super) fn enough_until(
        &self,
        ready: usize,
        ahead: impl FnOnce() -> usize,
        now: Instant,
    ) -> Option<Instant> {
        self.throughput.enough_until(ready, ahead, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_hand(window: usize) -> JobWindow {
        JobWindow::new(window, tokio::time::Instant::now().into_std())
    }

    #[test]
    fn jobs_and_outcomes_share_the_window() {
        let mut in_hand = in_hand(3);
        in_hand.add(1);
        let out = |outcomes| UndeliveredOutcomes { outcomes, bytes: 0 };
        assert!(in_hand.has_room(out(1)));
        assert!(!in_hand.has_room(out(2)));
        in_hand.remove(1);
        assert!(in_hand.has_room(out(2)));
    }

    #[test]
    fn heavy_jobs_leave_no_room_but_one_is_always_taken() {
        let mut in_hand = in_hand(1000);
        let out = UndeliveredOutcomes {
            outcomes: 1,
            bytes: MAX_BYTES,
        };
        assert!(in_hand.has_room(out), "nothing else would make room");
        in_hand.add(MAX_BYTES);
        assert!(!in_hand.has_room(UndeliveredOutcomes::default()));
        in_hand.remove(MAX_BYTES);
        assert!(in_hand.has_room(UndeliveredOutcomes::default()));
    }
}
