//! What an executor was told, checked once for all of its runs.

use std::sync::Arc;
use std::time::Duration;

use ratchet_caching::{Clock, FileHasher, SystemClock};
use ratchet_resilience::Rng;
use ratchet_resilience::shutdown::{Grace, PhaseClock};

use super::breakers::MakeBreaker;
use super::builder::{ExecutorBuilder, PoolSource};
use super::command::Commands;
use super::kinds::{KindOfWorker, Tasks};
use super::needs::Memory;
use super::order::Ordering;
use super::recording::SharedLedger;
use super::reuse::CacheUse;
use super::run::Executor;
use super::runner::Runner;
use super::sinks::SharedSink;
use super::stop::{Halt, MaxFailures};
use crate::Error;
use crate::os::{CommandLimits, CommandRunner, Keeper};
use crate::scheduling::{Scheduler, Settings};

/// How many jobs a run has in hand, unless it is told: enough that there is always one that can start, some
/// megabytes of memory.
const WINDOW: usize = 4096;

/// What every run of an executor is made with.
pub(super) struct Plan {
    pub(super) scheduling: Settings,
    pub(super) window: usize,
    pub(super) memory: Memory,
    pub(super) crash_limit: u32,
    pub(super) max_failures: Option<(MaxFailures, Halt)>,
    pub(super) deadline: Option<Duration>,
    pub(super) grace: Grace,
    pub(super) ordering: Ordering,
    pub(super) runner: Option<Arc<dyn Runner>>,
    pub(super) commander: Option<Arc<dyn Runner>>,
    pub(super) keeper: Option<Keeper>,
    pub(super) capture_bytes: usize,
    pub(super) kinds: Vec<KindOfWorker>,
    pub(super) pools: Vec<Arc<dyn PoolSource>>,
    pub(super) kind_breakers: Option<MakeBreaker>,
    pub(super) host_breakers: Option<MakeBreaker>,
    pub(super) cache: Option<CacheUse>,
    pub(super) ledger: Option<SharedLedger>,
    pub(super) sinks: Vec<SharedSink>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rng: Option<u64>,
}

impl Plan {
    /// How commands are run.
    pub(super) fn commands(&self) -> Commands {
        Commands {
            runner: CommandRunner::new(self.keeper.clone()),
            limits: CommandLimits {
                grace: self.grace.cancelling,
                capture_bytes: self.capture_bytes,
                ..CommandLimits::default()
            },
        }
    }

    pub(super) fn rng(&self) -> Rng {
        self.rng.map_or_else(Rng::new, Rng::seeded)
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            scheduling: Settings::default(),
            window: WINDOW,
            memory: Memory::Nothing,
            crash_limit: 3,
            max_failures: None,
            deadline: None,
            grace: Grace::default(),
            ordering: Ordering::default(),
            runner: None,
            commander: None,
            keeper: None,
            capture_bytes: CommandLimits::default().capture_bytes,
            kinds: Vec::new(),
            pools: Vec::new(),
            kind_breakers: None,
            host_breakers: None,
            cache: None,
            ledger: None,
            sinks: Vec::new(),
            clock: Arc::new(SystemClock),
            rng: None,
        }
    }
}

impl ExecutorBuilder {
    /// The executor, or the setting that makes no sense.
    pub fn build(mut self) -> Result<Executor, Error> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cores = u32::try_from(cores).unwrap_or(u32::MAX);
        self.plan.scheduling.slots = self.slots.unwrap_or(cores);
        // The window is what keeps the queue short.
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
        for (_, hint) in &self.tasks {
            hint.quota()?;
        }
        let wrong = |setting| {
            move |error: ratchet_resilience::Error| Error::InvalidSetting {
                setting,
                reason: format!("is refused: {error}"),
            }
        };
        PhaseClock::new(plan.grace).map_err(wrong("grace"))?;
        if let Some(make) = &plan.kind_breakers {
            make().build().map_err(wrong("kind_breaker"))?;
        }
        if let Some(make) = &plan.host_breakers {
            make().build().map_err(wrong("host_breaker"))?;
        }
        // Limits that contradict each other.
        let now = tokio::time::Instant::now().into_std();
        Scheduler::new(plan.scheduling.clone(), now).map(drop)
    }

    /// The kinds that are always there, in the order of their numbers.
    fn kinds(&self) -> Vec<KindOfWorker> {
        let kind = |name: &str, tasks| KindOfWorker {
            name: name.to_owned(),
            tasks,
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
