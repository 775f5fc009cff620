//! The executor, and a run of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ratchet_ipc::JobKey;
use tokio::sync::mpsc;

use super::handle::{RunHandle, Submitter};
use super::outcome_order::Ordering;
use super::outcomes::Run;
use super::plan::{RunChannels, RunPlan};
use super::source::{Source, check};
use super::status::{Gauges, RunStatus};
use super::stop::Stopped;
use crate::Error;
use crate::job::{Job, Work};
use crate::outcome::Outcome;
use crate::table::Names;

/// How many outcomes lie between the run and whoever takes them. Beyond that they wait in the run, and count
/// against its window.
const OUTCOMES: usize = 256;

/// How many submissions, of one or of many jobs, lie between those who submit them and the run.
const SUBMISSIONS: usize = 8;

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
    plan: RunPlan,
    /// Locks the session. A panic elsewhere does not spoil it, since each change is one assignment.
    session: Mutex<Session>,
}

/// What is going on; each change under the lock leaves it whole.
#[derive(Default)]
struct Session {
    /// The latest run, which may have ended; none before the first one.
    current: Option<RunHandle>,
    /// Jobs that were submitted since the last execution, and that the next one runs.
    submitted: Vec<Job>,
    /// The names of those.
    names: Names<JobKey>,
    /// The executor was shut down, and takes no more jobs.
    shut: bool,
}

impl Executor {
    /// Makes an executor from a plan that the builder has checked.
    pub(super) fn new(plan: RunPlan) -> Self {
        Self {
            shared: Arc::new(Shared {
                plan,
                session: Mutex::default(),
            }),
        }
    }

    /// Runs jobs that are pulled one by one, as there is room: any number of them, in memory that does not grow
    /// with it.
    ///
    /// The iterator is called by the run, so it must not wait; where jobs have to be waited for, [`open`](Self::open)
    /// a run and submit them. When the run stops early, those that were not pulled have no outcomes. A job can only
    /// need others if the executor [remembers](crate::ExecutorBuilder::remember) them, or if whoever makes the jobs
    /// [sees to it](crate::ExecutorBuilder::needs_are_checked) that they came before.
    pub fn run<I>(&self, jobs: I) -> Result<Run, Error>
    where
        I: IntoIterator<Item = Job>,
        I::IntoIter: Send + 'static,
    {
        let jobs = Box::new(jobs.into_iter());
        self.begin(Source::Stream(jobs), self.shared.plan.ordering)
    }

    /// Runs jobs of which all are known: they may need each other in any direction, and each has its outcome
    /// whatever happens.
    ///
    /// Two jobs of one name, a need that is not there and a circle of needs are refused before anything runs.
    pub fn run_list(&self, jobs: impl IntoIterator<Item = Job>) -> Result<Run, Error> {
        let jobs = jobs.into_iter().collect();
        self.begin(Source::list(jobs)?, self.shared.plan.ordering)
    }

    /// Runs a list of jobs to its end, and gives its outcomes in the order of the jobs.
    pub async fn run_all(
        &self,
        jobs: impl IntoIterator<Item = Job>,
    ) -> Result<Vec<Arc<Outcome>>, Error> {
        let jobs = jobs.into_iter().collect();
        let run = self.begin(Source::list(jobs)?, Ordering::Submission)?;
        all_outcomes(run).await
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

    /// Puts a job aside for the next [`execute`](Self::execute).
    ///
    /// Refused while a run goes on, since that has its jobs; see [`open`](Self::open) for one that takes more. A
    /// second job of one name is refused, too, and the first one stays.
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

    /// Takes back the jobs that were submitted since the last execution.
    pub fn withdraw(&self) -> Vec<Job> {
        let mut session = self.session();
        session.names.clear();
        std::mem::take(&mut session.submitted)
    }

    /// Runs the jobs that were submitted since the last time, and gives their outcomes in that order.
    ///
    /// Where it is refused, as for a need that is not there, they stay submitted: what is missing can be submitted, and
    /// [`withdraw`](Self::withdraw) gives them back.
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
        let run = {
            // Locked until the run has begun, so that a job that is submitted meanwhile is in it or refused.
            let mut session = self.session();
            session.check()?;
            // A copy, because a run that is refused does not give its jobs back.
            let source = Source::list(session.submitted.clone())?;
            let run = self.begin_at(&mut session, source, Ordering::Submission)?;
            session.submitted = Vec::new();
            session.names.clear();
            run
        };
        all_outcomes(run).await
    }

    /// How the run that goes on stands, or the last one; before the first there is nothing to say.
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

    fn session(&self) -> MutexGuard<'_, Session> {
        let session = self.shared.session.lock();
        session.unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the loop, unless there is one.
    fn begin(&self, source: Source, ordering: Ordering) -> Result<Run, Error> {
        self.begin_at(&mut self.session(), source, ordering)
    }

    /// Starts the loop in this session, unless there is one.
    fn begin_at(
        &self,
        session: &mut Session,
        source: Source,
        ordering: Ordering,
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
            out,
            orders: heard,
            gauges,
        };
        let event_loop = plan.event_loop(wiring)?;
        session.current = Some(handle.clone());
        Ok(Run {
            outcomes,
            handle,
            task: Some(runtime.spawn(event_loop.run())),
            stopped: None,
        })
    }
}

/// Collects the outcomes of a run, which has to come to its end by itself.
async fn all_outcomes(mut run: Run) -> Result<Vec<Arc<Outcome>>, Error> {
    let mut outcomes = Vec::new();
    while let Some(outcome) = run.next().await {
        outcomes.push(outcome);
    }
    match run.stopped() {
        Some(Stopped::Broken { reason }) => Err(Error::RunBroke {
            reason: reason.clone(),
        }),
        _ => Ok(outcomes),
    }
}

impl Session {
    /// Refuses another run while one goes on, or after the shutdown.
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
    /// Jobs put aside for the next execution.
    pub submitted: usize,
    /// Whether a run goes on.
    pub is_running: bool,
    /// Whether it takes no more jobs.
    pub is_shut_down: bool,
    /// The run that goes on, or the last one.
    pub run: Option<RunStatus>,
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
