//! The executor: takes jobs, and starts runs of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ratchet_ipc::{HostName, JobKey};
use tokio::sync::mpsc;

use super::handle::{RunHandle, Submitter};
use super::machine_watch::watch_machine;
use super::outcome_order::OutcomeOrder;
use super::outcomes::Run;
use super::plan::{RunChannels, RunSettings};
use super::source::{Source, check};
use super::status::{Gauges, RunStatus};
use crate::Error;
use crate::context::Context;
use crate::job::{ClosureResult, Job, Work};
use crate::outcome::Outcome;
use crate::scheduling::{ParallelizationStats, Scheduler};
use crate::summary::{ExecutionStats, QueueStatus};
use crate::suspension::working_now;
use crate::table::Names;

/// How many outcomes the channel from the run to their receiver holds. Further outcomes stay in the run, and count
/// against its window.
const OUTCOMES: usize = 256;

/// How many submissions, each of one or of many jobs, the channel to the run holds.
const SUBMISSIONS: usize = 8;

/// Runs jobs, and gives one outcome for each.
///
/// Jobs come [as a stream](Self::run), [as a list](Self::run_list) or [one by one](Self::open), and outcomes leave as
/// they come. Clones are the same executor, which does one run at a time.
///
/// ```
/// use ratchet_runtime::{Executor, Job};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ratchet_runtime::Error> {
/// let executor = Executor::builder().slots(4).build()?;
/// let squares = (0_u64..1000).map(|number| {
///     Job::closure(number.to_string(), move |_| async move { Ok(number * number) })
/// });
/// let mut run = executor.run(squares)?;
/// let mut sum = 0;
/// while let Some(outcome) = run.next().await {
///     sum += outcome.read::<u64>()?;
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
    plan: RunSettings,
    /// The session. A poisoned lock is used all the same, because each change is one assignment.
    session: Mutex<ExecutorSession>,
}

/// The submitted jobs and the current run of an executor. Each change under the lock leaves them consistent.
#[derive(Default)]
struct ExecutorSession {
    /// The latest run, which may have ended; `None` before the first run.
    current: Option<RunHandle>,
    /// The jobs that were submitted since the last execution. The next execution runs them.
    submitted: Vec<Job>,
    /// The ids of the submitted jobs.
    names: Names<JobKey>,
    /// The last number that was given to a job as its id.
    numbered: u64,
    /// Whether the executor was shut down, so that it takes no more jobs.
    shut: bool,
}

impl Executor {
    /// Makes an executor from settings that the builder has checked.
    pub(super) fn new(plan: RunSettings) -> Self {
        Self {
            shared: Arc::new(Shared {
                plan,
                session: Mutex::default(),
            }),
        }
    }

    /// Runs jobs that are pulled one by one as the run has room. There can be any number of them, and memory does not
    /// grow with it.
    ///
    /// The run calls the iterator, so the iterator must not wait. If jobs have to be waited for, [`open`](Self::open) a
    /// run and submit them. If the run stops early, jobs that were not pulled have no outcomes. A job can only need
    /// other jobs if the executor [remembers](crate::ExecutorBuilder::remember) jobs, or if the caller [has
    /// checked](crate::ExecutorBuilder::needs_are_checked) that the needed jobs come before it.
    pub fn run<I>(&self, jobs: I) -> Result<Run, Error>
    where
        I: IntoIterator<Item = Job>,
        I::IntoIter: Send + 'static,
    {
        let jobs = Box::new(jobs.into_iter());
        self.begin(Source::Stream(jobs), self.shared.plan.ordering)
    }

    /// Runs a list of jobs. They may need each other in any order, and each gets an outcome whatever happens.
    ///
    /// Two jobs with the same id, a need that is not in the list, and a circle of needs are refused before anything
    /// runs.
    pub fn run_list(&self, jobs: impl IntoIterator<Item = Job>) -> Result<Run, Error> {
        let jobs = jobs.into_iter().collect();
        self.begin(Source::list(jobs)?, self.shared.plan.ordering)
    }

