//! The settings of an executor, which are checked once for all of its runs.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ratchet_caching::{Clock, SystemClock};
use ratchet_resilience::Rng;
use ratchet_resilience::shutdown::{Grace, PhaseClock};
use smol_str::SmolStr;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::arrivals::Arrivals;
use super::breakers::Breakers;
use super::command::Commands;
use super::control::{RunControl, StopRules};
use super::delivery::Delivery;
use super::dispatcher::Dispatcher;
use super::event_loop::{Channels, EventLoop};
use super::execution::Execution;
use super::intake::Intake;
use super::kept_stats::SharedStats;
use super::kinds::{KindOfWorker, Kinds};
use super::local::{CommandsAt, LocalPerformer};
use super::needs::RetainedJobs;
use super::observers::Observers;
use super::orchestrator::Orchestrator;
use super::outcome_order::{OutcomeOrder, Outgoing};
use super::performers::Performers;
use super::places::{Places, place_watch, round_trip_watch};
use super::platforms::Platforms;
use super::pools::PoolSource;
use super::queue::Queue;
use super::recording::{Recording, SharedLedger};
use super::resolver::Resolver;
use super::retries::Retries;
use super::reuse::{CacheUse, RunCache};
use super::run_budget::RunBudget;
use super::run_orders::RunOrder;
use super::runner::Runner;
use super::seated_queue::SeatedQueue;
use super::sinks::{SharedSink, Sinks};
use super::source::Source;
use super::status::Gauges;
use super::stop::{Halt, MaxFailures, SuccessGoal};
use super::times::WallClock;
use crate::Error;
use crate::breaker::BreakerConfig;
use crate::context::Variables;
use crate::dispatch::Reporter;
use crate::ids::KindId;
use crate::monitor::ResourceMonitor;
use crate::os::{CommandLimits, CommandRunner, Keeper};
use crate::outcome::Outcome;
use crate::place::Place;
use crate::scheduling::{Resource, Scheduler, SchedulerSettings};
use crate::suspension::working_now;
use crate::trace_context::RunTrace;

/// How many kinds of worker a run has at most. Each kind needs two routes from the start, one of them for jobs that
/// take tokens (see `uncertain.rs`), and routes are counted by a `u16`.
const MAX_KINDS: u16 = u16::MAX / 2;

/// How many slots all places of a run may have together, if that is not set.
const MAX_SLOTS: u32 = u32::MAX / 2;

/// How many jobs a run holds at once, if that is not set. With so many there is nearly always one that can start, and
/// they take only some megabytes of memory.
const WINDOW: usize = 4096;

/// The channels and shared values that connect the loop of a run to the outside.
pub(super) struct RunChannels {
    /// The source from which the loop pulls its jobs.
    pub(super) source: Source,
    /// The order in which outcomes leave.
    pub(super) ordering: OutcomeOrder,
    /// How long this run may last. The deadline of the executor holds as well.
    pub(super) deadline: Option<Duration>,
    /// The channel to the receiver of the outcomes. While it is full, outcomes wait in the loop.
    pub(super) out: mpsc::Sender<Arc<Outcome>>,
    /// The channel of the orders from the handles of the run, such as a pause or a stop.
    pub(super) orders: mpsc::UnboundedReceiver<RunOrder>,
    /// The figures of the run, which its handles read.
    pub(super) gauges: Arc<Gauges>,
}

