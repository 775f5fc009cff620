//! The handle through which a run is steered and watched.

use std::sync::Arc;

use ratchet_ipc::JobKey;
use ratchet_resilience::shutdown::Phase;
use tokio::sync::{mpsc, oneshot};

use super::run_orders::RunOrder;
use super::snapshot::Snapshot;
use super::status::{Gauges, RunStatus};
use super::steering::{Cancellation, JobOutput, JobState};
use crate::Error;
use crate::ids::PlaceName;
use crate::job::Job;
use crate::scheduling::{Limit, ParallelizationStats};

/// Steers a run from anywhere; clones steer the same run.
///
/// ```
/// use ratchet_runtime::{Executor, Job, Payload, Status};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), ratchet_runtime::Error> {
/// let executor = Executor::builder().slots(1).build()?;
/// let forever = |id: &str| Job::closure(id, |context| async move {
///     context.cancelled().await;
///     Ok(Payload::null())
/// });
/// let mut run = executor.run_list([forever("a"), forever("b")])?;
/// let handle = run.handle();
/// tokio::spawn(async move {
///     tokio::time::sleep(std::time::Duration::from_secs(1)).await;
///     handle.cancel();
/// });
/// let mut ended = Vec::new();
/// while let Some(outcome) = run.next().await {
///     ended.push((outcome.id.to_string(), outcome.status()));
/// }
/// ended.sort();
/// // The first stopped in time to succeed, the second never started.
/// assert_eq!(ended, [("a".into(), Status::Succeeded), ("b".into(), Status::Cancelled)]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RunHandle {
    /// The channel to the loop, which is closed once the loop has ended.
    pub(super) orders: mpsc::UnboundedSender<RunOrder>,
    /// The figures that the loop publishes after each turn.
    pub(super) gauges: Arc<Gauges>,
}

impl RunHandle {
    /// Starts no more jobs: running jobs finish, and waiting jobs are cancelled. Jobs that still run after the grace
    /// for draining are cancelled too.
    pub fn drain(&self) {
        self.order(RunOrder::Stop(Phase::Draining));
    }

    /// Asks running jobs to stop, and kills those that still run after the grace for cancelling.
    pub fn cancel(&self) {
        self.order(RunOrder::Stop(Phase::Cancelling));
    }

    /// Kills running jobs, and the workers of its pools that nobody else uses.
    pub fn kill(&self) {
        self.order(RunOrder::Stop(Phase::Killing));
    }

    /// Starts no job until [`resume`](Self::resume). Running jobs continue.
    pub fn pause(&self) {
        self.order(RunOrder::Pause(true));
    }

    /// Lets jobs start again after a pause.
    pub fn resume(&self) {
        self.order(RunOrder::Pause(false));
    }

    /// Holds all starts back while a reason is set, independently of [`pause`](Self::pause). A monitor of the machine
    /// uses this. Sinks are told the reason.
    pub fn hold(&self, reason: Option<String>) {
        self.order(RunOrder::Hold(reason));
    }

    /// Holds starts at one place back while a reason is set; other places continue. If the run has only its own place,
    /// use [`hold`](Self::hold).
    pub fn hold_place(&self, place: PlaceName, reason: Option<String>) {
        self.order(RunOrder::HoldPlace(place, reason));
    }

    /// Returns how many attempts run at a place now.
    pub fn running_at(&self, place: &PlaceName) -> usize {
        self.gauges.running_at(place)
    }

    /// Changes the number of slots, of a run with several places that of the local place. It fails if an unfinished job
    /// that the run knows needs more slots than that there, whatever the job waits for.
    ///
    /// A job that comes later and needs more than there are now, but not more than there were when the run began, takes
    /// all slots that there are.
    pub async fn set_slots(&self, slots: u32) -> Result<(), Error> {
        self.ask(|answer| RunOrder::SetSlots(slots, answer)).await
    }

