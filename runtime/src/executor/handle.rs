//! What can be said to a run from outside, and seen of it.

use std::sync::{Arc, Mutex, PoisonError};

use ratchet_ipc::JobKey;
use ratchet_resilience::shutdown::Phase;
use tokio::sync::{mpsc, oneshot, watch};

use super::snapshot::Snapshot;
use crate::Error;
use crate::job::Job;
use crate::scheduling::Limit;

/// What the loop is told.
#[derive(Debug)]
pub(super) enum Order {
    Stop(Phase),
    Hold(Option<String>),
    Pause(bool),
    SetSlots(u32, oneshot::Sender<Result<(), Error>>),
    SetLimit(String, Limit, oneshot::Sender<Result<(), Error>>),
    Snapshot(oneshot::Sender<Snapshot>),
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStatus {
    /// How far it has come on the way to its end.
    pub phase: Phase,
    /// Why no attempt starts, if none does.
    pub held: Option<String>,
    /// Jobs it has taken.
    pub taken: u64,
    /// Those of them that wait, for whatever.
    pub waiting: usize,
    /// Those that run.
    pub running: usize,
    /// The most that ran at the same time.
    pub peak: usize,
    /// Those that have ended.
    pub ended: u64,
    /// Those of these that succeeded.
    pub succeeded: u64,
    /// Those of these that failed, timed out or crashed.
    pub failed: u64,
    /// Jobs whose results were delivered and may be wrong, because the filter that gave them proved to be out of
    /// step.
    pub suspects: Vec<JobKey>,
    /// All slots there are.
    pub slots: u32,
    /// Those that are filled.
    pub slots_used: u32,
}

impl RunStatus {
    pub(super) fn new(slots: u32) -> Self {
        Self {
            phase: Phase::Running,
            held: None,
            taken: 0,
            waiting: 0,
            running: 0,
            peak: 0,
            ended: 0,
            succeeded: 0,
            failed: 0,
            suspects: Vec::new(),
            slots,
            slots_used: 0,
        }
    }
}

/// What the loop shows.
#[derive(Debug)]
pub(super) struct Gauges {
    status: Mutex<RunStatus>,
    quiet: watch::Sender<bool>,
}

impl Gauges {
    pub(super) fn new(slots: u32) -> Self {
        Self {
            status: Mutex::new(RunStatus::new(slots)),
            quiet: watch::Sender::new(false),
        }
    }

    /// Plain figures: there is nothing that could be left half done.
    pub(super) fn set(&self, change: impl FnOnce(&mut RunStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn status(&self) -> RunStatus {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.clone()
    }

    /// All jobs have their outcomes, and nothing is done any more.
    pub(super) fn set_quiet(&self) {
        self.quiet
            .send_if_modified(|quiet| !std::mem::replace(quiet, true));
    }

    pub(super) fn is_quiet(&self) -> bool {
        *self.quiet.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.quiet.subscribe()
    }
}

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
    pub(super) orders: mpsc::UnboundedSender<Order>,
    pub(super) gauges: Arc<Gauges>,
}

impl RunHandle {
    /// Starts nothing more and lets finish what runs; what waits is cancelled. When the grace for that is over,
    /// what still runs is cancelled too.
    pub fn drain(&self) {
        self.order(Order::Stop(Phase::Draining));
    }

    /// Asks what runs to stop. When the grace for that is over it is killed.
    pub fn cancel(&self) {
        self.order(Order::Stop(Phase::Cancelling));
    }

    /// Kills what runs, and the workers of its pools that nobody else uses.
    pub fn kill(&self) {
        self.order(Order::Stop(Phase::Killing));
    }

    /// Starts nothing until [`resume`](Self::resume); what runs goes on.
    pub fn pause(&self) {
        self.order(Order::Pause(true));
    }

    /// Starts jobs again.
    pub fn resume(&self) {
        self.order(Order::Pause(false));
    }

    /// Starts nothing as long as there is a reason not to, whether it is paused or not: for whoever watches the
    /// machine. The reason is told to sinks.
    pub fn hold(&self, reason: Option<String>) {
        self.order(Order::Hold(reason));
    }

    /// Changes the number of slots. Refused if a job that waits or runs would need more.
    pub async fn set_slots(&self, slots: u32) -> Result<(), Error> {
        self.ask(|answer| Order::SetSlots(slots, answer)).await
    }

    /// Changes a named limit; a max stays a max and a rate a rate.
    pub async fn set_limit(&self, name: impl Into<String>, limit: Limit) -> Result<(), Error> {
        let name = name.into();
        self.ask(|answer| Order::SetLimit(name, limit, answer))
            .await
    }

    /// What runs now, and what waits for what. It costs time that grows with the jobs in hand, so it is for people
    /// who ask, not for a display.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Snapshot(answer));
        answered.await.map_err(|_| Error::RunEnded)
    }

    /// How it stands, as of the loop's last turn.
    pub fn status(&self) -> RunStatus {
        self.gauges.status()
    }

    /// After its end there is nobody to order anything, and no need to.
    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    async fn ask(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<(), Error>>) -> Order,
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

    pub(super) fn is_over(&self) -> bool {
        self.orders.is_closed() || self.gauges.is_quiet()
    }
}

/// Sends jobs to a run that takes them.
///
/// When the last clone is dropped, no more come, and the run ends with those that came.
#[derive(Debug, Clone)]
pub struct Submitter {
    pub(super) jobs: mpsc::Sender<Vec<Arc<Job>>>,
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
            super::run::check(job)?;
        }
        if self.handle.status().phase != Phase::Running {
            return Err(Error::ShuttingDown);
        }
        let jobs = jobs.into_iter().map(Arc::new).collect();
        self.jobs.send(jobs).await.map_err(|_| Error::ShuttingDown)
    }
}
