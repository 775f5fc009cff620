//! The executor, and a run of it.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ratchet_resilience::shutdown::{Phase, PhaseClock};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::breakers::Breakers;
use super::builder::{ExecutorBuilder, Plan};
use super::handle::{Gauges, RunHandle, RunStatus, Submitter};
use super::kinds::Kinds;
use super::local::LocalCrew;
use super::needs::{Memory, Needs};
use super::orchestrator::{Orchestrator, Rules, Staff};
use super::order::{Ordering, Outgoing};
use super::recording::Recording;
use super::reporter::Reporter;
use super::reuse::Reuse;
use super::router::Router;
use super::sinks::Sinks;
use super::source::Source;
use super::stop::{Stopped, Tally};
use crate::Error;
use crate::job::{Job, Work};
use crate::outcome::Outcome;
use crate::scheduling::{Kind, Scheduler, Workers};

/// How many outcomes lie between the run and whoever takes them. Beyond that they wait in the run, and count
/// against its window.
const OUTCOMES: usize = 256;

/// How many submissions, of one or of many jobs, lie between those who submit them and the run.
const SUBMISSIONS: usize = 64;

/// Runs jobs: takes them, and gives one outcome for each.
///
/// Jobs come [as a stream](Self::run), [as a list](Self::run_list) or [one by one](Self::open), and outcomes leave as
/// they come. Clones are the same executor. It does one run at a time.
///
/// ```
/// use ratchet_runtime::{Executor, Job, Payload};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let executor = Executor::builder().slots(4).build()?;
/// let squares = (0_u64..1000).map(|number| {
///     Job::closure(number.to_string(), move |_| async move {
///         Ok(Payload::from_text(&(number * number).to_string()))
///     })
/// });
/// let mut run = executor.run(squares)?;
/// let mut sum = 0;
/// while let Some(outcome) = run.next().await {
///     let result = outcome.result.as_ref().map_err(|failure| failure.to_string())?;
///     sum += result.read::<String>()?.parse::<u64>()?;
/// }
/// assert_eq!(sum, 332_833_500);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Executor {
    shared: Arc<Shared>,
}

struct Shared {
    plan: Plan,
    desk: Mutex<Desk>,
}

/// What is going on; each change under the lock leaves it whole.
#[derive(Default)]
struct Desk {
    current: Option<(RunHandle, bool)>,
    submitted: Vec<Job>,
    shut: bool,
}

impl Executor {
    /// Starts from the defaults, which each method of the builder names.
    pub fn builder() -> ExecutorBuilder {
        ExecutorBuilder::default()
    }

    pub(super) fn new(plan: Plan) -> Self {
        Self {
            shared: Arc::new(Shared {
                plan,
                desk: Mutex::default(),
            }),
        }
    }

    /// Runs jobs that are pulled one by one, as there is room: any number of them, in memory that does not grow
    /// with it.
    ///
    /// The iterator is called by the run, so it must not wait; where jobs have to be waited for, [`open`](Self::open)
    /// a run and submit them. When the run stops early, those that were not pulled have no outcomes. A job can only
    /// need others if the executor [remembers](ExecutorBuilder::remember) them.
    pub fn run<I>(&self, jobs: I) -> Result<Run, Error>
    where
        I: IntoIterator<Item = Job>,
        I::IntoIter: Send + 'static,
    {
        let jobs = Box::new(jobs.into_iter());
        self.begin(Source::Stream(jobs), self.shared.plan.ordering, false)
    }

    /// Runs jobs of which all are known: they may need each other in any direction, and each has its outcome
    /// whatever happens.
    ///
    /// Two jobs of one name, a need that is not there and a circle of needs are refused before anything runs.
    pub fn run_list(&self, jobs: impl IntoIterator<Item = Job>) -> Result<Run, Error> {
        let jobs = jobs.into_iter().collect();
        self.begin(Source::list(jobs)?, self.shared.plan.ordering, false)
    }