    /// Changes a named limit. A maximum cannot become a rate, nor a rate a maximum.
    pub async fn set_limit(&self, name: impl Into<String>, limit: Limit) -> Result<(), Error> {
        let name = name.into();
        self.ask(|answer| RunOrder::SetLimit(name, limit, answer))
            .await
    }

    /// Cancels single jobs, and returns what became of each; the run continues. A waiting job ends as cancelled. A
    /// running job is asked to stop, and is killed when its grace is over or when it is cancelled again. Jobs that need
    /// a cancelled job are skipped.
    ///
    /// ```
    /// use ratchet_runtime::{Cancellation, Executor, Job, Payload, Status};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), ratchet_runtime::Error> {
    /// let executor = Executor::builder().slots(1).build()?;
    /// let done = |id: &str| Job::closure(id, |_| async { Ok(Payload::null()) });
    /// let run = executor.run_list([done("a"), done("b"), done("c")])?;
    /// let became = run.handle().cancel_jobs(["b".into(), "z".into()]).await?;
    /// assert_eq!(became, [Cancellation::Ended, Cancellation::Unknown]);
    /// let mut run = run;
    /// while let Some(outcome) = run.next().await {
    ///     let is_cancelled = outcome.status() == Status::Cancelled;
    ///     assert_eq!(is_cancelled, outcome.id.as_str() == "b");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cancel_jobs(
        &self,
        ids: impl IntoIterator<Item = JobKey>,
    ) -> Result<Vec<Cancellation>, Error> {
        let ids = ids.into_iter().collect();
        self.question(|answer| RunOrder::CancelJobs(ids, answer))
            .await
    }

    /// Returns the state of each job; `None` for a job that has ended or was not handed over yet. Like a
    /// [`snapshot`](Self::snapshot), this takes time that grows with the jobs of the run.
    ///
    /// ```
    /// use ratchet_runtime::{Executor, Job, JobState, Payload};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), ratchet_runtime::Error> {
    /// let executor = Executor::builder().slots(1).build()?;
    /// let forever = |id: &str| Job::closure(id, |_| std::future::pending::<()>());
    /// let run = executor.run_list([forever("a"), forever("b").needs(["a"])])?;
    /// tokio::task::yield_now().await;
    /// let states = run.handle().find(["a".into(), "b".into(), "c".into()]).await?;
    /// assert!(matches!(states[0], Some(JobState::Running(_))));
    /// let Some(JobState::Waiting(waiting)) = &states[1] else { panic!("it waits") };
    /// assert_eq!(waiting.cause.to_string(), "needs a");
    /// assert!(states[2].is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn find(
        &self,
        ids: impl IntoIterator<Item = JobKey>,
    ) -> Result<Vec<Option<JobState>>, Error> {
        let ids = ids.into_iter().collect();
        self.question(|answer| RunOrder::Find(ids, answer)).await
    }

    /// Returns the output of a running job, or `None` if the job does not run. What the job prints later is added to
    /// the returned value.
    ///
    /// ```
    /// use ratchet_runtime::process::ProcessConfig;
    /// use ratchet_runtime::{Executor, Job};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ratchet_runtime::Error> {
    /// let command = ProcessConfig::new("sh").args(["-c", "echo begun; exec sleep 1000"]);
    /// let run = Executor::builder().build()?.run_list([Job::command("a", command)])?;
    /// let handle = run.handle();
    /// let begun = loop {
    ///     match handle.output("a".into()).await? {
    ///         Some(output) if output.stdout().total() > 0 => break output,
    ///         _ => tokio::task::yield_now().await,
    ///     }
    /// };
    /// assert_eq!(begun.stdout().to_excerpt().as_str(), "begun\n");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn output(&self, id: JobKey) -> Result<Option<JobOutput>, Error> {
        self.question(|answer| RunOrder::Output(id, answer)).await
    }

    /// Adds jobs to the run, all or none. Each may need jobs that come before it in the list, and unfinished jobs of
    /// the run. The id of a job that has ended may be used again.
    ///
    /// ```
    /// use ratchet_runtime::{Executor, Job, Payload};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), ratchet_runtime::Error> {
    /// let done = |id: &str| Job::closure(id, |_| async { Ok(Payload::null()) });
    /// let mut run = Executor::builder().build()?.run_list([done("a")])?;
    /// run.handle().add_jobs(vec![done("b").needs(["a"])]).await?;
    /// let mut ended = Vec::new();
    /// while let Some(outcome) = run.next().await {
    ///     ended.push(outcome.id.to_string());
    /// }
    /// assert_eq!(ended, ["a", "b"]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn add_jobs(&self, jobs: Vec<Job>) -> Result<(), Error> {
        let jobs = jobs.into_iter().map(Arc::new).collect();
        self.ask(|answer| RunOrder::Add(jobs, answer)).await
    }

    /// Returns which locks and limits are held, what is left of them, and how many jobs wait.
    pub async fn parallelization(&self) -> Result<ParallelizationStats, Error> {
        self.question(RunOrder::Parallelization).await
    }

    /// Returns which jobs run, and what each waiting job waits for. This takes time that grows with the jobs of the
    /// run, so it should not be called for each refresh of a display.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        self.question(RunOrder::Snapshot).await
    }

    /// Returns the status of the run as of the loop's last turn.
    pub fn status(&self) -> RunStatus {
        self.gauges.status()
    }

    /// Sends an order to the loop. After the end of the run the order is dropped.
    pub(super) fn order(&self, order: RunOrder) {
        let _ = self.orders.send(order);
    }

    /// Sends an order with a channel for the answer, and waits for the answer of the loop's next turn.
    async fn question<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> RunOrder,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.order(order(answer));
        answered.await.map_err(|_| Error::RunEnded)
    }

    async fn ask(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<(), Error>>) -> RunOrder,
    ) -> Result<(), Error> {
        self.question(order).await?
    }

    /// Waits until all jobs have their outcomes, or the run was dropped.
    pub(super) async fn quiet(&self) {
        let orders = self.orders.clone();
        let mut quiet = self.gauges.watch();
        tokio::select! {
            // This cannot fail, because the handle keeps the gauges alive.
            _ = quiet.wait_for(|quiet| *quiet) => {}
            () = orders.closed() => {}
        }
    }

    /// Whether the run takes no more orders, because all its jobs have their outcomes or its loop has ended.
    pub(super) fn is_over(&self) -> bool {
        self.orders.is_closed() || self.gauges.is_quiet()
    }
}

