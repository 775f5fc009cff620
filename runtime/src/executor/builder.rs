//! The builder of an executor.

use std::ffi::OsString;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ratchet_caching::{Clock, FileHasher, TaskCache};
use ratchet_ipc::TaskName;
use ratchet_resilience::shutdown::{Grace, PhaseClock};

use super::kept_stats::StatsSink;
use super::kinds::{KindOfWorker, Tasks};
use super::ledger::Ledger;
use super::needs::RetainedJobs;
use super::outcome_order::OutcomeOrder;
use super::plan::RunSettings;
use super::pools::{KindPools, PoolSource};
use super::reuse::CacheUse;
use super::run::Executor;
use super::run_budget::RunBudget;
use super::runner::Runner;
use super::service::Service;
use super::sinks::Sink;
use super::stop::{Halt, MaxFailures, SuccessGoal};
use crate::Error;
use crate::breaker::BreakerConfig;
use crate::ids::PlaceName;
use crate::job::Placement;
use crate::monitor::ResourceMonitor;
use crate::os::Keeper;
use crate::place::Place;
use crate::process::ProcessPool;
use crate::scheduling::{
    Ageing, Limit, ParallelizationHint, Resource, Scheduler, check_resource_name,
};
use crate::trace_context::RunTrace;

/// Builds an [`Executor`]. The defaults suit a single machine.
///
/// ```
/// use std::time::Duration;
/// use ratchet_runtime::{Executor, Limit, MaxFailures};
///
/// let executor = Executor::builder()
///     .slots(8)
///     .limit("api", Limit::rate("10/s".parse()?, 2)?)
///     .max_failures(MaxFailures::percent(25.0))
///     .deadline(Duration::from_secs(3600))
///     .build()?;
///
/// let refused = Executor::builder().slots(0).build().unwrap_err();
/// assert_eq!(refused.to_string(), "slots of 0 would run nothing; the least is 1");
/// # Ok::<(), ratchet_runtime::Error>(())
/// ```
#[derive(Default)]
#[must_use = "nothing is checked or made before `build`"]
pub struct ExecutorBuilder {
    /// The number of slots that was set; without it, there are as many as the machine has cores.
    pub(super) slots: Option<u32>,
    /// All other settings, in the form in which a run takes them.
    pub(super) plan: RunSettings,
    /// The runner that performs the tasks in `tasks`.
    pub(super) runner: Option<Arc<dyn Runner>>,
    /// The tasks that the runner performs, each with the hint of its jobs.
    pub(super) tasks: Vec<(TaskName, ParallelizationHint)>,
    /// A text that becomes part of every cache key; `build` refuses it without a cache.
    pub(super) salt: Option<String>,
    /// The cache, and whether results are only stored in it and not taken from it.
    pub(super) cache: Option<(TaskCache, bool)>,
}

// This `impl` is here and not beside `Executor`, so that the builder depends on the executor and not the other way
// around.
impl Executor {
    /// Returns a builder with the defaults, which the methods of the builder name.
    pub fn builder() -> ExecutorBuilder {
        ExecutorBuilder::default()
    }
}

impl ExecutorBuilder {
    /// Sets how many slots all running jobs may fill together; by default, as many as there are cores.
    pub fn slots(mut self, slots: u32) -> Self {
        self.slots = Some(slots);
        self
    }

    /// Sets how many jobs the run holds at once: waiting, running, and ended but not taken by anybody yet. The default
    /// is 4096. Memory grows with this number.
    ///
    /// Jobs beyond the window cannot start, whatever their priority, even if all jobs in it wait for one limit. So jobs
    /// that have to start early come first.
    ///
    /// The run takes in fewer jobs while their inputs and results have 64 MiB in all, but always at least one. It also
    /// takes in fewer jobs while jobs end so fast that more in the queue would be of no use.
    pub fn window(mut self, jobs: usize) -> Self {
        self.plan.window = jobs;
        self
    }

