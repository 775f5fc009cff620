//! Tracks whether a filter's answers match its items, as far as that can be known.
//!
//! Lines carry no ids, so an answer belongs to the oldest request without one. A filter that prints one line too many
//! shifts all later answers, and nothing in them shows it. So each answer is held until the next one comes, or until
//! the filter was quiet for a moment; a surplus line that follows at once finds the answer still held.
//!
//! The count of lines *surely* matches when the filter was quiet and had nothing left to answer. Answers since then
//! were delivered and may still prove wrong.

use std::time::{Duration, Instant};

/// How long a filter has to be quiet before its last answer counts as confirmed.
///
/// A surplus line is printed right after the answer, so it comes within a scheduler's delay.
pub(super) const QUIET_TIME: Duration = Duration::from_millis(50);

/// How many answers in a row may be unconfirmed. After that the filter is given a moment of quiet, so that the list of
/// answers that may still prove wrong is bounded. The pause costs less than one percent of the time that so many
/// answers take.
const MAX_UNCONFIRMED_ANSWERS: u64 = 1 << 17;

/// Holds the last answer of a filter, and tracks how far the count of its lines is reliable.
#[derive(Debug)]
pub(super) struct Alignment<H> {
    /// The last answer, until it is known to belong to its item.
    held: Option<H>,
    /// The time at which the filter has been quiet for long enough after its last line.
    quiet_at: Option<Instant>,
    /// The filter was quiet after an answer, so the next item may be sent before the last answer is confirmed.
    proven: bool,
    /// The count has matched at least once, so the filter is not a fresh one.
    matched_once: bool,
    /// How many answers came since the count last surely matched.
    unsure: u64,
}

/// The conclusions from a moment of quiet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Quiet<H> {
    /// The answer that was held and is confirmed now.
    pub(super) confirmed: Option<H>,
    /// The count of lines surely matches.
    pub(super) matches: bool,
}

impl<H> Alignment<H> {
    /// Makes the state of a filter that has read nothing.
    pub(super) fn new() -> Self {
        Self {
            held: None,
            quiet_at: None,
            proven: false,
            matched_once: false,
            unsure: 0,
        }
    }

    /// Whether the filter may be sent the next item before its last answer is confirmed.
    pub(super) fn is_proven(&self) -> bool {
        self.proven
    }

    /// Whether the filter is fresh: its count of lines has never matched yet.
    pub(super) fn is_fresh(&self) -> bool {
        !self.matched_once
    }

    /// Whether answers were given out since the count last surely matched.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.unsure > 0
    }

    /// Handles an answer and returns the one before it, which this confirms.
    pub(super) fn answered(&mut self, answer: Option<H>, now: Instant) -> Option<H> {
        self.unsure += 1;
        if self.unsure >= MAX_UNCONFIRMED_ANSWERS {
            self.proven = false;
        }
        self.quiet_at = now.checked_add(QUIET_TIME);
        std::mem::replace(&mut self.held, answer)
    }

    /// Holds the latest answer until it is confirmed or refuted, whether its result was reported provisionally or not.
    pub(super) fn hold(&mut self, answer: H, now: Instant) {
        // The answer may still be refuted, even if the count matched when it came.
        self.unsure = self.unsure.max(1);
        self.quiet_at = now.checked_add(QUIET_TIME);
        self.held = Some(answer);
    }

    /// Returns the time at which [`quiet`](Self::quiet) has to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.quiet_at
    }

    /// Returns the conclusions if the moment of quiet is over. `is_idle` is set if the filter has nothing left to
    /// answer.
    pub(super) fn quiet(&mut self, is_idle: bool, now: Instant) -> Option<Quiet<H>> {
        self.quiet_at.filter(|at| *at <= now)?;
        self.quiet_at = None;
        let matches = is_idle && self.unsure > 0;
        if is_idle {
            self.matched();
        }
        Some(Quiet {
            confirmed: self.held.take(),
            matches,
        })
    }

    /// Handles the end of a stream that had as many lines as it should. The answer that was held is confirmed.
    pub(super) fn ended(&mut self) -> Quiet<H> {
        self.quiet_at = None;
        let matches = self.unsure > 0;
        self.matched();
        Quiet {
            confirmed: self.held.take(),
            matches,
        }
    }

    /// Records that the count of lines surely matches.
    fn matched(&mut self) {
        self.unsure = 0;
        self.proven = true;
        self.matched_once = true;
    }

    /// Handles a count that does not match. Returns the held answer, which this refutes.
    pub(super) fn lost(&mut self) -> Option<H> {
        self.quiet_at = None;
        self.unsure = 0;
        self.held.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn told(confirmed: Option<u32>, matches: bool) -> Quiet<u32> {
        Quiet { confirmed, matches }
    }

    #[test]
    fn an_answer_is_held_until_the_next_or_a_moment_of_quiet() {
        let (mut alignment, start) = (Alignment::new(), now());
        assert_eq!(alignment.answered(Some(1), start), None);
        assert_eq!(alignment.answered(Some(2), start), Some(1));
        assert_eq!(alignment.deadline(), Some(start + QUIET_TIME));
        assert_eq!(alignment.quiet(false, start + QUIET_TIME / 2), None);
        assert_eq!(
            alignment.quiet(false, start + QUIET_TIME),
            Some(told(Some(2), false))
        );
        assert_eq!(alignment.deadline(), None);
        // A failure counts as an answer, but is not held.
        alignment.answered(Some(3), start);
        assert_eq!(alignment.answered(None, start), Some(3));
    }

    #[test]
    fn only_quiet_with_nothing_asked_proves_a_filter() {
        let (mut alignment, start) = (Alignment::new(), now());
        alignment.answered(Some(1), start);
        alignment.quiet(false, start + QUIET_TIME);
        assert!(!alignment.is_proven() && alignment.is_fresh());
        alignment.answered(Some(2), start);
        assert_eq!(
            alignment.quiet(true, start + QUIET_TIME),
            Some(told(Some(2), true))
        );
        assert!(alignment.is_proven() && !alignment.is_fresh());
        // The answers that are delivered may be refuted until the next moment of quiet.
        alignment.hold(2, start);
        assert_eq!(
            alignment.quiet(true, start + QUIET_TIME),
            Some(told(Some(2), true))
        );
        assert_eq!(alignment.ended(), told(None, false));
    }

    #[test]
    fn a_held_answer_is_refuted_when_the_count_of_lines_is_lost() {
        let (mut alignment, start) = (Alignment::new(), now());
        alignment.answered(Some(1), start);
        assert_eq!(alignment.lost(), Some(1));
        assert_eq!((alignment.lost(), alignment.deadline()), (None, None));
    }

    #[test]
    fn a_filter_that_is_never_idle_is_given_a_moment_after_many_answers() {
        let (mut alignment, start) = (Alignment::new(), now());
        alignment.answered(Some(0), start);
        alignment.quiet(true, start + QUIET_TIME);
        for number in 1..u32::try_from(MAX_UNCONFIRMED_ANSWERS).unwrap() {
            alignment.answered(Some(number), start);
        }
        assert!(alignment.is_proven());
        alignment.answered(Some(0), start);
        assert!(!alignment.is_proven() && !alignment.is_fresh());
        alignment.quiet(true, start + QUIET_TIME);
        assert!(alignment.is_proven());
    }
}
