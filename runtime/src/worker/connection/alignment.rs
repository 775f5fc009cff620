//! Tracks whether a filter's answers match its items, as far as that can be known.
//!
//! Lines carry no ids, so an answer belongs to the oldest request without one. A filter that prints one line too many
//! shifts all later answers, and nothing in them shows it. So each answer is held until the next one comes, or until
//! the filter was quiet for a moment; a surplus line that follows at once finds the answer still held.
//!
//! The count of lines *surely* matches when the filter was quiet and had nothing left to answer. Answers since then
//! were delivered and may still prove wrong. They also stay in doubt if the filter ends before it has answered
//! everything: the missing line may be that of an earlier item.

use std::time::{Duration, Instant};

/// How long a filter has to be quiet before its last answer counts as confirmed.
///
/// A surplus line is printed right after the answer, so it comes within a scheduler's delay.
pub(super) const QUIET_TIME: Duration = Duration::from_millis(50);

/// How many answers in a row may be unconfirmed. After that the filter is given a moment of quiet, so that the list of
/// answers that may still prove wrong is bounded. The pause costs less than one percent of the time that so many
/// answers take.
const MAX_UNCONFIRMED_ANSWERS: u64 = 1 << 17;

/// How long answers in a row may be unconfirmed. After that the filter is given a moment of quiet, too, so that a filter
/// that crashes puts only its latest answers in doubt. The pause costs half a percent of this time.
const MAX_DOUBT: Duration = Duration::from_secs(10);

/// Holds the last answer of a filter, and tracks how far the count of its lines is reliable.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each of them is known for itself, whatever the others are"
)]
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
    /// The time of the first of the `unsure` answers.
    unsure_since: Option<Instant>,
    /// Each item since the count last surely matched was sent only after the filter had answered the item before it.
    one_by_one: bool,
    /// The filter was quiet for long enough after its last line.
    was_quiet: bool,
}

