//! What can be said to a run from outside, and seen of it.

use std::sync::Arc;

use ratchet_resilience::shutdown::Phase;
use tokio::sync::{mpsc, oneshot};

use super::orders::RunOrder;
use super::snapshot::Snapshot;
use super::status::{Gauges, RunStatus};
use crate::Error;
use crate::ids::PlaceName;
use crate::job::Job;
use crate::scheduling::Limit;

/// Steers a run from anywhere; clones steer the same run.
///
/// ```
/// use ratchet_runtime::{Executor, Job, Payload, Status};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), ratchet_runtime::Error> {
/// let executor = Executor::builder().slots(1).build()?;
/// let forever = |id: &str| Job::closure(id, |context| async move {
///     context.cancelled().cancelled().await;
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
    /// The way to the loop; it is closed once the loop has ended.
    pub(super) orders: mpsc::UnboundedSender<RunOrder>,
    /// The figures that the loop shows after each turn.
    pub(super) gauges: Arc<Gauges>,
}

impl RunHandle {
    /// Starts nothing more and lets finish what runs; what waits is cancelled. When the grace for that is over,
    /// what still runs is cancelled too.
    pub fn drain(&self) {
        self.order(RunOrder::Stop(Phase::Draining));
    }

    /// Asks what runs to stop. When the grace for that is over it is killed.
    pub fn cancel(&self) {
        self.order(RunOrder::Stop(Phase::Cancelling));
    }

    /// Kills what runs, and the workers of its pools that nobody else uses.
    pub fn kill(&self) {
        self.order(RunOrder::Stop(Phase::Killing));
    }

    /// Starts nothing until [`resume`](Self::resume); what runs goes on.
    pub fn pause(&self) {
        self.order(RunOrder::Pause(true));
    }

    /// Lets jobs start again after a pause.
    pub fn resume(&self) {
        self.order(RunOrder::Pause(false));
    }

    /// Starts nothing as long as there is a reason not to, whether it is paused or not: for whoever watches the
    /// machine. The reason is told to sinks.
    pub fn hold(&self, reason: Option<String>) {
        self.order(RunOrder::Hold(reason));
    }

    /// Starts nothing at a place as long as there is a reason not to; the others go on. A run with no other place than its
    /// own one is held by [`hold`](Self::hold).
    pub fn hold_place(&self, place: PlaceName, reason: Option<String>) {
        self.order(RunOrder::HoldPlace(place, reason));
    }

    /// How many attempts run at a place now.
    pub fn running_at(&self, place: &PlaceName) -> usize {
        self.gauges.running_at(place)
    }

    /// Changes the number of slots. Refused if a job that waits or runs would need more.
    pub async fn set_slots(&self, slots: u32) -> Result<(), Error> {
        self.ask(|answer| RunOrder::SetSlots(slots, answer)).await
    }

    /// Changes a named limit; a max stays a max and a rate a rate.
    pub async fn set_limit(&self, name: impl Into<String>, limit: Limit) -> Result<(), Error> {
        let name = name.into();
        self.ask(|answer| RunOrder::SetLimit(name, limit, answer))
            .await
    }

    /// What runs now, and what waits for what. It costs time that grows with the jobs in hand, so it is for people
    /// who ask, not for a display.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let (answer, answered) = oneshot::channel();
        self.order(RunOrder::Snapshot(answer));
        answered.await.map_err(|_| Error::RunEnded)
    }

    /// How it stands, as of the loop's last turn.
    pub fn status(&self) -> RunStatus {
        self.gauges.status()
    }

    /// After its end there is nobody to order anything, and no need to.
    fn order(&self, order: RunOrder) {
        let _ = self.orders.send(order);
    }

    async fn ask(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<(), Error>>) -> RunOrder,
    ) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.order(order(answer));
        answered.await.unwrap_or(Err(Error::RunEnded))
    }

    /// Returns when all jobs have their outcomes, or the run was dropped.
    pub(super) async fn quiet(&self) {
        let orders = self.orders.clone();
        let mut quiet = self.gauges.watch();
        tokio::select! {
            // The gauges live as long as this handle, so it does not fail.
            _ = quiet.wait_for(|quiet| *quiet) => {}
            () = orders.closed() => {}
        }
    }

    /// Whether the run takes no more orders, because all its jobs have their outcomes or its loop has ended.
    pub(super) fn is_over(&self) -> bool {
        self.orders.is_closed() || self.gauges.is_quiet()
    }
}

/// Sends jobs to a run that takes them.
///
/// When the last clone is dropped, no more come, and the run ends with those that came.
#[derive(Debug, Clone)]
pub struct Submitter {
    /// The way to the source of the run, which waits while the window is full.
    pub(super) jobs: mpsc::Sender<Vec<Arc<Job>>>,
    /// Says whether the run still takes jobs.
    pub(super) handle: RunHandle,
}

impl Submitter {
    /// Sends a job; waits while the run has as many as it takes.
    ///
    /// Cancel safe: a job whose future is dropped was not sent.
    pub async fn submit(&self, job: Job) -> Result<(), Error> {
        self.submit_many(vec![job]).await
    }

    /// Sends jobs together, which costs hardly more than one: for those who have very many.
    ///
    /// All are sent or none is; they are taken in as there is room. Cancel safe, as [`submit`](Self::submit)
    /// is.
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