    /// Runs a list of jobs to its end, and gives its outcomes in the order of the jobs.
    pub async fn run_all(
        &self,
        jobs: impl IntoIterator<Item = Job>,
    ) -> Result<Vec<Arc<Outcome>>, Error> {
        let jobs = jobs.into_iter().collect();
        let mut run = self.begin(Source::list(jobs)?, Ordering::Submission, false)?;
        let mut outcomes = Vec::new();
        while let Some(outcome) = run.next().await {
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// Opens a run that takes jobs as they are submitted, until its submitters are dropped.
    ///
    /// ```
    /// use ratchet_runtime::{Executor, Job, Payload};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ratchet_runtime::Error> {
    /// let (submitter, mut run) = Executor::builder().build()?.open()?;
    /// tokio::spawn(async move {
    ///     for id in ["a", "b"] {
    ///         // Waits while there is no room.
    ///         let submitted = submitter.submit(Job::closure(id, |_| async { Ok(Payload::null()) }));
    ///         submitted.await.expect("the run goes on");
    ///     }
    /// });
    /// let mut count = 0;
    /// while let Some(outcome) = run.next().await {
    ///     assert!(outcome.is_success());
    ///     count += 1;
    /// }
    /// assert_eq!(count, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(&self) -> Result<(Submitter, Run), Error> {
        let (jobs, submitted) = mpsc::channel(SUBMISSIONS);
        let source = Source::Submitted {
            coming: submitted,
            here: Vec::new().into_iter(),
        };
        let run = self.begin(source, self.shared.plan.ordering, true)?;
        let handle = run.handle();
        Ok((Submitter { jobs, handle }, run))
    }

    /// Puts a job aside for the next [`execute`](Self::execute).
    ///
    /// Refused while a run goes on, since that has its jobs; see [`open`](Self::open) for one that takes more.
    pub fn submit(&self, job: Job) -> Result<(), Error> {
        check(&job)?;
        if matches!(job.work, Work::Task { .. }) && !self.shared.plan.does_tasks() {
            return Err(Error::NoWork);
        }
        let mut desk = self.desk();
        desk.check()?;
        desk.submitted.push(job);
        Ok(())
    }

    /// Runs the jobs that were submitted since the last time, and gives their outcomes in that order.
    ///
    /// ```
    /// use ratchet_runtime::{Executor, Job, Payload};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ratchet_runtime::Error> {
    /// let pool = Executor::builder().slots(3).build()?;
    /// for cluster in ["prod-us-east", "prod-eu-west", "staging"] {
    ///     pool.submit(Job::closure(cluster, move |_| async move {
    ///         Ok(Payload::from_text(&format!("pods of {cluster}")))
    ///     }))?;
    /// }
    /// let outcomes = pool.execute().await?;
    /// let names: Vec<&str> = outcomes.iter().map(|outcome| outcome.id.as_str()).collect();
    /// assert_eq!(names, ["prod-us-east", "prod-eu-west", "staging"]);
    ///
    /// pool.shutdown(std::time::Duration::from_secs(5)).await?;
    /// let late = pool.submit(Job::closure("late", |_| async { Ok(Payload::null()) }));
    /// assert_eq!(late.unwrap_err().to_string(), "pool is shutting down");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn execute(&self) -> Result<Vec<Arc<Outcome>>, Error> {
        let jobs = {
            let mut desk = self.desk();
            desk.check()?;
            std::mem::take(&mut desk.submitted)
        };
        self.run_all(jobs).await
    }

    /// How the run that goes on stands, or the last one; before the first there is nothing to say.
    pub fn status(&self) -> ExecutorStatus {
        let desk = self.desk();
        let run = desk.current.as_ref().map(|(handle, _)| handle);
        ExecutorStatus {
            submitted: desk.submitted.len(),
            is_running: run.is_some_and(|run| !run.is_over()),
            is_shut_down: desk.shut,
            run: run.map(RunHandle::status),
        }
    }

