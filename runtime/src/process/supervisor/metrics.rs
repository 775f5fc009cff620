//! The figures of a pool.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::WorkerName;

/// The figures of a pool: what it has done so far, and what it has now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PoolMetrics {
    /// How many workers were started.
    pub spawned: u64,
    /// How many workers there are.
    pub size: u32,
    /// How many of the workers are busy.
    pub busy: u32,
    /// How many workers ended unexpectedly, by cause.
    pub failures: BTreeMap<&'static str, u64>,
    /// How many workers were ended on purpose, by cause.
    pub retired: BTreeMap<&'static str, u64>,
    /// How many jobs were done.
    pub jobs: u64,
    /// How many jobs each living worker has done.
    pub jobs_by_worker: Vec<(WorkerName, u64)>,
    /// The share of time for which the living workers have been busy since their starts, from 0 to 1.
    pub busy_share: f64,
    /// How long there has been more work than the workers can take.
    pub queue_age: Duration,
    /// How many bytes of memory the living workers use, with all that they have started. It is measured only where a
    /// memory limit is set, and 0 elsewhere.
    pub rss: u64,
}

/// The counters of a pool that cover its whole life.
#[derive(Debug, Default)]
pub(super) struct PoolCounts {
    /// How many workers were started.
    pub(super) spawned: u64,
    /// How many attempts the workers have ended.
    pub(super) jobs: u64,
    /// How many workers failed, by cause.
    pub(super) failures: BTreeMap<&'static str, u64>,
    /// How many workers ended although nothing was wrong with them, by cause.
    pub(super) retired: BTreeMap<&'static str, u64>,
}

impl PoolCounts {
    /// Counts a worker that has ended.
    pub(super) fn ended(&mut self, cause: &'static str, unexpected: bool) {
        let counts = if unexpected {
            &mut self.failures
        } else {
            &mut self.retired
        };
        *counts.entry(cause).or_default() += 1;
    }
}
