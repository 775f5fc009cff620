//! What came of a run, in figures.
//!
//! Three views of the same counting. [`Tally`] counts while the run goes on and becomes a [`Summary`] at its
//! end; [`LiveStats`] adds what only makes sense while it goes on, as its pace now and when it may end;
//! [`Results`] answers questions about outcomes that somebody has collected.
//!
//! What is counted where: a job counts once, under the status it ended with. *Failed*, in the plural sense
//! of a rate, are those that failed, timed out or crashed; cancelled and skipped jobs are neither successes
//! nor failures. Retries are attempts beyond the first one. Times are of jobs that ran: a cached result, a
//! skipped job and one that was cancelled while it waited have none, and would only make a run look quick.

mod durations;
mod live;
mod results;
mod tally;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use ratchet_ipc::JobKey;

pub use durations::{Durations, Spread};
pub use live::{ExecutionStats, LiveStats, QueueStatus};
pub use results::Results;
pub use tally::Tally;

use crate::breaker::BreakerReport;
use crate::outcome::{Milliseconds, Status};

/// How many jobs ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// They did what they should.
    pub succeeded: u64,
    /// They came to nothing.
    pub failed: u64,
    /// They took too long.
    pub timed_out: u64,
    /// Their workers died.
    pub crashed: u64,
    /// Nobody wanted them any more.
    pub cancelled: u64,
    /// A job they need did not succeed.
    pub skipped: u64,
}

impl Counts {
    /// Counts one more.
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

    /// How many there are of a status.
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

    /// Those that were done, well or not: a job that was cancelled or skipped took no work.
    pub fn done(&self) -> u64 {
        self.succeeded + self.failures()
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        Status::ALL.iter().map(|status| self.of(*status)).sum()
    }

    /// Those that failed, timed out or crashed.
    pub fn failures(&self) -> u64 {
        self.failed + self.timed_out + self.crashed
    }

    /// How many of a hundred succeeded; 0 if there are none at all.
    pub fn success_rate(&self) -> f64 {
        percent(self.succeeded, self.total())
    }

    /// How many of a hundred failed, timed out or crashed; 0 if there are none at all.
    pub fn failure_rate(&self) -> f64 {
        percent(self.failures(), self.total())
    }
}

/// What came of a run.
///
/// Serialised, it is the `summary` of a report; times are milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many jobs ended.
    pub total: u64,
    /// How they ended.
    #[serde(flatten)]
    pub counts: Counts,
    /// How many of those that succeeded did so with an earlier result.
    pub cached: u64,
    /// How many attempts there were beyond the first of each job.
    pub retries: u64,
    /// How long it took.
    #[serde(rename = "elapsed_ms", with = "milliseconds")]
    pub elapsed: Duration,
    /// How many jobs were done in a second. Those that were cancelled or skipped do not count.
    pub throughput: f64,
    /// How many of a hundred succeeded; 0 if there were none at all.
    pub success_rate: f64,
    /// How many of a hundred failed, timed out or crashed; 0 if there were none at all.
    pub failure_rate: f64,
    /// How long last attempts ran; nothing if none did.
    #[serde(rename = "run_ms", default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Spread>,
    /// How long those waited; nothing if none ran.
    #[serde(rename = "queue_ms", default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Spread>,
    /// How many attempts ran at once at the most.
    pub peak_concurrency: u64,
    /// How many workers were started in the place of one that had failed.
    pub worker_restarts: u64,
    /// Jobs that count as succeeded and whose results may be wrong: the filter that gave them proved to be out of
    /// step after they were reported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspects: Vec<JobKey>,
    /// What the breakers did that have opened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breakers: Vec<BreakerReport>,
    /// How many retries were not made because the retry budget was used up.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries_refused: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes what it may skip by reference"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Summary {
    /// Whether nothing came to anything but success, and no result is in doubt.
    pub fn all_successful(&self) -> bool {
        self.counts.succeeded == self.total && self.suspects.is_empty()
    }
}

/// The share of a total in percent; 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^53")]
fn percent(part: u64, total: u64) -> f64 {
    if total == 0 {
        return 0.0;
    }
    part as f64 / total as f64 * 100.0
}

/// How many a second; 0 in no time.
#[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^53")]
fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() {
        return 0.0;
    }
    count as f64 / elapsed.as_secs_f64()
}

/// Durations as milliseconds, to the microsecond.
mod milliseconds {
    use super::{Deserialize, Deserializer, Duration, Milliseconds, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Milliseconds(*duration).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        Milliseconds::deserialize(deserializer).map(|milliseconds| milliseconds.0)
    }
}
