//! Builds what a run needs: the executor, its pools, and the monitor of the machine.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ratchet_caching::{MemoryCache, TaskCache, TieredCache};
use ratchet_runtime::monitor::{
    AdmissionDecision, AdmissionGate, AdmissionLimits, Monitor, Probe, Reading, Sampler,
};
use ratchet_runtime::process::{ProcessPool, ProcessSupervisor, Size};
use ratchet_runtime::{
    Executor, ExecutorBuilder, Limit, OutcomeOrder, PlaceName, Placement, RunHandle, Service,
    TaskName, Work,
};

use super::hosts::StartedHosts;
use super::job_source::JobSource;
use super::options::RunOptions;
use crate::args::terms::CacheMode;
use crate::error::CliError;
use crate::job_file::{BreakerAndBudget, Resources, ServedTasks, WorkerPlan};
use crate::map::HaltRule;

/// How often memory and load are measured, if new jobs depend on them.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// How many bytes of cached results a run keeps in memory: the small results of some ten thousand jobs. A hit in memory
/// takes a tenth of the time of a hit on disk, and is possible while another process keeps the disk cache locked.
const MEMORY_CACHE_BYTES: u64 = 16 << 20;

/// Makes the executor, without its pools.
pub(super) fn executor(
    options: &RunOptions,
    limits: Vec<(String, Limit)>,
    resources: Resources,
    protection: BreakerAndBudget,
    halt: Option<HaltRule>,
) -> ExecutorBuilder {
    let mut builder = Executor::builder()
        .slots(options.slots)
        .needs_are_checked()
        .grace(options.phases());
    for (name, limit) in limits {
        builder = builder.limit(name, limit);
    }
    for (name, resource) in resources {
        builder = builder.resource(name, resource);
    }
    if let Some(breaker) = protection.breaker {
        builder = builder.breaker(breaker);
    }
    if let Some(share) = protection.retry_budget {
        builder = builder.retry_budget(share);
    }
    if let Some(slots) = options.total_slots {
        builder = builder.total_slots(slots);
    }
    if let Some((rule, how)) = halt.and_then(HaltRule::failure_limit) {
        builder = builder.halt(rule, how);
    } else if let Some(rule) = options.max_failures {
        builder = builder.max_failures(rule);
    }
    if let Some((goal, how)) = halt.and_then(HaltRule::success_goal) {
        builder = builder.halt_on_success(goal, how);
    }
    if let Some(deadline) = options.deadline {
        builder = builder.deadline(deadline);
    }
    if options.keep_order {
        builder = builder.ordering(OutcomeOrder::Submission);
    }
    if let Some(folder) = &options.cache_dir {
        let cache = || {
            let memory = Arc::new(MemoryCache::new(MEMORY_CACHE_BYTES));
            let disk = Arc::new(options.cache_owner.cache(folder));
            TaskCache::new(Arc::new(TieredCache::new(memory, disk)))
        };
        match options.cache {
            CacheMode::On => builder = builder.cache(cache()),
            CacheMode::Refresh => builder = builder.refresh_cache(cache()),
            CacheMode::Off => {}
        }
    }
    builder
}

/// Returns the workers whose tasks the jobs name. The jobs of a stream are not known, so it needs all workers.
pub(super) fn needed_workers(workers: Vec<WorkerPlan>, jobs: &JobSource) -> Vec<WorkerPlan> {
    let JobSource::List(jobs) = jobs else {
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
        ServedTasks::Everything => !tasks.is_empty(),
        ServedTasks::Named(served) => served.iter().any(|task| tasks.contains(task)),
    };
    workers.into_iter().filter(is_needed).collect()
}

/// Adds the pools of each kind of worker: one at each place where its workers run.
pub(super) async fn add_pools(
    mut builder: ExecutorBuilder,
    supervisor: &ProcessSupervisor,
    hosts: &StartedHosts,
    workers: Vec<WorkerPlan>,
) -> Result<(ExecutorBuilder, Vec<ProcessPool>), CliError> {
    let mut all = Vec::new();
    for worker in workers {
        let WorkerPlan {
            pool: config,
            serves,
            breaker,
            on,
        } = worker;
        let name = config.name.clone();
        let mut pools = Vec::new();
        for place in pool_places(&on, hosts) {
            let pool = match hosts.get(&place) {
                None => supervisor.add(config.clone()).await?,
                Some(host) => {
                    let mut config = config.clone();
                    config.name = format!("{name}@{place}");
                    if let Some(slots) = host.slots {
                        // A pool needs no more workers than can have a job at once.
                        config.size =
                            Size::between(config.size.min.min(slots), config.size.max.min(slots));
                    }
                    host.supervisor.add(config).await?
                }
            };
            pools.push((place, pool));
        }
        all.extend(pools.iter().map(|(_, pool)| pool.clone()));
        builder = builder.breaker_of(&name, breaker);
        builder = builder.pools_at(name, pools, on, services(serves));
    }
    Ok((builder, all))
}

