//! What processes use of the machine.

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

impl ProcessUsage {
    /// Makes the usage of a process.
    pub fn new(memory: u64, processor_time: Duration) -> Self {
        Self {
            memory,
            processor_time,
        }
    }
}
