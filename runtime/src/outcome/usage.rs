//! The usage of the machine by an attempt.

use std::time::Duration;

use crate::os::ProcessCost;

/// The usage of the machine by an attempt. Unknown values are absent, never 0.
///
/// It is known for commands that ran on the machine of the executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AttemptUsage {
    /// The processor time of the program, and of the processes that it started and waited for.
    pub cpu: Option<Duration>,
    /// The peak memory in bytes of the largest of these processes.
    ///
    /// A program begins in the memory of the process that starts it, and the system includes that memory. So a peak is
    /// known only if it is greater than that of this process.
    pub max_rss: Option<u64>,
    /// How many bytes the program printed to stdout and stderr.
    pub output_bytes: Option<u64>,
}

impl AttemptUsage {
    /// Returns the usage of a program that was reaped with this cost, if that is known, and printed this many bytes.
    pub(crate) fn of_program(cost: Option<ProcessCost>, output_bytes: u64) -> Option<Self> {
        if cost.is_none() && output_bytes == 0 {
            return None; // It may never have begun.
        }
        Some(Self {
            cpu: cost.map(|cost| cost.cpu),
            max_rss: cost.and_then(|cost| cost.max_rss),
            output_bytes: Some(output_bytes),
        })
    }
}