    /// Sets a variable in the environment of every command, unless the command sets it itself.
    pub fn command_variable(
        mut self,
        name: impl Into<OsString>,
        value: impl Into<OsString>,
    ) -> Self {
        self.plan
            .command_variables
            .push((name.into(), value.into()));
        self
    }

    /// Sets the place of the runs in a distributed trace. Each command is told the span of its attempt in the variable
    /// [`TRACE_PARENT_VARIABLE`](crate::TRACE_PARENT_VARIABLE), each worker in the field `traceparent` of its requests, and a
    /// runner or closure by [`Context::trace_parent`](crate::Context::trace_parent). Nothing is recorded: that is the task of a
    /// [`Sink`](crate::Sink), which computes the same spans.
    pub fn trace(mut self, trace: RunTrace) -> Self {
        self.plan.trace = Some(trace);
        self
    }

    /// Sets how the priority of a job rises with the time that it has waited.
    pub fn ageing(mut self, ageing: Ageing) -> Self {
        self.plan.scheduling.ageing = ageing;
        self
    }

    /// Declares a limit that jobs can name.
    pub fn limit(mut self, name: impl Into<String>, limit: Limit) -> Self {
        self.plan.scheduling.limits.push((name.into(), limit));
        self
    }

    /// Declares a resource of which jobs can take units.
    pub fn resource(mut self, name: impl Into<String>, resource: Resource) -> Self {
        self.plan.scheduling.resources.push((name.into(), resource));
        self
    }

    /// Sets the runner that performs the jobs that name a task.
    pub fn runner(mut self, runner: impl Runner + 'static) -> Self {
        self.runner = Some(Arc::new(runner));
        self
    }

    /// Sets a runner that runs commands instead of the executor. The runner then has to enforce the timeouts of
    /// commands, too.
    pub fn command_runner(mut self, runner: impl Runner + 'static) -> Self {
        self.plan.command_override = Some(Arc::new(runner));
        self
    }

    /// Declares a task that the runner knows, with the hint for those of its jobs that set none. If any task is
    /// declared, a job that names another task fails without being run.
    pub fn task(mut self, task: impl Into<TaskName>, hint: ParallelizationHint) -> Self {
        self.tasks.push((task.into(), hint));
        self
    }