    /// Runs a list of jobs to its end, and returns the outcomes in the order of the jobs.
    pub async fn run_all(
        &self,
        jobs: impl IntoIterator<Item = Job>,
    ) -> Result<Vec<Arc<Outcome>>, Error> {
        let jobs = jobs.into_iter().collect();
        let run = self.begin(Source::list(jobs)?, OutcomeOrder::Submission)?;
        run.collect(None, None, 0).await
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
        let run = self.begin(source, self.shared.plan.ordering)?;
        let handle = run.handle();
        Ok((Submitter { jobs, handle }, run))
    }

    /// Queues a job for the next [`execute`](Self::execute).
    ///
    /// It is refused while a run goes on, because that run has its jobs; see [`open`](Self::open) for a run that takes
    /// more. A second job with the same id is refused too, and the first one stays.
    pub fn submit(&self, job: Job) -> Result<(), Error> {
        check(&job)?;
        if matches!(job.work, Work::Task { .. }) && !self.shared.plan.does_tasks() {
            return Err(Error::NoWork);
        }
        let mut session = self.session();
        session.check()?;
        if !session.names.insert(job.id.clone()) {
            return Err(Error::DuplicateJob {
                id: job.id.to_string(),
            });
        }
        session.submitted.push(job);
        Ok(())
    }

    /// Submits a closure for a host, such as a cluster or a tenant. The id of the job is a number, which is returned.
    /// So any number of jobs can concern one host.
    ///
    /// The closure may return whatever a closure of [`Job::closure`] may.
    ///
    /// ```
    /// use ratchet_runtime::Executor;
    /// use ratchet_runtime::summary::Results;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ratchet_runtime::Error> {
    /// let pool = Executor::builder().slots(5).build()?;
    /// for cluster in ["prod", "staging", "prod"] {
    ///     pool.submit_closure(cluster, move |_context| async move { Ok(cluster.len()) })?;
    /// }
    /// let outcomes = pool.execute().await?;
    /// assert_eq!(outcomes.filter_by_host("prod").count(), 2);
    /// assert_eq!(outcomes[1].read::<usize>()?, 7);
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit_closure<F, O>(&self, host: impl Into<HostName>, work: F) -> Result<JobKey, Error>
    where
        F: Fn(Context) -> O + Send + Sync + 'static,
        O: Future<Output: ClosureResult> + Send + 'static,
    {
        let host = host.into();
        if host.as_str().is_empty() {
            return Err(Error::NoName);
        }
        self.submit_numbered(|id| Job::closure(id, work).on_host(host))
    }

    /// Submits the job that `make` returns for the next free number, which `make` has to use as its id. Returns the id
    /// of the job.
    ///
    /// ```
    /// use ratchet_runtime::process::ProcessConfig;
    /// use ratchet_runtime::{Executor, Job};
    ///
    /// # fn main() -> Result<(), ratchet_runtime::Error> {
    /// let executor = Executor::builder().build()?;
    /// let id = executor.submit_numbered(|id| Job::command(id, ProcessConfig::new("true")))?;
    /// assert_eq!(id.as_str(), "1");
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit_numbered(&self, make: impl FnOnce(JobKey) -> Job) -> Result<JobKey, Error> {
        let id = {
            let mut session = self.session();
            session.check()?;
            session.free_number()
        };
        let job = make(id);
        let id = job.id.clone();
        self.submit(job)?;
        Ok(id)
    }

    /// Returns the jobs that were submitted since the last execution, and forgets them.
    pub fn withdraw(&self) -> Vec<Job> {
        let mut session = self.session();
        session.names.clear();
        session.numbered = 0;
        std::mem::take(&mut session.submitted)
    }