    /// Takes no more jobs, and gives what runs so long to finish; then it is killed, and this is an error.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ratchet_runtime::{Executor, Job, Payload, Status};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Executor::builder().slots(1).build()?;
    /// for id in ["first", "second"] {
    ///     pool.submit(Job::closure(id, |_| async {
    ///         tokio::time::sleep(Duration::from_secs(2)).await;
    ///         Ok(Payload::null())
    ///     }))?;
    /// }
    /// let theirs = pool.clone();
    /// let running = tokio::spawn(async move { theirs.execute().await });
    /// tokio::time::sleep(Duration::from_secs(1)).await;
    ///
    /// // What runs finishes, and what waits is not begun.
    /// pool.shutdown(Duration::from_secs(5)).await?;
    /// let outcomes = running.await??;
    /// let ends: Vec<Status> = outcomes.iter().map(|outcome| outcome.status()).collect();
    /// assert_eq!(ends, [Status::Succeeded, Status::Cancelled]);
    ///
    /// let again = pool.shutdown(Duration::ZERO).await.unwrap_err();
    /// assert_eq!(again.to_string(), "pool already shut down");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn shutdown(&self, timeout: Duration) -> Result<(), Error> {
        let current = {
            let mut desk = self.desk();
            if std::mem::replace(&mut desk.shut, true) {
                return Err(Error::AlreadyShutDown);
            }
            desk.current.clone()
        };
        let Some((run, _)) = current else {
            return Ok(());
        };
        run.drain();
        if tokio::time::timeout(timeout, run.quiet()).await.is_ok() {
            return Ok(());
        }
        run.kill();
        Err(Error::ShutdownTimeout)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        let desk = self.shared.desk.lock();
        desk.unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the loop.
    fn begin(&self, source: Source, ordering: Ordering, is_open: bool) -> Result<Run, Error> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| Error::NoRuntime)?;
        let mut desk = self.desk();
        desk.check()?;
        let plan = &self.shared.plan;
        let (orders, heard) = mpsc::unbounded_channel();
        let (out, outcomes) = mpsc::channel(OUTCOMES);
        let gauges = Arc::new(Gauges::new(plan.scheduling.slots));
        let handle = RunHandle {
            orders,
            gauges: Arc::clone(&gauges),
        };
        let wiring = Wiring {
            source,
            ordering,
            out,
            orders: heard,
            gauges,
        };
        let orchestrator = plan.orchestrator(wiring)?;
        desk.current = Some((handle.clone(), is_open));
        Ok(Run {
            outcomes,
            handle,
            task: Some(runtime.spawn(orchestrator.run())),
            stopped: None,
        })
    }
}

impl Desk {
    fn check(&self) -> Result<(), Error> {
        if self.shut {
            return Err(Error::ShuttingDown);
        }
        match &self.current {
            Some((run, _)) if !run.is_over() => Err(Error::AlreadyRunning),
            _ => Ok(()),
        }
    }
}

/// What connects a loop with the rest.
struct Wiring {
    source: Source,
    ordering: Ordering,
    out: mpsc::Sender<Arc<Outcome>>,
    orders: mpsc::UnboundedReceiver<super::handle::Order>,
    gauges: Arc<Gauges>,
}

impl Plan {
    /// Whether there is anybody for jobs that name a task.
    fn does_tasks(&self) -> bool {
        self.runner.is_some() || !self.recruiters.is_empty()
    }

    fn orchestrator(&self, wiring: Wiring) -> Result<Orchestrator, Error> {
        let Wiring {
            mut source,
            ordering,
            out,
            orders,
            gauges,
        } = wiring;
        let now = tokio::time::Instant::now().into_std();
        let (reporter, reports) = Reporter::new();
        let grace = self.grace.cancelling;
        let local = LocalCrew::new(
            reporter.clone(),
            self.runner.clone(),
            self.commands(),
            self.commander.clone(),
            grace,
        );
        let mut router = Router::new();
        let mut kinds = self.kinds.clone();
        router.add(Box::new(local), kinds.len());
        let mut staff = vec![Staff::default(); kinds.len()];
        let mut scheduler = Scheduler::new(self.scheduling.clone(), now)?;
        for recruiter in &self.recruiters {
            let first = Kind(u16::try_from(kinds.len()).unwrap_or(u16::MAX));
            let theirs = recruiter.kinds();
            router.add(recruiter.crew(first, reporter.clone()), theirs.len());
            for kind in theirs {
                // Nobody is there before a crew says so.
                let number = Kind(u16::try_from(kinds.len()).unwrap_or(u16::MAX));
                scheduler.set_workers(number, Workers::Free(0));
                staff.push(Staff::nobody());
                kinds.push(kind);
            }
        }
        let total = source.total();
        let (needs, names) = match &mut source {
            Source::List { needed, .. } => {
                let needed = std::mem::take(needed);
                (Needs::new(needed, Memory::Nothing), None)
            }
            _ => (
                Needs::new(HashMap::new(), self.memory),
                Some(HashSet::new()),
            ),
        };
        let phases = PhaseClock::new(self.grace).map_err(|error| Error::InvalidSetting {
            setting: "grace",
            reason: error.to_string(),
        })?;
        let rules = Rules {
            window: self.window,
            crash_limit: self.crash_limit,
            max_failures: self.max_failures,
            deadline: self.deadline.and_then(|limit| now.checked_add(limit)),
            grace,
        };
        Ok(Orchestrator {
            rules,
            now,
            source,
            total,
            taken: 0,
            names,
            needs,
            staff,
            kinds: Kinds::new(kinds),
            unresolved: VecDeque::new(),
            reuse: Reuse::new(self.cache.clone()),
            scheduler,
            entries: Vec::new(),
            living: 0,
            patience: BTreeSet::new(),
            breakers: Breakers::new(self.kind_breakers.clone(), self.host_breakers.clone()),
            router,
            reports,
            reporter,
            phases,
            stopped: None,
            held: None,
            paused: false,
            tally: Tally::default(),
            rng: self.rng(),
            ended: VecDeque::new(),
            recording: Recording::new(self.ledger.clone()),
            outgoing: Outgoing::new(ordering),
            out,
            orders,
            sinks: Sinks::start(&self.sinks, now, self.clock.now()),
            gauges,
            closure: "closure".into(),
            limits: Vec::new(),
            wake: None,
        })
    }
}

