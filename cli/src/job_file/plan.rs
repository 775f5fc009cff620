//! What a job file comes to.

use std::time::Duration;

use ratchet_runtime::process::{PoolConfig, Prefetch, Size};
use ratchet_runtime::{Job, Limit, TaskName};

use super::stream::Lines;
use super::terms::PartialTerms;
use crate::diagnostic::Report;

/// What was said outside the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// What was typed: before the file's defaults, after its jobs and workers.
    pub(crate) flags: PartialTerms,
    /// What the environment and the config files say: after the file's defaults.
    pub(crate) settings: PartialTerms,
    /// One worker for every task, where the file has no `workers`.
    pub(crate) worker: Option<PoolConfig>,
    /// What holds for workers that say nothing.
    pub(crate) pools: PoolDefaults,
    /// How many slots there are, if it is known: a job that needs more can never run.
    pub(crate) slots: Option<u32>,
}

/// What holds for workers that say nothing of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PoolDefaults {
    pub(crate) size: Option<Size>,
    pub(crate) prefetch: Option<Prefetch>,
    pub(crate) grace: Option<Duration>,
}

impl PoolDefaults {
    pub(crate) fn apply(&self, pool: &mut PoolConfig) {
        pool.size = self.size.unwrap_or(pool.size);
        pool.prefetch = self.prefetch.unwrap_or(pool.prefetch);
        pool.grace = self.grace.unwrap_or(pool.grace);
    }
}

/// A job file that was read and found sound, as far as one can tell without running it.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The kinds of workers, in the order of the file.
    pub(crate) workers: Vec<WorkerPlan>,
    pub(crate) limits: Vec<(String, Limit)>,
    pub(crate) jobs: Jobs,
    /// What is odd, but no reason to stop.
    pub(crate) warnings: Report,
}

#[derive(Debug, Clone)]
pub(crate) struct WorkerPlan {
    pub(crate) pool: PoolConfig,
    pub(crate) serves: Served,
}

/// Which tasks a kind of worker serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Served {
    Tasks(Vec<TaskName>),
    Everything,
}

#[derive(Debug)]
pub(crate) enum Jobs {
    /// All of them, in the order of the file, and that in which each comes after its needs.
    Listed { jobs: Vec<Job>, order: Vec<usize> },
    /// One after the other. A need names an earlier one.
    Streamed(Box<Lines>),
}
