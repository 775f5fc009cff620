//! How a job ended, in one word.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a job ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The job gave a result.
    Succeeded,
    /// The job was refused, could not be started, or ran and failed.
    Failed,
    /// The job took longer than it may.
    TimedOut,
    /// The worker died, or a closure panicked, during the last attempt.
    Crashed,
    /// The run stopped before the job had ended, or the job was stopped by a user.
    Cancelled,
    /// A job that this one needs did not succeed.
    Skipped,
}

impl Status {
    /// All statuses, in the order of summaries.
    pub const ALL: [Self; 6] = [
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Crashed,
        Self::Cancelled,
        Self::Skipped,
    ];

    /// Returns the name of the status in result lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Crashed => "crashed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