/// What a job must have, whoever it is for.
pub(super) fn check(job: &Job) -> Result<(), Error> {
    if job.id.as_str().is_empty() {
        return Err(Error::NoName);
    }
    match &job.work {
        Work::Command(config) if config.command.as_os_str().is_empty() => Err(Error::NoWork),
        _ => Ok(()),
    }
}

/// How an executor stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorStatus {
    /// Jobs put aside for the next execution.
    pub submitted: usize,
    /// Whether a run goes on.
    pub is_running: bool,
    /// Whether it takes no more jobs.
    pub is_shut_down: bool,
    /// The run that goes on, or the last one.
    pub run: Option<RunStatus>,
}

/// A run: gives the outcomes of its jobs.
///
/// Outcomes have to be taken: a run whose outcomes nobody takes stops pulling jobs when its window is full. Dropping
/// it stops all that it has started.
#[derive(Debug)]
#[must_use = "dropping a run stops it"]
pub struct Run {
    outcomes: mpsc::Receiver<Arc<Outcome>>,
    handle: RunHandle,
    task: Option<JoinHandle<Option<Stopped>>>,
    stopped: Option<Stopped>,
}

impl Run {
    /// The next outcome; nothing after the last. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<Outcome>> {
        if let Some(outcome) = self.outcomes.recv().await {
            return Some(outcome);
        }
        if let Some(task) = &mut self.task {
            // It does not panic, and whoever aborts it does not ask.
            self.stopped = task.await.unwrap_or(Some(Stopped::Asked));
            self.task = None;
        }
        None
    }

    /// Takes the outcomes that are there, up to so many, and waits for the first of them. Says how many; 0
    /// after the last. Cancel safe.
    pub async fn next_many(&mut self, outcomes: &mut Vec<Arc<Outcome>>, most: usize) -> usize {
        match self.next().await {
            None => 0,
            Some(first) => {
                outcomes.push(first);
                let mut taken = 1;
                while taken < most
                    && let Ok(outcome) = self.outcomes.try_recv()
                {
                    outcomes.push(outcome);
                    taken += 1;
                }
                taken
            }
        }
    }

    /// Steers it.
    pub fn handle(&self) -> RunHandle {
        self.handle.clone()
    }

    /// Why it stopped before its jobs were done, if it did; known after the last outcome.
    pub fn stopped(&self) -> Option<&Stopped> {
        self.stopped.as_ref()
    }

    /// Asks it to stop, by this phase, and gives up its outcomes. For those who want none of what is left.
    pub async fn stop(mut self, phase: Phase) -> Option<Stopped> {
        match phase {
            Phase::Running => {}
            Phase::Draining => self.handle.drain(),
            Phase::Cancelling => self.handle.cancel(),
            Phase::Killing => self.handle.kill(),
        }
        while self.next().await.is_some() {}
        self.stopped.take()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
