//! Pools: workers of one kind, kept at the size that the work asks for.

mod ahead;
mod lease;
mod seats;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use ahead::Estimate;
pub use lease::Lease;
pub(crate) use seats::{SeatId, Seats};

use super::supervisor::{Acquirer, Attachment, Call, Command, InUse, PoolId, supervisor_ended};
use super::{PoolMetrics, ProcessSupervisor, StartedPrograms};
use crate::Error;
use crate::dispatch::{Reply, Reporter};
use crate::job::Job;
use crate::os::ProcessManager;
use crate::outcome::Failure;
use crate::scheduling::Kind;
use crate::worker::config::PoolConfig;

/// The workers of one kind.
///
/// Cheap to clone; all clones are one pool. Its workers belong to the supervisor and end with the last
/// handle on it.
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
    in_use: InUse,
}

impl ProcessPool {
    /// A pool with a supervisor of its own.
    pub async fn new(manager: Arc<dyn ProcessManager>, config: PoolConfig) -> Result<Self, Error> {
        ProcessSupervisor::start(manager).add(config).await
    }

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
            in_use: InUse::default(),
        }
    }

    /// What it was made with.
    pub fn config(&self) -> &PoolConfig {
        &self.config
    }

    /// What its workers run, as it was before the first of them started.
    pub(crate) fn programs(&self) -> &Arc<StartedPrograms> {
        &self.programs
    }

    /// Takes the pool for a run, which knows it as `kind`. Refused while another run has it.
    pub(crate) fn attach(&self, kind: Kind, reporter: Reporter) -> Result<Attachment, Error> {
        let (supervisor, in_use) = (self.supervisor.clone(), self.in_use.clone());
        Attachment::new(self.id, self.name(), supervisor, in_use, kind, reporter)
    }

    /// The seats of the pool, of which no worker has been offered yet.
    pub(crate) fn seats(&self) -> Seats {
        Seats::new(Arc::clone(&self.config))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Has some worker do a job. Dropping the future cancels the job.
    pub async fn run(&self, job: Job) -> Reply {
        Call::make(&self.supervisor, self.id, None, job).await
    }

    /// Waits for a worker of one's own.
    pub async fn acquire(&self) -> Result<Lease, Box<Failure>> {
        let (answer, answered) = oneshot::channel();
        let supervisor = self.supervisor.downgrade();
        let acquirer = Acquirer { answer, supervisor };
        let asked = self.supervisor.send(Command::Acquire(self.id, acquirer));
        match asked.ok() {
            Some(()) => match answered.await {
                Ok(lease) => Ok(lease?.of(self.supervisor.clone())),
                Err(_) => Err(Box::new(supervisor_ended())),
            },
            None => Err(Box::new(supervisor_ended())),
        }
    }

    /// Makes it so many workers, and keeps it there. Those that leave finish what they have first.
    ///
    /// Returns when the pool has that size; its new workers may not be ready yet.
    pub async fn scale_to(&self, size: u32) -> Result<(), Error> {
        self.ask(|answer| Command::ScaleTo(self.id, size, answer))
            .await
    }

    /// How many workers it has: those that start and those that work, without those that leave.
    pub async fn size(&self) -> Result<u32, Error> {
        Ok(self.metrics().await?.size)
    }

    /// What it has done so far.
    pub async fn metrics(&self) -> Result<PoolMetrics, Error> {
        self.ask(|answer| Command::Metrics(self.id, answer)).await
    }

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
