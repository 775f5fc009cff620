//! What a run is made with: the executor, its pools, and who looks at the machine.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ratchet_caching::{MemoryCache, TaskCache, TieredCache};
use ratchet_runtime::monitor::{Admission, Admit, Gate, Monitor, Probe, Sampler};
use ratchet_runtime::process::{ProcessPool, ProcessSupervisor};
use ratchet_runtime::{
    Executor, ExecutorBuilder, Halt, Limit, MaxFailures, Ordering, RunHandle, Service, TaskName,
    Work,
};

use super::feed::Feed;
use super::rules::{Rules, max_failures};
use crate::args::terms::CacheMode;
use crate::error::CliError;
use crate::job_file::{Served, WorkerPlan};
use crate::map::HaltRule;

/// How often the machine is looked at, where new jobs depend on how it is.
const LOOK: Duration = Duration::from_secs(1);

/// How much memory a run may use for results that came up in it already: those of small jobs by the ten thousand. They
/// are found in a tenth of the time that the disk cache takes, and also while another process keeps that from writing.
const IN_MEMORY: u64 = 16 << 20;

/// The executor, but for its pools.
pub(super) fn executor(
    rules: &Rules,
    limits: Vec<(String, Limit)>,
    halt: Option<HaltRule>,
) -> ExecutorBuilder {
    let mut builder = Executor::builder()
        .slots(rules.slots)
        .needs_are_checked()
        .grace(rules.phases());
    for (name, limit) in limits {
        builder = builder.limit(name, limit);
    }
    if let Some((rule, how)) = halt.and_then(HaltRule::on_failures) {
        builder = builder.halt(rule, how);
    } else if let Some(rule) = rules.max_failures {
        builder = builder.max_failures(rule);
    }
    if let Some(deadline) = rules.deadline {
        builder = builder.deadline(deadline);
    }
    if rules.keep_order {
        builder = builder.ordering(Ordering::Submission);
    }
    if let Some(folder) = &rules.cache_dir {
        let cache = || {
            let memory = Arc::new(MemoryCache::new(IN_MEMORY));
            let disk = Arc::new(rules.cache_owner.cache(folder));
            TaskCache::new(Arc::new(TieredCache::new(memory, disk)))
        };
        match rules.cache {
            CacheMode::On => builder = builder.cache(cache()),
            CacheMode::Refresh => builder = builder.refresh_cache(cache()),
            CacheMode::Off => {}
        }
    }
    builder
}

/// The workers that jobs ask for, where that is known.
pub(super) fn needed(workers: Vec<WorkerPlan>, feed: &Feed) -> Vec<WorkerPlan> {
    let Feed::List(jobs) = feed else {
        return workers;
    };
    let tasks: HashSet<&TaskName> = jobs
        .iter()
        .filter_map(|job| match &job.work {
            Work::Task { task, .. } => Some(task),
            _ => None,
        })
        .collect();
    let is_needed = |worker: &WorkerPlan| match &worker.serves {
        Served::Everything => !tasks.is_empty(),
        Served::Tasks(served) => served.iter().any(|task| tasks.contains(task)),
    };
    workers.into_iter().filter(is_needed).collect()
}

/// Adds these workers.
pub(super) async fn staff(
    mut builder: ExecutorBuilder,
    supervisor: &ProcessSupervisor,
    workers: Vec<WorkerPlan>,
) -> Result<(ExecutorBuilder, Vec<ProcessPool>), CliError> {
    let mut pools = Vec::new();
    for worker in workers {
        let pool = supervisor.add(worker.pool).await?;
        builder = builder.pool(pool.clone(), services(worker.serves));
        pools.push(pool);
    }
    Ok((builder, pools))
}

fn services(serves: Served) -> Vec<Service> {
    match serves {
        Served::Everything => Vec::new(),
        Served::Tasks(tasks) => tasks.into_iter().map(Service::new).collect(),
    }
}

/// What looks at the machine, if that is wanted; refuses what will never be.
pub(super) fn probe(admission: &Admission) -> Result<Option<Sampler>, CliError> {
    if *admission == Admission::default() {
        return Ok(None);
    }
    let unsupported = |error: ratchet_runtime::monitor::MonitorError| {
        CliError::usage(error.to_string())
            .hint("leave out --memory-limit, --memory-free and --load")
    };
    let mut sampler = Sampler::new().map_err(unsupported)?;
    match admission.never(&sampler.read()) {
        Some(shortage) => Err(CliError::usage(format!(
            "no job would ever start: {shortage}"
        ))),
        None => Ok(Some(sampler)),
    }
}

/// Holds new jobs back while the machine is short of something.
pub(super) fn admit(
    admission: Admission,
    probe: Sampler,
    handle: RunHandle,
) -> Result<(), CliError> {
    let monitor =
        Monitor::new(probe, LOOK).map_err(|error| CliError::Internal(error.to_string()))?;
    let mut gate = Gate::new(admission);
    handle.hold(Some("the machine is looked at".to_owned()));
    tokio::spawn(monitor.watch(move |reading| {
        let running = handle.status().running as u64;
        handle.hold(match gate.decide(reading, running) {
            Admit::Go => None,
            Admit::Hold(shortage) => Some(shortage.to_string()),
        });
    }));
    Ok(())
}

impl HaltRule {
    /// Whether it waits for successes.
    pub(crate) fn is_goal(&self) -> bool {
        matches!(self.limit, crate::map::Limit::Successes(_))
    }

    /// The rule of failures that an executor keeps.
    fn on_failures(self) -> Option<(MaxFailures, Halt)> {
        let crate::map::Limit::Failures(amount) = self.limit else {
            return None;
        };
        let how = if self.now { Halt::Now } else { Halt::Soon };
        Some((max_failures(amount)?, how))
    }
}
