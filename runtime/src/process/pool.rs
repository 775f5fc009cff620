//! Pools: workers of one kind, kept at the size that the work asks for.

mod ahead;
mod config;
mod lease;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

pub(super) use ahead::Estimate;
pub use config::{Language, PoolConfig, Prefetch, Recycling, RestartPolicy, Size};
pub use lease::Lease;

use super::supervisor::{Acquirer, Call, Command, PoolCrew};
use super::{PoolMetrics, ProcessManager, ProcessSupervisor, StartedPrograms};
use crate::Error;
use crate::executor::reporter::Reporter;
use crate::job::Job;
use crate::outcome::{Class, Failure};
use crate::scheduling::Kind;
use crate::worker::Reply;

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
    kind: Kind,
    config: Arc<PoolConfig>,
    programs: Arc<StartedPrograms>,
    supervisor: mpsc::UnboundedSender<Command>,
}

impl ProcessPool {
    /// A pool with a supervisor of its own.
    pub async fn new(manager: Arc<dyn ProcessManager>, config: PoolConfig) -> Result<Self, Error> {
        ProcessSupervisor::start(manager).add(config).await
    }

    pub(super) fn of(
        kind: Kind,
        config: Arc<PoolConfig>,
        programs: Arc<StartedPrograms>,
        supervisor: mpsc::UnboundedSender<Command>,
    ) -> Self {
        Self {
            kind,
            config,
            programs,
            supervisor,
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

    /// The pool as an executor has it, which knows it as a kind of its own count.
    pub(crate) fn crew(&self, known_as: Kind, reporter: Reporter) -> PoolCrew {
        PoolCrew::new(self.kind, known_as, self.supervisor.clone(), reporter)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Has some worker do a job. Dropping the future cancels the job.
    pub async fn run(&self, job: Job) -> Reply {
        Call::make(&self.supervisor, self.kind, None, job).await
    }

    /// Waits for a worker of one's own.
    pub async fn acquire(&self) -> Result<Lease, Box<Failure>> {
        let (answer, answered) = oneshot::channel();
        let supervisor = self.supervisor.downgrade();
        let acquirer = Acquirer { answer, supervisor };
        let asked = self.supervisor.send(Command::Acquire(self.kind, acquirer));
        match asked.ok() {
            Some(()) => match answered.await {
                Ok(lease) => Ok(lease?.of(self.supervisor.clone())),
                Err(_) => Err(Box::new(gone())),
            },
            None => Err(Box::new(gone())),
        }
    }

    /// Makes it so many workers, and keeps it there. Those that leave finish what they have first.
    ///
    /// Returns when the pool has that size; its new workers may not be ready yet.
    pub async fn scale_to(&self, size: u32) -> Result<(), Error> {
        self.ask(|answer| Command::ScaleTo(self.kind, size, answer))
            .await
    }

    /// How many workers it has: those that start and those that work, without those that leave.
    pub async fn size(&self) -> Result<u32, Error> {
        Ok(self.metrics().await?.size)
    }

    /// What it has done so far.
    pub async fn metrics(&self) -> Result<PoolMetrics, Error> {
        self.ask(|answer| Command::Metrics(self.kind, answer)).await
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

fn gone() -> Failure {
    Failure::new(Class::Cancelled, "the workers' supervisor has ended")
}