    /// Remembers every job of a stream, so that later jobs can need jobs that have ended. Memory then grows with the
    /// length of the stream. A list needs no such setting.
    ///
    /// ```
    /// use ratchet_runtime::{Executor, Job, Payload};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ratchet_runtime::Error> {
    /// let step = |id: &str| Job::closure(id, |_| async { Ok(Payload::null()) });
    /// let executor = Executor::builder().slots(2).remember(true).build()?;
    /// // The second step may have to be told of a first one that ended long ago.
    /// let steps = [step("download"), step("unpack").needs(["download"])];
    /// let mut run = executor.run(steps)?;
    /// while let Some(outcome) = run.next().await {
    ///     assert!(outcome.is_success());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn remember(mut self, remember: bool) -> Self {
        self.plan.memory = if remember {
            RetainedJobs::All
        } else {
            RetainedJobs::Nothing
        };
        self
    }

    /// States that the caller has checked that each need in a stream names an earlier job. Only jobs that did not
    /// succeed are then remembered, so memory grows with their number.
    pub fn needs_are_checked(mut self) -> Self {
        self.plan.memory = RetainedJobs::Losses;
        self
    }

    /// How many workers a job may crash before it fails for good, unless [`crash_limit`](Self::crash_limit) sets another number.
    pub const CRASH_LIMIT: u32 = super::plan::CRASH_LIMIT;

    /// Sets how many workers a job may crash before it fails for good; [`CRASH_LIMIT`](Self::CRASH_LIMIT) by default.
    pub fn crash_limit(mut self, crashes: u32) -> Self {
        self.plan.crash_limit = crashes;
        self
    }

    /// Stops the run with [`Halt::Soon`] after this many failures. Without a rule, all jobs are run.
    pub fn max_failures(self, rule: MaxFailures) -> Self {
        self.halt(rule, Halt::Soon)
    }

    /// Sets after how many failures the run stops, and how it stops then.
    pub fn halt(mut self, rule: MaxFailures, halt: Halt) -> Self {
        self.plan.max_failures = Some((rule, halt));
        self
    }

    /// Sets how many jobs have to succeed before the run stops, and how it stops then. No job starts after the success
    /// that reaches the goal.
    pub fn halt_on_success(mut self, goal: SuccessGoal, halt: Halt) -> Self {
        self.plan.success_goal = Some((goal, halt));
        self
    }

    /// Sets how long a run may take. After that, running jobs are asked to stop, and no job starts.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ratchet_runtime::{Class, Executor, Failure, Job, Payload, Status, Terms, Timeouts};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), ratchet_runtime::Error> {
    /// let takes = |id: &str, seconds| {
    ///     Job::closure(id, move |context| async move {
    ///         tokio::select! {
    ///             () = tokio::time::sleep(Duration::from_secs(seconds)) => Ok(Payload::null()),
    ///             () = context.cancelled() => {
    ///                 Err(Failure::new(Class::Cancelled, "interrupted"))
    ///             }
    ///         }
    ///     })
    /// };
    /// // One job's own limit, and one for all of them together.
    /// let ten = Terms { timeouts: Timeouts::after(Duration::from_secs(10)), ..Terms::default() };
    /// let jobs = [takes("quick", 5), takes("slow", 20).terms(ten), takes("endless", 100_000)];
    ///
    /// let executor = Executor::builder().slots(3).deadline(Duration::from_secs(30)).build()?;
    /// let outcomes = executor.run_all(jobs).await?;
    /// let ends: Vec<Status> = outcomes.iter().map(|outcome| outcome.status()).collect();
    /// assert_eq!(ends, [Status::Succeeded, Status::TimedOut, Status::Cancelled]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.plan.deadline = Some(deadline);
        self
    }

    /// Sets how long each phase of a shutdown may take.
    pub fn grace(mut self, grace: Grace) -> Self {
        self.plan.grace = grace;
        self
    }

    /// Sets the order in which outcomes come; by default, they come as jobs end.
    pub fn ordering(mut self, ordering: OutcomeOrder) -> Self {
        self.plan.ordering = ordering;
        self
    }

    /// Sets the keeper that kills the commands of runs if this process is killed.
    pub fn keeper(mut self, keeper: Keeper) -> Self {
        self.plan.keeper = Some(keeper);
        self
    }

    /// Sets how many bytes of a command's stdout, and of its stderr, are kept.
    pub fn capture_bytes(mut self, bytes: usize) -> Self {
        self.plan.capture_bytes = bytes;
        self
    }

    /// Puts a breaker before each kind of worker, before commands and before closures. A pool with a breaker of its own
    /// keeps that one.
    ///
    /// A kind has one breaker for its jobs without a host, and one for each host. A job that a breaker refuses waits
    /// until the breaker admits it, and the refusal does not count as an attempt. With
    /// [`reject`](BreakerConfig::reject), such a job fails.
    pub fn breaker(mut self, config: BreakerConfig) -> Self {
        self.plan.breaker = Some(config);
        self
    }

    /// Sets the breaker of the pool of this name, in place of the one of [`breaker`](Self::breaker). `None` gives the
    /// pool no breaker.
    pub fn breaker_of(
        mut self,
        pool: impl Into<String>,
        config: impl Into<Option<BreakerConfig>>,
    ) -> Self {
        self.plan.pool_breakers.push((pool.into(), config.into()));
        self
    }

    /// Limits the retries of a run to this share of its first attempts, such as 0.2. Ten retries are allowed in any
    /// case. When the budget is used up, a failed attempt ends its job.
    pub fn retry_budget(mut self, share: f64) -> Self {
        self.plan.retry_budget = Some(share);
        self
    }

    /// Uses this cache: jobs whose terms allow it take results from the cache, and store theirs.
    pub fn cache(mut self, cache: TaskCache) -> Self {
        self.cache = Some((cache, false));
        self
    }

    /// Stores the results of jobs whose terms allow it in this cache, but takes none from it.
    pub fn refresh_cache(mut self, cache: TaskCache) -> Self {
        self.cache = Some((cache, true));
        self
    }

    /// Adds a text to every cache key, such as the version of the runner. With another text, no result that was stored
    /// before is found.
    ///
    /// ```no_run
    /// use ratchet_runtime::Executor;
    /// # fn of(cache: ratchet_caching::TaskCache) -> Result<(), ratchet_runtime::Error> {
    /// // Results of another version of this program are of no use.
    /// let version = env!("CARGO_PKG_VERSION");
    /// let executor = Executor::builder().cache(cache).cache_salt(version).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn cache_salt(mut self, salt: impl Into<String>) -> Self {
        self.salt = Some(salt.into());
        self
    }

    /// Sets the ledger that records each outcome before it is delivered.
    pub fn ledger(mut self, ledger: impl Ledger + 'static) -> Self {
        self.plan.ledger = Some(Arc::new(Mutex::new(Box::new(ledger))));
        self
    }

    /// Adds a receiver of the events of every run.
    pub fn sink(mut self, sink: impl Sink + 'static) -> Self {
        self.plan.sinks.push(Arc::new(Mutex::new(Box::new(sink))));
        self
    }

    /// Watches the machine during a run. It warns by an event and in the log when memory or processors run short, and
    /// holds new jobs back if the monitor is set to do so.
    ///
    /// ```
    /// use ratchet_runtime::Executor;
    /// use ratchet_runtime::monitor::ResourceMonitor;
    ///
    /// let executor = Executor::builder().resource_monitor(ResourceMonitor::new()).build()?;
    /// # Ok::<(), ratchet_runtime::Error>(())
    /// ```
    pub fn resource_monitor(mut self, monitor: ResourceMonitor) -> Self {
        self.plan.monitor = Some(monitor);
        self
    }

    /// Keeps the figures of each run for [`Executor::stats`]. This costs some time for each job.
    ///
    /// ```
    /// use ratchet_runtime::{Executor, Job};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ratchet_runtime::Error> {
    /// let executor = Executor::builder().keep_stats().build()?;
    /// executor.run_all(["a", "b"].map(|id| Job::closure(id, |_| async {}))).await?;
    /// let stats = executor.stats().expect("it keeps them");
    /// assert_eq!((stats.total_jobs, stats.completed_jobs, stats.failed_jobs), (2, 2, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep_stats(mut self) -> Self {
        if self.plan.stats.is_some() {
            return self;
        }
        let (sink, stats) = StatsSink::new();
        self.plan.stats = Some(stats);
        self.sink(sink)
    }

    /// Sets the clock for the times of day in records.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.plan.clock = Arc::new(clock);
        self
    }

    /// Sets the seed of the jitter of retries and breakers, which makes the jitter repeatable.
    pub fn seed(mut self, seed: u64) -> Self {
        self.plan.seed = Some(seed);
        self
    }

    /// Adds a pool whose workers perform the given tasks, and those that they declare themselves.
    ///
    /// Without services, the first worker that is ready decides: the pool performs the tasks that this worker declares.
    /// If it declares none, the pool performs any task if it is the only pool, and otherwise the task that has the name
    /// of the pool.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use std::sync::Arc;
    /// use ratchet_runtime::process::{LocalProcesses, PoolConfig, ProcessConfig, ProcessPool};
    /// use ratchet_runtime::{Executor, Job, Payload};
    ///
    /// let echo = r#"while read -r line; do
    ///     id=${line#*'"id":"'}; echo "{\"type\":\"response\",\"id\":\"${id%%'"'*}\",\"result\":1}"
    /// done"#;
    /// let config = PoolConfig::new("one", ProcessConfig::new("sh").args(["-c", echo]));
    /// let pool = ProcessPool::new(Arc::new(LocalProcesses::start()), config).await?;
    ///
    /// let executor = Executor::builder().pool(pool, []).build()?;
    /// let jobs = (0..3).map(|number| Job::task(number.to_string(), "one", Payload::null()));
    /// for outcome in executor.run_all(jobs).await? {
    ///     assert_eq!(outcome.worker.as_ref().map(|worker| worker.as_str()), Some("one/1"));
    /// }
    /// # Ok::<(), ratchet_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn pool(self, pool: ProcessPool, services: impl IntoIterator<Item = Service>) -> Self {
        let name = pool.name().to_owned();
        self.pools_at(name, [(PlaceName::LOCAL, pool)], Placement::Here, services)
    }

    /// Adds several pools whose workers perform the same tasks, each pool at a place of its own. `name` is the name of
    /// the kind of worker, and `on` says where a job of the kind may run.
    pub fn pools_at(
        self,
        name: impl Into<String>,
        pools: impl IntoIterator<Item = (PlaceName, ProcessPool)>,
        on: Placement,
        services: impl IntoIterator<Item = Service>,
    ) -> Self {
        self.pool_source(Arc::new(KindPools {
            name: name.into(),
            at: pools.into_iter().collect(),
            on,
            services: services.into_iter().collect(),
        }))
    }

    /// Adds a place where commands and the workers of [`pools_at`](Self::pools_at) can run. Each place has slots of its
    /// own; [`slots`](Self::slots) sets those of this machine.
    pub fn place(mut self, place: Place) -> Self {
        self.plan.places.push(place);
        self
    }

    /// Sets how many slots running jobs may fill at all places together; by default, as many as the places have.
    pub fn total_slots(mut self, slots: u32) -> Self {
        self.plan.total_slots = Some(slots);
        self
    }

    /// Adds a pool, or in tests a stand-in for one, as the next kind of worker.
    pub(crate) fn pool_source(mut self, pool: Arc<dyn PoolSource>) -> Self {
        self.plan.pools.push(pool);
        self
    }
}