/// The settings that every run of an executor uses.
pub(super) struct RunSettings {
    /// The slots, the named limits and the ageing of the scheduler.
    pub(super) scheduling: SchedulerSettings,
    /// How many jobs a run holds at once.
    pub(super) window: usize,
    /// Which jobs are remembered after their end, because later jobs may need them.
    pub(super) memory: RetainedJobs,
    /// How many workers a job may crash before it fails as poison.
    pub(super) crash_limit: u32,
    /// After how many failures the run stops, and how. Without a rule, failures do not stop it.
    pub(super) max_failures: Option<(MaxFailures, Halt)>,
    pub(super) success_goal: Option<(SuccessGoal, Halt)>,
    /// How long the run may last; `None` is no limit.
    pub(super) deadline: Option<Duration>,
    /// How long each phase of a stop lasts before the next one begins.
    pub(super) grace: Grace,
    /// The order in which outcomes leave, unless a run sets another one.
    pub(super) ordering: OutcomeOrder,
    /// The runner that performs tasks; a user of the library sets it.
    pub(super) runner: Option<Arc<dyn Runner>>,
    /// The runner that runs commands instead of this process, such as a mock in tests.
    pub(super) command_override: Option<Arc<dyn Runner>>,
    /// The variables that every command gets, unless it sets them itself.
    pub(super) command_variables: Variables,
    /// The place of the runs in a trace, if they are traced.
    pub(super) trace: Option<RunTrace>,
    /// The keeper that kills the programs of commands if this process is killed. Without a keeper, they outlive it.
    pub(super) keeper: Option<Keeper>,
    /// How many bytes of each stream of a command are kept for its result.
    pub(super) capture_bytes: usize,
    /// The kinds that this process performs. The kinds of `pools` are numbered after them.
    pub(super) kinds: Vec<KindOfWorker>,
    /// The sources of the pools, one for each further kind.
    pub(super) pools: Vec<Arc<dyn PoolSource>>,
    /// The places besides the local one.
    pub(super) places: Vec<Place>,
    /// How many slots jobs may fill at all places together; `None` is no limit beyond those of the places.
    pub(super) total_slots: Option<u32>,
    /// The breaker of the kinds of worker that have none of their own.
    pub(super) breaker: Option<BreakerConfig>,
    /// The breakers of single pools by name, in place of `breaker`. `None` means that the pool has no breaker.
    pub(super) pool_breakers: Vec<(String, Option<BreakerConfig>)>,
    /// How many retries are allowed for each first attempt.
    pub(super) retry_budget: Option<f64>,
    /// The cache and how it is used; without it, every job is performed.
    pub(super) cache: Option<CacheUse>,
    /// The ledger that records outcomes before they leave.
    pub(super) ledger: Option<SharedLedger>,
    /// The monitor that watches the machine during each run, if that is wanted.
    pub(super) monitor: Option<ResourceMonitor>,
    /// The figures of the current run, if they are kept. One of the sinks updates them.
    pub(super) stats: Option<SharedStats>,
    /// The receivers of the events of every run.
    pub(super) sinks: Vec<SharedSink>,
    /// The clock for the times of day in events and outcomes.
    pub(super) clock: Arc<dyn Clock>,
    /// The seed of all jitter, for tests that need the same delays each time.
    pub(super) seed: Option<u64>,
}

impl RunSettings {
    /// Makes the loop of a run.
    pub(super) fn event_loop(&self, wiring: RunChannels) -> Result<EventLoop, Error> {
        let RunChannels {
            source,
            ordering,
            deadline,
            out,
            orders,
            gauges,
        } = wiring;
        // Both clocks are read together: what is started below takes milliseconds, by which all times of day would be late.
        let now = working_now();
        let time_of_day = self.clock.now();
        let wall = WallClock::new(Arc::clone(&self.clock), (now, time_of_day));
        let (reporter, reports) = Reporter::new();
        let (kinds, dispatcher) = self.dispatcher(&reporter, &gauges, (now, time_of_day))?;
        let phases = PhaseClock::new(self.grace).map_err(|error| Error::InvalidSetting {
            setting: "grace",
            reason: error.to_string(),
        })?;
        let rules = StopRules {
            max_failures: self.max_failures,
            success_goal: self.success_goal,
            deadline: (self.deadline.into_iter().chain(deadline).min())
                .and_then(|limit| now.checked_add(limit)),
        };
        let recording = Recording::start(self.ledger.clone()).map_err(|error| Error::NoThread {
            purpose: "writes outcomes",
            reason: error.to_string(),
        })?;
        let budget = self.retry_budget.map(RunBudget::new).transpose()?;
        let retries = Retries::new(self.crash_limit, budget, self.rng());
        let reuse = RunCache::new(self.cache.clone());
        let resolver = Resolver::new(Kinds::new(kinds), reuse, Platforms::new(&self.places));
        let run = Orchestrator::new(
            Arrivals::new(Intake::new(source, self.memory, self.window, now), resolver),
            Execution::new(dispatcher, retries),
            Delivery::new(recording, Outgoing::new(ordering), out),
            RunControl::new(phases, rules, self.grace.cancelling),
            Observers::new(Sinks::start(&self.sinks), gauges, wall),
            now,
        );
        let channels = Channels {
            orders,
            reports,
            reporter,
        };
        Ok(EventLoop::new(run, channels))
    }

