//! Figures about a run: how many jobs ended with which status, and how long they took.
//!
//! There are three views of the same counting. [`Tally`] counts during the run and becomes a [`Summary`] at its end.
//! [`LiveStats`] adds figures that make sense only during the run, such as its present speed and the remaining time.
//! [`Results`] answers questions about outcomes that a caller has collected.
//!
//! A job counts once, under the status that it ended with. *Failures*, as in the failure rate, are jobs that failed,
//! timed out or crashed. Cancelled and skipped jobs are neither successes nor failures. Retries are attempts beyond the
//! first one. Times are those of jobs that ran. A cached result, a skipped job and a job that was cancelled while it
//! waited have no run time and are left out, because they would make a run look faster than it was.

mod durations;
mod live;
mod results;
mod tally;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use ratchet_ipc::JobKey;

pub use durations::{DurationStats, Durations};
pub use live::{ExecutionStats, LiveStats, QueueStatus};
pub use results::Results;
pub use tally::Tally;

use crate::breaker::BreakerReport;
use crate::outcome::{Milliseconds, Status};

/// How many jobs ended with each status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Jobs that gave a result.
    pub succeeded: u64,
    /// Jobs that were refused, could not be started, or ran and failed.
    pub failed: u64,
    /// Jobs that took longer than they may.
    pub timed_out: u64,
    /// Jobs whose last attempt crashed its worker, or panicked in a closure.
    pub crashed: u64,
    /// Jobs that were stopped, alone or with their run, before they had ended.
    pub cancelled: u64,
    /// Jobs that never started because a job that they need did not succeed.
    pub skipped: u64,
}

impl Counts {
    /// Counts one more job of this status.
    pub fn add(&mut self, status: Status) {
        *match status {
            Status::Succeeded => &mut self.succeeded,
            Status::Failed => &mut self.failed,
            Status::TimedOut => &mut self.timed_out,
            Status::Crashed => &mut self.crashed,
            Status::Cancelled => &mut self.cancelled,
            Status::Skipped => &mut self.skipped,
        } += 1;
    }

    /// Returns the number of jobs of this status.
    pub fn of(&self, status: Status) -> u64 {
        match status {
            Status::Succeeded => self.succeeded,
            Status::Failed => self.failed,
            Status::TimedOut => self.timed_out,
            Status::Crashed => self.crashed,
            Status::Cancelled => self.cancelled,
            Status::Skipped => self.skipped,
        }
    }

    /// Returns the number of jobs that were worked on to their end: those that succeeded, failed, timed out or crashed.
    pub fn done(&self) -> u64 {
        self.succeeded + self.failures()
    }

    /// Returns the number of all jobs that ended.
    pub fn total(&self) -> u64 {
        Status::ALL.iter().map(|status| self.of(*status)).sum()
    }

    /// Returns the number of jobs that failed, timed out or crashed.
    pub fn failures(&self) -> u64 {
        self.failed + self.timed_out + self.crashed
    }

    /// Returns the share of jobs that succeeded, in percent; 0 if no job ended.
    pub fn success_rate(&self) -> f64 {
        percent(self.succeeded, self.total())
    }

    /// Returns the share of jobs that failed, timed out or crashed, in percent; 0 if no job ended.
    pub fn failure_rate(&self) -> f64 {
        percent(self.failures(), self.total())
    }
}

/// The figures of a run that has ended.
///
/// Serialised, it is the `summary` of a report. Its times are milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many jobs ended.
    pub total: u64,
    /// How many of them ended with each status.
    #[serde(flatten)]
    pub counts: Counts,
    /// How many of the jobs that succeeded used an earlier result and did not run.
    pub cached: u64,
    /// How many attempts there were beyond the first of each job.
    pub retries: u64,
    /// How many of the jobs that succeeded did so only after an attempt had failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub flaky: u64,
    /// How many jobs ran for longer than their terms call [slow](crate::Terms::slow).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub slow: u64,
    /// How long the run took. The parts of a run that was resumed are added up, without the breaks between them.
    #[serde(rename = "elapsed_ms", with = "milliseconds")]
    pub elapsed: Duration,
    /// How many jobs were done per second. Jobs that were cancelled or skipped do not count.
    pub throughput: f64,
    /// The share of jobs that succeeded, in percent; 0 if there were no jobs.
    pub success_rate: f64,
    /// The share of jobs that failed, timed out or crashed, in percent; 0 if there were no jobs.
    pub failure_rate: f64,
    /// How long the last attempt at each job ran. It is absent if no job ran.
    #[serde(rename = "run_ms", default, skip_serializing_if = "Option::is_none")]
    pub run: Option<DurationStats>,
    /// How long the jobs that ran had waited. It is absent if no job ran.
    #[serde(rename = "queue_ms", default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<DurationStats>,
    /// The highest number of attempts that ran at the same time.
    pub peak_concurrency: u64,
    /// How many workers were started to replace one that had failed.
    pub worker_restarts: u64,
    /// The jobs that count as succeeded although their results may be wrong, because the filter that gave these results
    /// proved to be out of step after they were reported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspects: Vec<JobKey>,
    /// How many jobs succeeded whose results could not be recorded. A run that resumes this one does them again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unrecorded: u64,
    /// A report for each breaker that opened during the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breakers: Vec<BreakerReport>,
    /// How many retries were not made because the retry budget was used up.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries_refused: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Summary {
    /// Whether every job succeeded and no result is suspect.
    pub fn all_successful(&self) -> bool {
        self.counts.succeeded == self.total && self.suspects.is_empty()
    }
}

/// Returns the share of a part in a total, in percent; 0 if the total is 0.
#[expect(clippy::cast_precision_loss, reason = "no count reaches 2^53")]
fn percent(part: u64, total: u64) -> f64 {
    if total == 0 {
        return 0.0;
    }
    part as f64 / total as f64 * 100.0
}

/// Returns the number per second; 0 if no time has passed.
#[expect(clippy::cast_precision_loss, reason = "no count reaches 2^53")]
fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() {
        return 0.0;
    }
    count as f64 / elapsed.as_secs_f64()
}

/// Serialises durations as milliseconds with three decimal places.
mod milliseconds {
    use super::{Deserialize, Deserializer, Duration, Milliseconds, Serialize, Serializer};

    /// Writes a duration as milliseconds with a fraction.
    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Milliseconds(*duration).serialize(serializer)
    }

    /// Reads a duration from milliseconds with a fraction.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        Milliseconds::deserialize(deserializer).map(|milliseconds| milliseconds.0)
    }
}