impl ExecutorBuilder {
    /// Builds the executor, or returns an error that names the invalid setting.
    pub fn build(mut self) -> Result<Executor, Error> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cores = u32::try_from(cores).unwrap_or(u32::MAX);
        self.plan.scheduling.slots = self.slots.unwrap_or(cores);
        // The queue of the scheduler has no bound of its own, because the window bounds it.
        self.plan.scheduling.capacity = usize::MAX;
        self.check()?;
        self.plan.kinds = self.kinds();
        self.plan.runner = self.runner;
        self.plan.cache = self.cache.map(|(cache, refresh)| CacheUse {
            cache,
            hasher: Arc::new(FileHasher::new(Arc::clone(&self.plan.clock))),
            refresh,
            salt: self.salt,
            has_warned: Arc::default(),
        });
        Ok(Executor::new(self.plan))
    }

    fn check(&self) -> Result<(), Error> {
        let plan = &self.plan;
        let refuse = |setting, reason: &str| {
            let reason = reason.to_owned();
            Err(Error::InvalidSetting { setting, reason })
        };
        if plan.scheduling.slots == 0 {
            return refuse("slots", "of 0 would run nothing; the least is 1");
        }
        if plan.total_slots == Some(0) {
            return refuse("total_slots", "of 0 would run nothing; the least is 1");
        }
        let mut place_names: Vec<&str> = plan
            .places
            .iter()
            .map(|place| place.name().as_str())
            .collect();
        let local = PlaceName::LOCAL;
        place_names.push(local.as_str());
        place_names.sort_unstable();
        if let Some([twice, _]) = place_names.array_windows().find(|[one, next]| one == next) {
            return refuse("place", &format!("`{twice}` is there twice"));
        }
        let resources = plan.places.iter().flat_map(|place| &place.resources);
        for (name, _) in resources {
            check_resource_name(name)?;
        }
        if plan.places.len() >= usize::from(u16::MAX) {
            return refuse("place", "is one too many: a run has 65,535 places at most");
        }
        if plan.window == 0 {
            return refuse("window", "of 0 would take no job; the least is 1");
        }
        if plan.crash_limit == 0 {
            return refuse("crash_limit", "of 0 would fail every job; the least is 1");
        }
        if plan.deadline.is_some_and(|deadline| deadline.is_zero()) {
            return refuse("deadline", "of 0 leaves no time for any job");
        }
        if plan.capture_bytes == 0 {
            return refuse(
                "capture_bytes",
                "of 0 would keep nothing of what commands print",
            );
        }
        if !self.tasks.is_empty() && self.runner.is_none() {
            return refuse("task", "is declared, and there is no runner to do it");
        }
        if self.salt.is_some() && self.cache.is_none() {
            return refuse("cache_salt", "is given, and there is no cache to use it");
        }
        if let Some((rule, _)) = plan.max_failures {
            rule.check()?;
        }
        if let Some((goal, _)) = plan.success_goal {
            goal.check()?;
        }
        for (_, hint) in &self.tasks {
            hint.quota()?;
        }
        let wrong = |setting| {
            move |error: ratchet_resilience::ResilienceError| Error::InvalidSetting {
                setting,
                reason: format!("is refused: {error}"),
            }
        };
        PhaseClock::new(plan.grace).map_err(wrong("grace"))?;
        let named = plan.pool_breakers.iter().map(|(_, config)| config);
        for config in named.chain([&plan.breaker]).flatten() {
            config.check().map_err(|reason| Error::InvalidSetting {
                setting: "breaker",
                reason: format!("is refused: {reason}"),
            })?;
        }
        let is_pool = |name: &str| plan.pools.iter().any(|pool| pool.kind().name == name);
        if let Some((name, _)) = plan.pool_breakers.iter().find(|(name, _)| !is_pool(name)) {
            return refuse(
                "breaker_of",
                &format!("is given for `{name}`, and there is no pool of that name"),
            );
        }
        if let Some(monitor) = &plan.monitor {
            let wrong = |reason: String| Error::InvalidSetting {
                setting: "resource_monitor",
                reason: format!("is refused: {reason}"),
            };
            monitor.check().map_err(wrong)?;
        }
        if let Some(share) = plan.retry_budget {
            RunBudget::new(share)?;
        }
        // The scheduler refuses limits that contradict each other. It is made only to check them.
        let now = tokio::time::Instant::now().into_std();
        Scheduler::new(plan.scheduling.clone(), now).map(drop)
    }

    /// Returns the kinds that every run has, in the order of their numbers.
    fn kinds(&self) -> Vec<KindOfWorker> {
        let kind = |name: &str, tasks| KindOfWorker {
            name: name.to_owned(),
            tasks,
            on: Placement::Here,
            process: None,
            programs: None,
        };
        let runner = match (&self.runner, self.tasks.is_empty()) {
            (Some(_), true) => Tasks::Any,
            (Some(_), false) | (None, _) => Tasks::Declared(self.tasks.clone()),
        };
        vec![
            kind("closures", Tasks::Declared(Vec::new())),
            kind("commands", Tasks::Declared(Vec::new())),
            kind("runner", runner),
        ]
    }
}

impl std::fmt::Debug for ExecutorBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecutorBuilder")
            .field("slots", &self.slots)
            .field("window", &self.plan.window)
            .finish_non_exhaustive()
    }
}
