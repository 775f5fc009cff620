//! Whether a failed attempt is followed by another one.

use std::time::{Duration, Instant};

use ratchet_resilience::Rng;
use ratchet_resilience::retry::{RetryDecision, RetryHistory, Retryable};

use super::entry::Entry;
use crate::outcome::{Class, Failure};
use crate::scheduling::End;

/// Decides what follows the failure of an attempt.
pub(super) struct Retries {
    /// A job that takes so many workers with it fails for good.
    crash_limit: u32,
    rng: Rng,
    /// The run stops, so nothing is tried again.
    is_over: bool,
}

impl Retries {
    pub(super) fn new(crash_limit: u32, rng: Rng) -> Self {
        Self {
            crash_limit,
            rng,
            is_over: false,
        }
    }

    /// Nothing is tried again from now on.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    /// Decides what follows a failure of a job, which is made another failure if it was one too many.
    pub(super) fn judge(
        &mut self,
        entry: &mut Entry,
        failure: &mut Box<Failure>,
        now: Instant,
    ) -> End {
        if matches!(failure.class, Class::Crash | Class::Memory) {
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
                return End::Failed;
            }
        }
        let Some(policy) = &entry.job.terms.retry else {
            return End::Failed;
        };
        if self.is_over {
            return End::Failed;
        }
        let started = entry.first_start.unwrap_or(now);
        let history = entry
            .history
            .get_or_insert_with(|| Box::new(RetryHistory::new(started)));
        match history.record_failure(&**policy, &**failure, now, &mut self.rng) {
            RetryDecision::Retry { at } => End::Again(at),
            RetryDecision::GiveUp { .. } => End::Failed,
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
