//! The options with which a job file is read, and the workers that it declares.

use std::time::Duration;

use ratchet_runtime::process::{PoolConfig, Prefetch, Size};
use ratchet_runtime::{BreakerConfig, Placement, TaskName};

use super::breaker::BreakerSetting;
use super::hosts::HostRegistry;
use super::resources::Resources;
use super::selection::{GroupPattern, Selection};
use super::terms::PartialTerms;

/// The flags and settings that hold for the jobs of a file.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlanOptions {
    /// The terms of flags. They take precedence over the defaults of the file, but not over its jobs and workers.
    pub(crate) flags: PartialTerms,
    /// The breaker of flags. It takes precedence over the defaults of the file, but not over its workers.
    pub(crate) breaker: BreakerSetting,
    /// The terms of settings. The defaults of the file take precedence over them.
    pub(crate) settings: PartialTerms,
    /// The worker of `--worker`, which serves every task of a file without `workers`.
    pub(crate) worker: Option<PoolConfig>,
    /// The settings for pools whose workers do not set them.
    pub(crate) pools: PoolDefaults,
    /// How many slots this machine has, if it is known. A job that needs more can never run here.
    pub(crate) slots: Option<u32>,
    /// The selection of the jobs of a file that are run.
    pub(crate) selection: Selection,
    /// The patterns of `--group-fail-fast`, for groups that are given up when one of their jobs fails.
    pub(crate) fail_fast: Vec<GroupPattern>,
    /// The resources of flags. They replace those of the file that have the same names.
    pub(crate) resources: Resources,
    /// Returns the variable of a setting that would hold a job's share of the resource of this name, if there is one. No
    /// resource of a file may have such a name.
    pub(crate) variable_of_setting: Option<fn(&str) -> Option<String>>,
    /// The hosts of inventories and flags, which are added to those of the file.
    pub(crate) hosts: HostRegistry,
    /// Whether work folders on hosts are kept when their jobs have ended.
    pub(crate) keep_remote: bool,
    /// Who does the jobs.
    pub(crate) performer: JobPerformer,
}

/// Who does the jobs of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum JobPerformer {
    /// This process does them, with the workers of the file.
    #[default]
    Here,
    /// The nodes of a queue do them, with their own workers and programs. The workers of the file only tell which tasks
    /// there are; a file without workers can name any task.
    Nodes,
    /// Nobody: this process is a node, which only needs the workers of the file.
    Nobody,
}

/// The settings for pools whose workers do not set them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PoolDefaults {
    /// The number of workers.
    pub(crate) size: Option<Size>,
    /// How many requests may wait in the pipe of a worker.
    pub(crate) prefetch: Option<Prefetch>,
    /// How long a worker has to end after it was asked to stop.
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

/// The breaker of commands and the retry budget, which keep a run from making attempts that are likely to fail.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BreakerAndBudget {
    /// The breaker of commands.
    pub(crate) breaker: Option<BreakerConfig>,
    /// How many retries the run may make, as a share of first attempts.
    pub(crate) retry_budget: Option<f64>,
}

impl BreakerAndBudget {
    /// Makes protection with a breaker and without a retry budget.
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
    /// The breaker of the workers.
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