    /// Makes the dispatcher of a run, with its queue and its performers, and returns it with all kinds of worker.
    fn dispatcher(
        &self,
        reporter: &Reporter,
        gauges: &Gauges,
        (now, time_of_day): (Instant, SystemTime),
    ) -> Result<(Vec<KindOfWorker>, Dispatcher), Error> {
        let local = LocalPerformer::new(
            reporter.clone(),
            self.runner.clone(),
            self.commands(),
            self.command_override.clone(),
            self.command_variables.clone(),
            self.grace.cancelling,
        );
        let mut kinds = self.kinds.clone();
        let mut performers = Performers::new(local, kinds.len());
        let names = self.places.iter().map(|place| place.name().clone());
        let mut places = Places::new(self.scheduling.slots, names);
        let mut scheduling = self.scheduling.clone();
        let of_places = self.give_resources(&mut places, &mut scheduling);
        if places.are_several() {
            gauges.count_at(places.running());
            // Each place counts its own slots, so the scheduler only bounds their sum.
            scheduling.slots = self.total_slots.unwrap_or(MAX_SLOTS);
        }
        let scheduler = Scheduler::new(scheduling, now)?;
        let too_many = || Error::InvalidSetting {
            setting: "pool",
            reason: format!("is one too many: a run has at most {MAX_KINDS} kinds of worker"),
        };
        for pool in &self.pools {
            let number = u16::try_from(kinds.len()).map_err(|_| too_many())?;
            if number >= MAX_KINDS {
                return Err(too_many());
            }
            performers.add(pool.attach(KindId(number), &places, reporter.clone())?);
            kinds.push(pool.kind());
        }
        let count = u16::try_from(kinds.len()).map_err(|_| too_many())?;
        let queue = Queue::new(scheduler, count, of_places);
        let breakers = Breakers::new(self.breakers(&kinds), (now, time_of_day), self.seed);
        let mut watches = JoinSet::new();
        for (place, id) in self.places.iter().zip(places.ids().skip(1)) {
            watches.spawn(place_watch(place.state.clone(), id, reporter.clone()));
            if let Some(round_trip) = &place.round_trip {
                watches.spawn(round_trip_watch(round_trip.clone(), id, reporter.clone()));
            }
        }
        let seated = SeatedQueue::new(queue, performers, places, watches, reporter.clone())
            .traced(self.trace);
        let dispatcher = Dispatcher::new(seated, breakers, now);
        Ok((kinds, dispatcher))
    }

    /// Gives places the resources that they have for themselves, and takes them from the scheduler. Returns their names.
    ///
    /// A resource that one host declares belongs to places everywhere: what the run declares of it is that of the local
    /// place.
    fn give_resources(
        &self,
        places: &mut Places,
        scheduling: &mut SchedulerSettings,
    ) -> Vec<SmolStr> {
        let declared = self.places.iter().map(|place| place.resources.clone());
        let mut declared: Vec<Vec<(SmolStr, Resource)>> = declared.collect();
        let mut names: Vec<SmolStr> = Vec::new();
        for (name, _) in declared.iter().flatten() {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        let is_of_places = |name: &str| names.iter().any(|known| known == name);
        let (local, of_run) = std::mem::take(&mut scheduling.resources)
            .into_iter()
            .partition(|(name, _)| is_of_places(name));
        scheduling.resources = of_run;
        let local: Vec<(String, Resource)> = local;
        let local = local
            .into_iter()
            .map(|(name, resource)| (name.into(), resource));
        declared.insert(0, local.collect());
        places.set_resources(declared);
        places.resource_names()
    }

    /// Returns what runs commands at each place.
    fn commands(&self) -> Vec<CommandsAt> {
        let limits = CommandLimits {
            grace: self.grace.cancelling,
            capture_bytes: self.capture_bytes,
            ..CommandLimits::default()
        };
        let at = |name, runner, sets_attempt_variables| CommandsAt {
            name,
            commands: Commands { runner, limits },
            sets_attempt_variables,
        };
        let local = at(None, CommandRunner::new(self.keeper.clone()), true);
        let others = self.places.iter().map(|place| {
            let name = Some(place.name.clone());
            at(name, place.commands.clone(), place.sets_attempt_variables)
        });
        std::iter::once(local).chain(others).collect()
    }

    /// Whether a runner or a pool can perform jobs that name a task.
    pub(super) fn does_tasks(&self) -> bool {
        self.runner.is_some() || !self.pools.is_empty()
    }

    /// Returns the name and the breaker of each kind of worker.
    fn breakers(&self, kinds: &[KindOfWorker]) -> Vec<(String, Option<BreakerConfig>)> {
        let config = |(number, kind): (usize, &KindOfWorker)| {
            let is_pool = number >= self.kinds.len();
            let mut named = self.pool_breakers.iter();
            let own = named.find(|(name, _)| is_pool && *name == kind.name);
            let config = own.map_or(self.breaker, |(_, config)| *config);
            (kind.name.clone(), config)
        };
        kinds.iter().enumerate().map(config).collect()
    }

    fn rng(&self) -> Rng {
        self.seed.map_or_else(Rng::new, Rng::seeded)
    }
}

/// How many workers a job may crash before it fails for good, unless it is set otherwise.
pub(super) const CRASH_LIMIT: u32 = 3;

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            scheduling: SchedulerSettings::default(),
            window: WINDOW,
            memory: RetainedJobs::Nothing,
            crash_limit: CRASH_LIMIT,
            max_failures: None,
            success_goal: None,
            deadline: None,
            grace: Grace::default(),
            ordering: OutcomeOrder::default(),
            runner: None,
            command_override: None,
            keeper: None,
            command_variables: Variables::new(),
            trace: None,
            capture_bytes: CommandLimits::default().capture_bytes,
            kinds: Vec::new(),
            pools: Vec::new(),
            places: Vec::new(),
            total_slots: None,
            breaker: None,
            pool_breakers: Vec::new(),
            retry_budget: None,
            cache: None,
            ledger: None,
            monitor: None,
            stats: None,
            sinks: Vec::new(),
            clock: Arc::new(SystemClock),
            seed: None,
        }
    }
}