/// What a filter has not answered at its end, of the items that it may have read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// It has answered everything.
    Nothing,
    /// It has not answered one item, which was its only one, and it had read that item.
    OneThatWasRead,
    /// It has not answered several items, or it is not known how much the filter has read.
    Other,
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
            unsure_since: None,
            one_by_one: true,
            was_quiet: false,
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

    /// Records that the filter was sent an item. `is_only` is set if it had answered all items before.
    pub(super) fn asked(&mut self, is_only: bool) {
        self.one_by_one &= is_only;
    }

    /// Handles an answer and returns the one before it, which this confirms.
    pub(super) fn answered(&mut self, answer: Option<H>, now: Instant) -> Option<H> {
        self.unsure += 1;
        let since = *self.unsure_since.get_or_insert(now);
        if self.unsure >= MAX_UNCONFIRMED_ANSWERS
            || now.saturating_duration_since(since) >= MAX_DOUBT
        {
            self.proven = false;
        }
        self.await_quiet(now);
        std::mem::replace(&mut self.held, answer)
    }

    /// Holds the latest answer until it is confirmed or refuted, whether its result was reported provisionally or not.
    pub(super) fn hold(&mut self, answer: H, now: Instant) {
        // The answer may still be refuted, even if the count matched when it came.
        self.unsure = self.unsure.max(1);
        self.unsure_since.get_or_insert(now);
        self.await_quiet(now);
        self.held = Some(answer);
    }

    fn await_quiet(&mut self, now: Instant) {
        self.was_quiet = false;
        self.quiet_at = now.checked_add(QUIET_TIME);
    }

    /// Returns the time at which [`quiet`](Self::quiet) has to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.quiet_at
    }

    /// Confirms the held answer if the filter was quiet for long enough after it; `None` before that. `is_idle` is set
    /// if the filter has nothing left to answer.
    pub(super) fn quiet(&mut self, is_idle: bool, now: Instant) -> Option<Quiet<H>> {
        self.quiet_at.filter(|at| *at <= now)?;
        self.quiet_at = None;
        self.was_quiet = true;
        let matches = is_idle && self.unsure > 0;
        if is_idle {
            self.matched();
        }
        Some(Quiet {
            confirmed: self.held.take(),
            matches,
        })
    }

    /// Handles the end of a filter that may have left items unanswered. Returns `None` if answers that were given out
    /// may belong to other items; then [`lost`](Self::lost) has to follow.
    ///
    /// The missing line may be that of an earlier item, whatever ended the filter. Only a filter that had one item at a
    /// time cannot have left out an earlier line, because it was sent the next item only after a line. Such a filter
    /// cannot have printed a surplus line either if it has read its last item and was then quiet for a moment.
    pub(super) fn ended(&mut self, unanswered: Unanswered) -> Option<Quiet<H>> {
        let matches = match unanswered {
            Unanswered::Nothing => true,
            Unanswered::OneThatWasRead => self.one_by_one && self.was_quiet,
            Unanswered::Other => false,
        };
        if !matches && self.is_in_doubt() {
            return None;
        }
        self.quiet_at = None;
        let matches = self.is_in_doubt();
        self.matched();
        Some(Quiet {
            confirmed: self.held.take(),
            matches,
        })
    }

    /// Records that the count of lines surely matches.
    fn matched(&mut self) {
        self.unsure = 0;
        self.unsure_since = None;
        self.one_by_one = true;
        self.proven = true;
        self.matched_once = true;
    }

    /// Handles a count that does not match. Returns the held answer, which this refutes.
    pub(super) fn lost(&mut self) -> Option<H> {
        self.quiet_at = None;
        self.unsure = 0;
        self.unsure_since = None;
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
        assert_eq!(
            alignment.ended(Unanswered::Nothing),
            Some(told(None, false))
        );
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

    /// Makes a filter that has answered since its count last surely matched.
    fn in_doubt(start: Instant) -> Alignment<u32> {
        let mut alignment = Alignment::new();
        alignment.asked(true);
        alignment.answered(Some(1), start);
        alignment.quiet(true, start + QUIET_TIME);
        alignment.asked(true);
        alignment.answered(Some(2), start + QUIET_TIME);
        alignment
    }

    #[test]
    fn a_filter_that_ends_before_it_has_answered_everything_leaves_its_answers_in_doubt() {
        let start = now();
        for unanswered in [Unanswered::OneThatWasRead, Unanswered::Other] {
            let mut alignment = in_doubt(start);
            alignment.asked(true);
            assert_eq!(alignment.ended(unanswered), None);
            assert_eq!(alignment.lost(), Some(2), "nothing was confirmed");
        }
        let mut alignment = in_doubt(start);
        let whole = alignment.ended(Unanswered::Nothing);
        assert_eq!(whole, Some(told(Some(2), true)));
        // Nothing was given out since the count last matched.
        assert_eq!(alignment.ended(Unanswered::Other), Some(told(None, false)));
    }

    #[test]
    fn answers_given_one_by_one_are_right_though_the_filter_is_stopped_during_a_later_item() {
        let start = now();
        for (is_only, is_quiet, unanswered, is_right) in [
            (true, true, Unanswered::OneThatWasRead, true),
            (true, true, Unanswered::Other, false),
            (true, false, Unanswered::OneThatWasRead, false),
            (false, true, Unanswered::OneThatWasRead, false),
        ] {
            let mut alignment = in_doubt(start);
            alignment.asked(is_only);
            if is_quiet {
                let quiet = alignment.quiet(false, start + QUIET_TIME * 2);
                assert_eq!(quiet, Some(told(Some(2), false)));
            }
            let expected = is_right.then(|| told(None, true));
            assert_eq!(
                alignment.ended(unanswered),
                expected,
                "{is_only} {is_quiet} {unanswered:?}"
            );
        }
    }

    #[test]
    fn an_answer_after_the_moment_of_quiet_is_in_doubt_again() {
        let start = now();
        let mut alignment = in_doubt(start);
        alignment.asked(true);
        alignment.quiet(false, start + QUIET_TIME * 2);
        alignment.answered(Some(3), start + QUIET_TIME * 3);
        alignment.asked(true);
        assert_eq!(alignment.ended(Unanswered::OneThatWasRead), None);
    }

    #[test]
    fn a_filter_that_is_never_idle_is_given_a_moment_from_time_to_time() {
        let start = now();
        let mut alignment = in_doubt(start);
        let since = start + QUIET_TIME;
        alignment.answered(Some(3), since + MAX_DOUBT / 2);
        assert!(alignment.is_proven());
        alignment.answered(Some(4), since + MAX_DOUBT);
        assert!(!alignment.is_proven() && !alignment.is_fresh());
        alignment.quiet(true, since + MAX_DOUBT + QUIET_TIME);
        alignment.answered(Some(5), since + MAX_DOUBT * 2);
        assert!(alignment.is_proven(), "the time begins anew");
    }
}
