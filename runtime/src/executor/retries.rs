//! Decides whether another attempt follows a failed one.

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
    /// How many workers a job may crash before it fails as poison.
    crash_limit: u32,
    /// How many retries the whole run may make; `None` is no limit.
    budget: Option<RunBudget>,
    rng: Rng,
    /// Whether the run stops, so that no job is tried again.
    is_over: bool,
}

impl Retries {
    /// Makes the rules for retries of a run. Without a budget, only the policies of the jobs limit them.
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

    /// Counts an attempt that has ended. The first attempt of a job adds to the budget of the run.
    pub(super) fn count_attempt(&mut self, entry: &JobEntry, now: Instant) {
        if let (Some(budget), 1) = (&mut self.budget, entry.attempts) {
            budget.count_first_attempt(now);
        }
    }

    /// Returns how many retries were not made because the budget of the run was used up.
    pub(super) fn refused(&self) -> u64 {
        self.budget.as_ref().map_or(0, RunBudget::refused)
    }

    /// Decides what follows a failed attempt. A retry is only made if the budget of the run allows it.
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

    /// Decides what follows when a breaker has rejected a job. No attempt was made, so a retry takes nothing from the
    /// budget.
    ///
    /// If the job has crashed too many workers, its failure is replaced by one of class `poison`.
    pub(super) fn judge_rejection(
        &mut self,
        entry: &mut JobEntry,
        failure: &mut Box<Failure>,
        now: Instant,
    ) -> AfterAttempt {
        // A command that runs out of memory ends without harm to a worker.
        let is_command = matches!(entry.job.work, Work::Command(_));
        let took_worker = match failure.class {
            Class::Crash => true,
            Class::Memory => !is_command,
            _ => false,
        };
        if took_worker {
            entry.crashes += 1;
            if entry.crashes >= self.crash_limit && entry.job.terms.retry.is_some() {
                let message = format!("it crashed {} workers: {}", entry.crashes, failure.message);
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
        // A job that a breaker has rejected may not have started yet.
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