    /// Begins a run of the submitted jobs. Returns it with their ids, in the order of submission.
    pub(super) fn begin_submitted(
        &self,
        ordering: OutcomeOrder,
        deadline: Option<Duration>,
    ) -> Result<(Run, Vec<JobKey>), Error> {
        // The lock is held until the run has begun. So a job that is submitted in the meantime is either in this run or
        // refused.
        let mut session = self.session();
        session.check()?;
        // The jobs are copied, because a refused run does not return them.
        let source = Source::list(session.submitted.clone())?;
        let run = self.begin_at(&mut session, source, ordering, deadline)?;
        let submitted = std::mem::take(&mut session.submitted);
        session.names.clear();
        session.numbered = 0;
        Ok((run, submitted.into_iter().map(|job| job.id).collect()))
    }

    /// Returns how many jobs there are: those that were submitted for the next execution, and those of the current run
    /// that have not ended. Jobs of a stream count from the moment at which the run has pulled them.
    pub fn task_count(&self) -> usize {
        let status = self.status();
        let running = status.run.filter(|_| status.is_running).map_or(0, |run| {
            let known = run.total.unwrap_or(run.taken).max(run.taken);
            known.saturating_sub(run.ended)
        });
        status.submitted + usize::try_from(running).unwrap_or(usize::MAX)
    }

    /// Returns how many slots all running jobs may fill together.
    pub fn worker_count(&self) -> u32 {
        let status = self.status();
        let current = status.run.map(|run| run.slots);
        current.unwrap_or(self.shared.plan.scheduling.slots)
    }

    /// Whether a run is in progress.
    pub fn is_running(&self) -> bool {
        self.status().is_running
    }

    /// Whether the executor was shut down, so that it takes no more jobs.
    pub fn is_shutdown(&self) -> bool {
        self.session().shut
    }

    /// Returns the status of the executor, with that of its current or last run.
    pub fn status(&self) -> ExecutorStatus {
        let session = self.session();
        let run = session.current.as_ref();
        ExecutorStatus {
            submitted: session.submitted.len(),
            is_running: run.is_some_and(|run| !run.is_over()),
            is_shut_down: session.shut,
            run: run.map(RunHandle::status),
        }
    }

