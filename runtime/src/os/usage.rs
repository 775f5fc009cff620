//! The usage of the machine by processes.

use std::time::Duration;

/// The memory and the processor time that a process uses together with its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProcessUsage {
    /// The resident memory of the living members of the group, in bytes.
    pub memory: u64,
    /// The processor time that the living members have used so far, and those of their children that were reaped.
    pub processor_time: Duration,
}

/// The cost of a process that has ended and was reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessCost {
    /// The processor time of the process, and of those of its descendants that were waited for.
    pub cpu: Duration,
    /// The peak of the resident memory in bytes of the largest of them. It is `None` if it is not greater than the peak
    /// of this process, which the system counts as that of each process that this one starts.
    pub max_rss: Option<u64>,
}

impl ProcessUsage {
    /// Makes the usage of a process.
    pub fn new(memory: u64, processor_time: Duration) -> Self {
        Self {
            memory,
            processor_time,
        }
    }
}
