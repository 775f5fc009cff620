//! Output that is no answer although the worker has an attempt: it may have been meant as its answer.

use std::time::{Duration, Instant};

/// How long an attempt may stay unanswered after such output before it is reported.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much of a line is kept for the warning.
const EXCERPT_CHARS: usize = 200;

/// Notices a worker that has printed something else than an answer and says nothing more about its attempt.
///
/// Prints of libraries are harmless, so the output alone is not reported. But if it was meant as the answer, there will
/// be no other one, and without a warning the run would wait in silence.
#[derive(Debug, Default)]
pub(super) struct OtherOutput {
    noticed: Option<Noticed>,
    /// A warning was logged, so there is no second one.
    is_told: bool,
}

/// The first line that was printed while an attempt was unanswered.
#[derive(Debug)]
struct Noticed {
    /// The id of the oldest attempt at that time.
    attempt: u64,
    printed: String,
    due: Option<Instant>,
}

impl OtherOutput {
    /// Records a line that is no answer. `attempt` is the oldest one that is unanswered.
    pub(super) fn printed(&mut self, line: &str, attempt: Option<u64>, now: Instant) {
        let Some(attempt) = attempt.filter(|_| !self.is_told) else {
            return;
        };
        let is_known = |noticed: &Noticed| noticed.attempt == attempt;
        if self.noticed.as_ref().is_some_and(is_known) {
            return;
        }
        self.noticed = Some(Noticed {
            attempt,
            printed: line.chars().take(EXCERPT_CHARS).collect(),
            due: now.checked_add(PATIENCE),
        });
    }

    /// Records that the worker has said something about this attempt, so that it is still working on it.
    pub(super) fn heard_of(&mut self, attempt: u64) {
        self.noticed = self.noticed.take().filter(|one| one.attempt != attempt);
    }

    /// Records that the user was warned in another way.
    pub(super) fn was_told(&mut self) {
        (self.noticed, self.is_told) = (None, true);
    }

    /// Returns the time at which [`on_time`](Self::on_time) has to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.noticed.as_ref()?.due
    }

    /// Returns the attempt and the line of which to warn, if that attempt is still unanswered.
    pub(super) fn on_time(
        &mut self,
        is_unanswered: impl FnOnce(u64) -> bool,
        now: Instant,
    ) -> Option<(u64, String)> {
        let noticed = self.noticed.take_if(|one| one.due <= Some(now))?;
        if !is_unanswered(noticed.attempt) {
            return None;
        }
        self.is_told = true;
        Some((noticed.attempt, noticed.printed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn output_without_an_answer_in_two_seconds_is_told_once() {
        let (mut output, start) = (OtherOutput::default(), now());
        output.printed("early", None, start);
        assert_eq!(output.deadline(), None, "nothing was asked");
        output.printed("", Some(1), start);
        output.printed("later", Some(1), start + PATIENCE / 2);
        assert_eq!(output.deadline(), Some(start + PATIENCE));
        assert_eq!(output.on_time(|_| true, start + PATIENCE / 2), None);
        let told = output.on_time(|id| id == 1, start + PATIENCE);
        assert_eq!(told, Some((1, String::new())));
        output.printed("again", Some(2), start + PATIENCE);
        assert_eq!(output.deadline(), None);
    }

    #[test]
    fn output_before_an_answer_or_progress_is_not_told() {
        let (mut output, start) = (OtherOutput::default(), now());
        output.printed("noise", Some(1), start);
        assert_eq!(output.on_time(|_| false, start + PATIENCE), None);
        output.printed("noise", Some(2), start);
        output.heard_of(2);
        assert_eq!(output.deadline(), None);
        output.printed("noise", Some(3), start);
        assert_eq!(
            output.on_time(|_| true, start + PATIENCE),
            Some((3, "noise".to_owned()))
        );
    }
}