    /// Returns which locks and limits are held, what is left of them, and how many jobs wait. While no run goes on,
    /// nothing is held.
    ///
    /// Debug events of `tracing` report the same changes as they happen: which job has `acquired`, has `released` or
    /// `waits for` a hint on a host, with its task. Their target is `ratchet_runtime::parallelization`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ratchet_runtime::{Executor, Job, Limit, ParallelizationHint, Terms};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), ratchet_runtime::Error> {
    /// let executor = Executor::builder().slots(8).limit("db", Limit::max(2)?).build()?;
    /// let terms = Terms {
    ///     hint: Some(ParallelizationHint::HostExclusive),
    ///     limits: vec!["db".into()],
    ///     ..Terms::default()
    /// };
    /// let job = |id: &str| {
    ///     let work = |_| tokio::time::sleep(Duration::from_secs(9));
    ///     Job::closure(id, work).on_host("web1").terms(terms.clone())
    /// };
    /// let run = executor.run_list([job("a"), job("b")])?;
    /// tokio::task::yield_now().await;
    /// let stats = executor.parallelization().await?;
    /// assert!(stats.host_locks["web1"]);
    /// assert_eq!(stats.limits["db"].left, 1.0);
    /// assert_eq!((stats.running, stats.waiters), (1, 1));
    /// # drop(run);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn parallelization(&self) -> Result<ParallelizationStats, Error> {
        let current = self.session().current.clone();
        if let Some(run) = current.filter(|run| !run.is_over()) {
            match run.parallelization().await {
                Err(Error::RunEnded) => {}
                answer => return answer,
            }
        }
        let now = working_now();
        let unused = Scheduler::new(self.shared.plan.scheduling.clone(), now)?;
        Ok(ParallelizationStats::of(&unused, now))
    }

    /// Returns how many jobs wait, run and have ended: those that were submitted for the next execution, and those of
    /// the current or last run.
    pub fn queue_status(&self) -> QueueStatus {
        let ExecutorStatus {
            submitted,
            is_running,
            run,
            ..
        } = self.status();
        let submitted = submitted as u64;
        let Some(run) = run else {
            return QueueStatus {
                queued: submitted,
                total: submitted,
                ..QueueStatus::default()
            };
        };
        let running = if is_running { run.running as u64 } else { 0 };
        let total = run.total.unwrap_or(run.taken).max(run.taken);
        QueueStatus {
            queued: submitted + total.saturating_sub(run.ended + running),
            running,
            ended: run.ended,
            total: submitted + total,
        }
    }

    /// Returns the figures of the current or last run, if the executor was told to [keep
    /// them](crate::ExecutorBuilder::keep_stats).
    pub fn stats(&self) -> Option<ExecutionStats> {
        let stats = self.shared.plan.stats.as_ref()?;
        let stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
        Some(stats.stats(working_now()))
    }

    /// Takes no more jobs, and waits this long for the running jobs. After that it kills them and returns an error.
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
            let mut session = self.session();
            if std::mem::replace(&mut session.shut, true) {
                return Err(Error::AlreadyShutDown);
            }
            session.current.clone()
        };
        let Some(run) = current else {
            return Ok(());
        };
        run.drain();
        if tokio::time::timeout(timeout, run.quiet()).await.is_ok() {
            return Ok(());
        }
        run.kill();
        Err(Error::ShutdownTimeout)
    }

    fn session(&self) -> MutexGuard<'_, ExecutorSession> {
        let session = self.shared.session.lock();
        session.unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a run, unless one goes on.
    fn begin(&self, source: Source, ordering: OutcomeOrder) -> Result<Run, Error> {
        self.begin_at(&mut self.session(), source, ordering, None)
    }

    /// Starts a run in this session, unless one goes on. The run can have a deadline besides that of the executor.
    fn begin_at(
        &self,
        session: &mut ExecutorSession,
        source: Source,
        ordering: OutcomeOrder,
        deadline: Option<Duration>,
    ) -> Result<Run, Error> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| Error::NoRuntime)?;
        session.check()?;
        let plan = &self.shared.plan;
        let (orders, heard) = mpsc::unbounded_channel();
        let (out, outcomes) = mpsc::channel(OUTCOMES);
        let gauges = Arc::new(Gauges::new(plan.scheduling.slots));
        let handle = RunHandle {
            orders,
            gauges: Arc::clone(&gauges),
        };
        let wiring = RunChannels {
            source,
            ordering,
            deadline,
            out,
            orders: heard,
            gauges,
        };
        let event_loop = plan.event_loop(wiring)?;
        if let Some(monitor) = &plan.monitor {
            let watched = watch_machine(monitor, handle.clone(), &runtime);
            watched.map_err(|error| Error::InvalidSetting {
                setting: "resource_monitor",
                reason: format!("does not work: {error}"),
            })?;
        }
        session.current = Some(handle.clone());
        Ok(Run {
            outcomes,
            handle,
            task: Some(runtime.spawn(event_loop.run())),
            stopped: None,
        })
    }
}

impl ExecutorSession {
    /// Returns the next number that is not the id of a submitted job.
    fn free_number(&mut self) -> JobKey {
        loop {
            self.numbered += 1;
            let id = JobKey::from(self.numbered.to_string());
            if !self.names.contains(&id) {
                return id;
            }
        }
    }

    /// Refuses jobs and runs while a run goes on, and after the shutdown.
    fn check(&self) -> Result<(), Error> {
        if self.shut {
            return Err(Error::ShuttingDown);
        }
        match &self.current {
            Some(run) if !run.is_over() => Err(Error::AlreadyRunning),
            _ => Ok(()),
        }
    }
}

/// A snapshot of an executor: the jobs submitted to it, and its current or last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorStatus {
    /// The number of jobs that are queued for the next execution.
    pub submitted: usize,
    /// Whether a run is in progress.
    pub is_running: bool,
    /// Whether the executor was shut down, so that it takes no more jobs.
    pub is_shut_down: bool,
    /// The status of the current or last run.
    pub run: Option<RunStatus>,
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
