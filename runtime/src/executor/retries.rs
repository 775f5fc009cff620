//! Whether a failed attempt is followed by another one.

use std::time::{Duration, Instant};

use ratchet_resilience::Rng;
use ratchet_resilience::retry::{RetryDecision, RetryHistory, Retryable};

use super::entry::JobEntry;
use super::run_budget::RunBudget;
use crate::job::Work;
use crate::outcome::{Class, Failure};
use crate::scheduling::AfterAttempt;

/// Decides what follows the failure of an attempt.
pub(super) struct Retries {
    /// How many workers a job may crash before it fails for good.
    crash_limit: u32,
    /// How many retries the whole run may make; none if that is not limited.
    budget: Option<RunBudget>,
    rng: Rng,
    /// The run stops, so nothing is tried again.
    is_over: bool,
}

impl Retries {
    /// Makes the rules for retries of a run; without a budget, only the jobs' own policies bound them.
    pub(super) fn new(crash_limit: u32, budget: Option<RunBudget>, rng: Rng) -> Self {
        Self {
            crash_limit,
            budget,
            rng,
            is_over: false,
        }
    }

    /// Ends retries: from now on, a failed attempt ends its job.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    /// Counts an attempt that has ended, by which the budget of the run grows if it is the first of its job.
    pub(super) fn count_attempt(&mut self, entry: &JobEntry, now: Instant) {
        if let (Some(budget), 1) = (&mut self.budget, entry.attempts) {
            budget.count_first_attempt(now);
        }
    }

    /// How many retries were not made because the budget of the run was used up.
    pub(super) fn refused(&self) -> u64 {
        self.budget.as_ref().map_or(0, RunBudget::refused)
    }

    /// Decides what follows a failed attempt. A retry that the budget of the run does not allow is not made.
    pub(super) fn decide(
        &mut self,
        entry: &mut JobEntry,
        failure: &mut Box<Failure>,
        now: Instant,
    ) -> AfterAttempt {
        let end = self.judge_rejection(entry, failure, now);
        let is_retry = matches!(end, AfterAttempt::Again(_));
        let budget = self.budget.as_mut().filter(|_| is_retry);
        if budget.is_none_or(|budget| budget.take(failure, now)) {
            end
        } else {
            AfterAttempt::Over
        }
    }

    /// Decides what follows when a breaker has rejected a job. No attempt was made, so a retry costs the budget nothing.
    ///
    /// As for a failed attempt, the failure of a job is made another failure if it was one too many.
    pub(super) fn judge_rejection(
        &mut self,
        entry: &mut JobEntry,
        failure: &mut Box<Failure>,
        now: Instant,
    ) -> AfterAttempt {
        // A command has taken no worker with it.
        let is_command = matches!(entry.job.work, Work::Command(_));
        let took_worker = match failure.class {
            Class::Crash => true,
            Class::Memory => !is_command,
            _ => false,
        };
        if took_worker {
            entry.crashes += 1;
            if entry.crashes >= self.crash_limit && entry.job.terms.retry.is_some() {
                let message = format!(
                    "it took {} workers with it: {}",
                    entry.crashes, failure.message
                );
                **failure = Failure {
                    class: Class::Poison,
                    message,
                    retryable: false,
                    ..(**failure).clone()
                };
                return AfterAttempt::Over;
            }
        }
        let Some(policy) = &entry.job.terms.retry else {
            return AfterAttempt::Over;
        };
        if self.is_over {
            return AfterAttempt::Over;
        }
        // One that a breaker has rejected may not have started yet.
        let started = entry.first_start.unwrap_or(now);
        let history = entry
            .history
            .get_or_insert_with(|| Box::new(RetryHistory::new(started)));
        match history.record_failure(&**policy, &**failure, now, &mut self.rng) {
            RetryDecision::Retry { at } => AfterAttempt::Again(at),
            RetryDecision::GiveUp { .. } => AfterAttempt::Over,
        }
    }
}

impl Retryable for Failure {
    fn is_retryable(&self) -> bool {
        self.retryable
    }

    fn is_cancellation(&self) -> bool {
        self.class == Class::Cancelled
    }

    fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    fn class(&self) -> &str {
        self.class.as_str()
    }
}
