//! Filters that print nothing yet: they may buffer their output until they have read more, or until their input ends.

use std::time::{Duration, Instant};

/// How long a filter may be silent before it is taken for one that buffers.
pub(super) const MAX_SILENCE: Duration = Duration::from_secs(2);

/// How long a silent filter has before it is sent more items.
const STEP: Duration = Duration::from_secs(1);

/// Decides how many items a filter is sent ahead because it is silent.
///
/// A filter that answers one by one is sent nothing ahead for being silent, however slow it is, once it has answered
/// for the first time. One that answers in blocks is sent more items when its next block is late.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// The time at which the filter has been silent for too long.
    due: Option<Instant>,
    /// The time at which the filter last printed a line.
    spoke: Option<Instant>,
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
        if self.due.is_none() && self.may_buffer() {
            self.due = now.checked_add(MAX_SILENCE);
        }
    }

    /// Records that the filter printed an answer. `left` is set if it has more to answer.
    pub(super) fn answered(&mut self, left: bool, now: Instant) {
        self.in_blocks |= self.spoke == Some(now);
        self.spoke = Some(now);
        self.due = if left && self.may_buffer() {
            now.checked_add(MAX_SILENCE)
        } else {
            None
        };
    }

    /// Whether silence may mean that the filter buffers: it has not answered yet, or answers in blocks.
    fn may_buffer(&self) -> bool {
        self.spoke.is_none() || (self.in_blocks && self.ahead > 0)
    }

    /// Returns the time at which [`on_time`](Self::on_time) has to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Returns how many items the filter may be sent ahead from now on, if it has been silent for long enough to change
    /// that.
    pub(super) fn on_time(&mut self, now: Instant) -> Option<u32> {
        self.due.filter(|due| *due <= now)?;
        self.due = now.checked_add(STEP);
        self.more = self.more.saturating_mul(2).max(1);
        self.ahead = self.ahead.saturating_add(self.more);
        Some(self.ahead)
    }

    /// Whether the filter has been silent for so long that it is taken for one that buffers.
    pub(super) fn is_long(&self) -> bool {
        self.ahead > 0
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
        assert_eq!(grown.collect::<Vec<_>>(), [1, 3, 7, 15, 31].map(Some));
        assert!(silence.is_long());
    }

    #[test]
    fn a_filter_that_has_answered_is_slow_and_not_silent() {
        let (mut silence, start) = (Silence::default(), now());
        silence.asked(start);
        silence.on_time(start + MAX_SILENCE);
        silence.answered(true, start + MAX_SILENCE);
        assert_eq!(silence.deadline(), None);
        silence.asked(start + MAX_SILENCE);
        assert_eq!(silence.deadline(), None);
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
        assert_eq!(silence.on_time(block + MAX_SILENCE), Some(3));
        silence.answered(false, block + MAX_SILENCE);
        assert_eq!(silence.deadline(), None);
        silence.asked(block + MAX_SILENCE);
        assert_eq!(silence.deadline(), Some(block + MAX_SILENCE * 2));
    }
}
