//! The retry budget of a run: how many of its attempts may be retries.

use std::time::Instant;

use ratchet_resilience::retry::RetryBudget;

use crate::Error;
use crate::outcome::Failure;

/// How many retries a run may make in any case, so that a small run can retry at all.
const MINIMUM: u32 = 10;

/// Limits the retries of a run to a share of its first attempts.
///
/// When everything fails, each job is tried as often as its policy allows. With three retries for each job, that is
/// four times the work for nothing. With a budget, retries are at most a share of the first attempts.
#[derive(Debug)]
pub(super) struct RunBudget {
    budget: RetryBudget,
    /// The share that retries may have, for messages.
    share: f64,
    /// How many retries the budget has refused.
    refused: u64,
}

impl RunBudget {
    /// Makes a budget that allows this share of retries for each first attempt, from 0 to 1.
    pub(super) fn new(share: f64) -> Result<Self, Error> {
        let budget = RetryBudget::builder()
            .share(share)
            .whole_run(MINIMUM)
            .build();
        let budget = budget.map_err(|error| Error::InvalidSetting {
            setting: "retry_budget",
            reason: format!("is refused: {error}"),
        })?;
        Ok(Self {
            budget,
            share,
            refused: 0,
        })
    }

    /// Counts the first attempt of a job that has ended.
    pub(super) fn count_first_attempt(&mut self, now: Instant) {
        self.budget.deposit(now);
    }

    /// Takes a retry from the budget. If none is left, it returns false and adds that to the message of the failure.
    pub(super) fn take(&mut self, failure: &mut Failure, now: Instant) -> bool {
        if self.budget.withdraw(now) {
            return true;
        }
        self.refused += 1;
        failure.message = format!(
            "{} (not tried again: the retry budget of {} % is used up)",
            failure.message,
            self.share * 100.0
        );
        false
    }

    /// Returns how many retries were not made because the budget was used up.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Class;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn failure() -> Failure {
        Failure::new(Class::Exit, "it ended with code 1")
    }

    #[test]
    fn retries_are_at_most_the_share_of_first_attempts_and_ten() {
        let mut budget = RunBudget::new(0.2).unwrap();
        let now = now();
        for _ in 0..50 {
            budget.count_first_attempt(now);
        }
        let made = (0..100)
            .filter(|_| budget.take(&mut failure(), now))
            .count();
        assert_eq!((made, budget.refused()), (10 + 10, 80));
    }

    #[test]
    fn a_failure_that_is_not_tried_again_says_why() {
        let mut budget = RunBudget::new(0.2).unwrap();
        while budget.take(&mut failure(), now()) {}
        let mut last = failure();
        assert!(!budget.take(&mut last, now()));
        assert_eq!(
            last.message,
            "it ended with code 1 (not tried again: the retry budget of 20 % is used up)"
        );
    }

    #[test]
    fn a_share_above_one_is_refused_by_name() {
        let error = RunBudget::new(1.5).unwrap_err().to_string();
        assert!(
            error.contains("retry_budget") && error.contains("1.5"),
            "{error}"
        );
    }
}
