//! What a job file is read with, and the workers that it asks for.

use std::time::Duration;

use ratchet_runtime::process::{PoolConfig, Prefetch, Size};
use ratchet_runtime::{BreakerConfig, Placement, TaskName};

use super::breaker::PartialBreaker;
use super::hosts::HostRegistry;
use super::resources::Resources;
use super::selection::{GroupPattern, Selection};
use super::terms::PartialTerms;

/// The flags and settings that hold for the jobs of a file.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlanOptions {
    /// The flags, which come before the file's defaults and after its jobs and workers.
    pub(crate) flags: PartialTerms,
    /// The breaker of the flags, which comes before the file's defaults and after its workers.
    pub(crate) breaker: PartialBreaker,
    /// The settings, which come after the file's defaults.
    pub(crate) settings: PartialTerms,
    /// One worker for every task of a file without `workers`.
    pub(crate) worker: Option<PoolConfig>,
    /// The settings of pools whose workers do not set them.
    pub(crate) pools: PoolDefaults,
    /// How many slots this machine has, if it is known. A job that needs more can never run here.
    pub(crate) slots: Option<u32>,
    /// Which jobs of a file are run.
    pub(crate) selection: Selection,
    /// The groups of which the first job that fails ends the others.
    pub(crate) fail_fast: Vec<GroupPattern>,
    /// The resources of flags, which come before those of the file.
    pub(crate) resources: Resources,
    /// The hosts of inventories and flags, which come before those of the file.
    pub(crate) hosts: HostRegistry,
    /// Whether work folders on hosts stay when their jobs have ended.
    pub(crate) keep_remote: bool,
}

/// The settings of pools whose workers do not set them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PoolDefaults {
    /// The number of workers.
    pub(crate) size: Option<Size>,
    /// The prefetch of the workers.
    pub(crate) prefetch: Option<Prefetch>,
    /// How long a worker has when it is asked to stop.
    pub(crate) grace: Option<Duration>,
}

impl PoolDefaults {
    /// Sets the settings that are not `None` in a pool.
    pub(crate) fn apply(&self, pool: &mut PoolConfig) {
        pool.size = self.size.unwrap_or(pool.size);
        pool.prefetch = self.prefetch.unwrap_or(pool.prefetch);
        pool.grace = self.grace.unwrap_or(pool.grace);
    }
}

/// The breaker of commands and the retry budget, which keep a run from making attempts in vain.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BreakerAndBudget {
    /// The breaker before commands.
    pub(crate) breaker: Option<BreakerConfig>,
    /// How many retries are allowed for each first attempt.
    pub(crate) retry_budget: Option<f64>,
}

impl BreakerAndBudget {
    /// A breaker and no retry budget.
    pub(crate) fn by(breaker: Option<BreakerConfig>) -> Self {
        Self {
            breaker,
            retry_budget: None,
        }
    }
}

/// A kind of worker that a job file declares.
#[derive(Debug, Clone)]
pub(crate) struct WorkerPlan {
    /// The settings of its pool.
    pub(crate) pool: PoolConfig,
    /// The tasks that it serves.
    pub(crate) serves: ServedTasks,
    /// The breaker before the workers.
    pub(crate) breaker: Option<BreakerConfig>,
    /// Where the workers run.
    pub(crate) on: Placement,
}

/// The tasks that a kind of worker serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServedTasks {
    /// The worker serves these tasks.
    Named(Vec<TaskName>),
    /// The worker serves every task.
    Everything,
}