/// Returns the places where workers with this placement run.
fn pool_places(on: &Placement, hosts: &StartedHosts) -> Vec<PlaceName> {
    match on {
        Placement::Here => vec![PlaceName::LOCAL],
        Placement::Host => hosts.iter().map(|(name, _)| name.clone()).collect(),
        Placement::Among(places) => places.to_vec(),
    }
}

/// Returns the services of a pool; none if the pool serves every task.
fn services(serves: ServedTasks) -> Vec<Service> {
    match serves {
        ServedTasks::Everything => Vec::new(),
        ServedTasks::Named(tasks) => tasks.into_iter().map(Service::new).collect(),
    }
}

/// Makes the sampler of memory and load, if new jobs depend on them. A limit that this machine can never meet is
/// refused.
pub(super) fn machine_sampler(admission: &AdmissionLimits) -> Result<Option<Sampler>, CliError> {
    if *admission == AdmissionLimits::default() {
        return Ok(None);
    }
    let unsupported = |error: ratchet_runtime::monitor::MonitorError| {
        CliError::usage(error.to_string())
            .with_help("leave out --memory-limit, --memory-free and --load")
    };
    let mut sampler = Sampler::new().map_err(unsupported)?;
    match admission.never(&sampler.read()) {
        Some(shortage) => Err(CliError::usage(format!(
            "no job would ever start: {shortage}"
        ))),
        None => Ok(Some(sampler)),
    }
}

/// The reason why nothing starts before the first reading of a machine.
const MEASURING: &str = "memory and load are being measured";

/// Holds new jobs back on this machine while it has too little memory or too much load. If it `is_alone`, there are no
/// other hosts, and the whole run is held back.
pub(super) fn watch_machine(
    admission: AdmissionLimits,
    sampler: Sampler,
    handle: RunHandle,
    is_alone: bool,
) -> Result<(), CliError> {
    let monitor = Monitor::new(sampler, SAMPLE_INTERVAL).map_err(|error| {
        CliError::internal("the memory and load of this machine cannot be measured").because(error)
    })?;
    let mut gate = AdmissionGate::new(admission);
    let hold = move |handle: &RunHandle, reason| {
        if is_alone {
            handle.hold(reason);
        } else {
            handle.hold_place(PlaceName::LOCAL, reason);
        }
    };
    hold(&handle, Some(MEASURING.to_owned()));
    tokio::spawn(monitor.watch(move |reading| {
        let reason = shortage(&mut gate, reading, &PlaceName::LOCAL, &handle);
        hold(&handle, reason);
    }));
    Ok(())
}

/// Holds new jobs back on each host while its agent reports too little memory or too much load there.
pub(super) fn watch_hosts(admission: AdmissionLimits, hosts: &StartedHosts, handle: &RunHandle) {
    for (name, host) in hosts.with_agents() {
        let (name, mut health, handle) = (name.clone(), host.health(), handle.clone());
        let mut gate = AdmissionGate::new(admission);
        tokio::spawn(async move {
            loop {
                let machine = health.borrow_and_update().machine;
                let reason = match machine {
                    Some(reading) => shortage(&mut gate, &reading, &name, &handle),
                    None => Some(MEASURING.to_owned()),
                };
                handle.hold_place(
                    name.clone(),
                    reason.map(|reason| format!("{name}: {reason}")),
                );
                if health.changed().await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Returns why no new jobs may start on a machine, if there is a reason. Idle workers free no memory, so only the
/// running jobs of this place count.
fn shortage(
    gate: &mut AdmissionGate,
    reading: &Reading,
    place: &PlaceName,
    handle: &RunHandle,
) -> Option<String> {
    let running = handle.running_at(place) as u64;
    match gate.decide(reading, running) {
        AdmissionDecision::Start => None,
        AdmissionDecision::Hold(shortage) => Some(shortage.to_string()),
    }
}