/// Submits jobs to a run that takes them one after another.
///
/// When the last clone is dropped, the run ends after the jobs that were submitted.
#[derive(Debug, Clone)]
pub struct Submitter {
    /// The channel to the source of the run. The source does not read it while the window is full.
    pub(super) jobs: mpsc::Sender<Vec<Arc<Job>>>,
    /// The handle that says whether the run still takes jobs.
    pub(super) handle: RunHandle,
}

impl Submitter {
    /// Submits a job, and waits while the window of the run is full.
    ///
    /// Cancel safe: a job whose future is dropped was not sent.
    pub async fn submit(&self, job: Job) -> Result<(), Error> {
        self.submit_many(vec![job]).await
    }

    /// Submits several jobs at once, which costs hardly more than submitting one.
    ///
    /// All are submitted or none is. The run takes them in as its window has room. Cancel safe, like
    /// [`submit`](Self::submit).
    pub async fn submit_many(&self, jobs: Vec<Job>) -> Result<(), Error> {
        for job in &jobs {
            super::source::check(job)?;
        }
        if self.handle.status().phase != Phase::Running {
            return Err(Error::ShuttingDown);
        }
        let jobs = jobs.into_iter().map(Arc::new).collect();
        self.jobs.send(jobs).await.map_err(|_| Error::ShuttingDown)
    }
}
