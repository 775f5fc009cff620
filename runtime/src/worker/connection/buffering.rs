//! Filters that are silent: they may buffer their output until they have read more, or until their input ends, or they
//! may have left out a line.

use std::time::{Duration, Instant};

/// How long a filter may be silent before it is taken for one that buffers.
pub(super) const MAX_SILENCE: Duration = Duration::from_secs(2);

/// How many times longer than for its slowest answer a filter has to be silent before it is taken for one that left out
/// a line. A filter that takes minutes for each item is not remarkable after two seconds.
const SLOWNESS: u32 = 5;

/// How long a filter that may have left out a line has, and how many times longer than for its slowest answer, before
/// its input is closed although items are left. What is certain to end costs little: a filter that is only slow answers
/// before it ends, and another one takes its place.
const MAX_STALL: (Duration, u32) = (Duration::from_secs(10), 20);

/// How long a silent filter has before it is sent more items.
const STEP: Duration = Duration::from_secs(1);

/// The consequence of a filter's silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silent {
    /// The filter may buffer its output, so it may be sent this many items ahead.
    Buffers(u32),
    /// The filter has answered in time before, so it may have left out a line. It is sent nothing ahead, because the next
    /// line could then be that of another item.
    Stalls,
    /// The filter has stalled for so long that its input is to be closed.
    IsGivenUp,
}

/// Decides what follows if a filter is silent.
///
/// A filter that answers one by one is sent nothing ahead for being silent, however slow it is, once it has answered
/// for the first time. One that answers in blocks is sent more items when its next block is late.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// The time at which the filter has been silent for too long.
    due: Option<Instant>,
    /// The time at which the filter last printed a line.
    spoke: Option<Instant>,
    /// The time since which the next line is waited for.
    waits_since: Option<Instant>,
    /// The longest time that the filter took for an answer.
    slowest: Duration,
    /// The filter has been silent for too long although it had answered in time before.
    is_stalled: bool,
    /// The filter has stalled for so long that its input is to be closed although items are left.
    is_given_up: bool,
    /// Several answers have come at once, so the filter prints in blocks.
    in_blocks: bool,
    /// How many items the filter may be sent ahead.
    ahead: u32,
    /// How many more items the filter was sent the last time. The number doubles each time.
    more: u32,
}

impl Silence {
    /// Records that the filter was sent an item.
    pub(super) fn asked(&mut self, now: Instant) {
        self.waits_since.get_or_insert(now);
        if self.due.is_none() && !self.is_stalled {
            self.due = now.checked_add(self.silence_limit());
        }
    }

    /// Records that the filter printed an answer. `left` is set if it has more to answer.
    pub(super) fn answered(&mut self, left: bool, now: Instant) {
        self.in_blocks |= self.spoke == Some(now);
        if let Some(since) = self.waits_since {
            self.slowest = self.slowest.max(now.saturating_duration_since(since));
        }
        self.spoke = Some(now);
        (self.is_stalled, self.is_given_up) = (false, false);
        self.waits_since = left.then_some(now);
        self.due = self
            .waits_since
            .and_then(|at| at.checked_add(self.silence_limit()));
    }

    /// Returns how long the filter may be silent.
    fn silence_limit(&self) -> Duration {
        if self.may_buffer() {
            MAX_SILENCE
        } else {
            MAX_SILENCE.max(self.slowest.saturating_mul(SLOWNESS))
        }
    }

    /// Whether silence may mean that the filter buffers: it has not answered yet, or answers in blocks.
    fn may_buffer(&self) -> bool {
        self.spoke.is_none() || (self.in_blocks && self.ahead > 0)
    }

