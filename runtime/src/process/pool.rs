//! Pools: workers of one kind, kept at the size that the work requires.

mod ahead;
mod lease;
mod seats;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use ahead::Estimate;
pub use lease::Lease;
pub(crate) use seats::{SeatId, Seats};

use super::supervisor::{
    Attachment, Call, Command, InUseFlag, LeaseRequest, PoolId, supervisor_ended,
};
use super::{PoolMetrics, ProcessSupervisor, StartedPrograms};
use crate::Error;
use crate::dispatch::{PoolKey, Reply, Reporter};
use crate::job::Job;
use crate::os::ProcessManager;
use crate::outcome::Failure;
use crate::worker::config::PoolConfig;

/// The workers of one kind.
///
/// Cheap to clone; all clones are one pool. Its workers belong to the supervisor and end with the last handle of the
/// supervisor or one of its pools.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use ratchet_runtime::process::{LocalProcesses, PoolConfig, ProcessConfig, ProcessPool};
/// use ratchet_runtime::{Job, Payload};
///
/// // A whole worker: it answers each request with its id and a 1.
/// let echo = r#"while read -r line; do
///     id=${line#*'"id":"'}; echo "{\"type\":\"response\",\"id\":\"${id%%'"'*}\",\"result\":1}"
/// done"#;
/// let config = PoolConfig::new("one", ProcessConfig::new("sh").args(["-c", echo]));
/// let pool = ProcessPool::new(Arc::new(LocalProcesses::start()), config).await?;
///
/// let reply = pool.run(Job::task("a", "one", Payload::null())).await;
/// assert_eq!(reply.result.unwrap().as_str(), "1");
/// assert_eq!(reply.worker.unwrap().as_str(), "one/1");
/// # Ok::<(), ratchet_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct ProcessPool {
    id: PoolId,
    config: Arc<PoolConfig>,
    programs: Arc<StartedPrograms>,
    supervisor: mpsc::UnboundedSender<Command>,
    /// Set while a run uses the pool, so that no second run gets it.
    in_use: InUseFlag,
}

impl ProcessPool {
    /// Makes a pool with a supervisor of its own.
    pub async fn new(manager: Arc<dyn ProcessManager>, config: PoolConfig) -> Result<Self, Error> {
        ProcessSupervisor::start(manager).add(config).await
    }

    /// Makes the handle of a pool that the supervisor has added.
    pub(super) fn of(
        id: PoolId,
        config: Arc<PoolConfig>,
        programs: Arc<StartedPrograms>,
        supervisor: mpsc::UnboundedSender<Command>,
    ) -> Self {
        Self {
            id,
            config,
            programs,
            supervisor,
            in_use: InUseFlag::default(),
        }
    }

    /// Returns the configuration of the pool.
    pub fn config(&self) -> &PoolConfig {
        &self.config
    }

    /// Returns the stamps of the files that the workers run, taken before the first worker started.
    pub(crate) fn programs(&self) -> &Arc<StartedPrograms> {
        &self.programs
    }

    /// Attaches a run, which identifies the pool by this key. It is refused while another run uses the pool.
    pub(crate) fn attach(&self, key: PoolKey, reporter: Reporter) -> Result<Attachment, Error> {
        let (supervisor, in_use) = (self.supervisor.clone(), self.in_use.clone());
        Attachment::new(self.id, self.name(), supervisor, in_use, key, reporter)
    }

    /// Makes the seats of the pool, before any worker is offered.
    pub(crate) fn seats(&self) -> Seats {
        Seats::new(Arc::clone(&self.config))
    }

    /// Returns the name of the pool.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Runs a task on one of the workers. Dropping the future cancels the job.
    pub async fn run(&self, job: Job) -> Reply {
        Call::make(&self.supervisor, self.id, None, job).await
    }

    /// Waits until a worker is idle, and leases it.
    pub async fn acquire(&self) -> Result<Lease, Box<Failure>> {
        let (answer, answered) = oneshot::channel();
        let supervisor = self.supervisor.downgrade();
        let request = LeaseRequest { answer, supervisor };
        let asked = self.supervisor.send(Command::Acquire(self.id, request));
        match asked.ok() {
            Some(()) => match answered.await {
                Ok(lease) => Ok(lease?.arrived(self.supervisor.clone())),
                Err(_) => Err(Box::new(supervisor_ended())),
            },
            None => Err(Box::new(supervisor_ended())),
        }
    }

    /// Changes the number of workers, which stays the same from then on. Surplus workers finish their jobs first.
    ///
    /// Returns when the pool has that size; its new workers may not be ready yet.
    pub async fn scale_to(&self, size: u32) -> Result<(), Error> {
        self.ask(|answer| Command::ScaleTo(self.id, size, answer))
            .await
    }

    /// Returns how many workers the pool has: those that start and those that work, without those that leave.
    pub async fn size(&self) -> Result<u32, Error> {
        Ok(self.metrics().await?.size)
    }

    /// Returns the figures of the pool: how many workers it has started, how many jobs they have done, and so on.
    pub async fn metrics(&self) -> Result<PoolMetrics, Error> {
        self.ask(|answer| Command::Metrics(self.id, answer)).await
    }

    /// Sends a command to the supervisor and waits for the answer.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.supervisor
            .send(command(answer))
            .map_err(|_| Error::SupervisorEnded)?;
        answered.await.map_err(|_| Error::SupervisorEnded)
    }
}