    /// Returns the time at which [`on_time`](Self::on_time) has to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Returns what follows if the filter has been silent for long enough.
    pub(super) fn on_time(&mut self, now: Instant) -> Option<Silent> {
        self.due.filter(|due| *due <= now)?;
        if self.is_stalled {
            self.due = None;
            self.is_given_up = true;
            return Some(Silent::IsGivenUp);
        }
        if !self.may_buffer() {
            let (shortest, slowness) = MAX_STALL;
            let limit = shortest.max(self.slowest.saturating_mul(slowness));
            self.due = self.waits_since.and_then(|since| since.checked_add(limit));
            self.is_stalled = true;
            return Some(Silent::Stalls);
        }
        self.due = now.checked_add(STEP);
        self.more = self.more.saturating_mul(2).max(1);
        self.ahead = self.ahead.saturating_add(self.more);
        Some(Silent::Buffers(self.ahead))
    }

    /// Whether the filter has been silent for so long that its input is closed if it gets no more items: it buffers, or
    /// it has left out a line.
    pub(super) fn is_long(&self) -> bool {
        self.ahead > 0 || self.is_stalled
    }

    /// Whether the input of the filter is closed although items are left.
    pub(super) fn is_given_up(&self) -> bool {
        self.is_given_up
    }

    /// Stops the timer: nothing more is sent to the filter, so its silence has no consequence.
    pub(super) fn end(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn a_silent_filter_is_sent_twice_as_many_each_second() {
        let (mut silence, start) = (Silence::default(), now());
        silence.asked(start);
        assert_eq!(silence.on_time(start + Duration::from_secs(1)), None);
        let grown = (2..7).map(|second| silence.on_time(start + Duration::from_secs(second)));
        assert_eq!(
            grown.collect::<Vec<_>>(),
            [1, 3, 7, 15, 31].map(|ahead| Some(Silent::Buffers(ahead)))
        );
        assert!(silence.is_long());
    }

    #[test]
    fn a_filter_that_has_answered_and_is_silent_stalls_and_is_sent_nothing_ahead() {
        let (mut silence, start) = (Silence::default(), now());
        silence.asked(start);
        silence.answered(false, start + MAX_SILENCE / 10);
        let asked = start + MAX_SILENCE;
        silence.asked(asked);
        assert_eq!(silence.deadline(), Some(asked + MAX_SILENCE));
        assert!(!silence.is_long());
        assert_eq!(silence.on_time(asked + MAX_SILENCE), Some(Silent::Stalls));
        assert!(silence.is_long());
        let given_up = asked + MAX_STALL.0;
        assert_eq!(silence.deadline(), Some(given_up), "it is told once");
        assert_eq!(silence.on_time(given_up), Some(Silent::IsGivenUp));
        assert_eq!(silence.deadline(), None);
        silence.answered(false, given_up);
        assert!(
            !silence.is_long() && !silence.is_given_up(),
            "it was only slow"
        );
    }

    #[test]
    fn a_filter_that_is_always_slow_is_not_remarkable_after_two_seconds() {
        let (mut silence, start) = (Silence::default(), now());
        silence.asked(start);
        silence.answered(false, start + Duration::from_secs(1));
        let asked = start + Duration::from_secs(1);
        silence.asked(asked);
        assert_eq!(silence.deadline(), Some(asked + Duration::from_secs(5)));
    }

    #[test]
    fn a_filter_that_answers_in_blocks_is_sent_more_when_a_block_is_late() {
        let (mut silence, start) = (Silence::default(), now());
        silence.asked(start);
        silence.on_time(start + MAX_SILENCE);
        let block = start + MAX_SILENCE;
        silence.answered(true, block);
        silence.answered(true, block);
        assert_eq!(silence.deadline(), Some(block + MAX_SILENCE));
        assert_eq!(
            silence.on_time(block + MAX_SILENCE),
            Some(Silent::Buffers(3))
        );
        silence.answered(false, block + MAX_SILENCE);
        assert_eq!(silence.deadline(), None);
        silence.asked(block + MAX_SILENCE);
        assert_eq!(silence.deadline(), Some(block + MAX_SILENCE * 2));
    }
}
