//! The supervisor: one actor that owns all workers.
//!
//! ```text
//! pools, runs --Command--> supervisor --Order--> connection (one per worker) ==pipes== worker
//!      ^                    |      ^                 |    |
//!      |                    |      +--WorkerEvent----+    +--Report, Reply: results--> runs, callers
//!      +--Report: workers---+
//! ```
//!
//! The supervisor starts, watches, replaces and ends workers, and offers them to the user of their pool. It sends
//! attempts to workers only while callers use a pool directly. The decisions for a pool are a plain value,
//! [`PoolState`]; the actor starts connections, forwards their events, and reads the clock. No failure of a worker, of
//! a pool or of the system ends it.

mod actor;
mod attachment;
mod call;
mod metrics;
mod pool_state;
mod worker;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};

use actor::Actor;
pub(crate) use attachment::Attachment;
pub(super) use attachment::InUseFlag;
pub(super) use call::{Call, supervisor_ended};
pub use metrics::PoolMetrics;
#[cfg(doc)]
use pool_state::PoolState;
pub(super) use pool_state::PoolUser;

use super::{Lease, ProcessPool, StartedPrograms};
use crate::Error;
use crate::blocking::run_blocking;
use crate::dispatch::{Assignment, AttemptKey, Demand, WorkerNumber};
use crate::os::{ProcessId, ProcessManager, ProcessUsage};
use crate::outcome::Failure;
use crate::worker::config::PoolConfig;

/// Owns workers: starts them, gives them work, replaces them, and makes sure that none is left behind.
///
/// Cheap to clone. It ends, with its workers, when the last handle of it or of one of its pools is dropped.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use ratchet_runtime::process::{LocalProcesses, PoolConfig, ProcessConfig, ProcessSupervisor};
///
/// let supervisor = ProcessSupervisor::start(Arc::new(LocalProcesses::start()));
/// let missing = PoolConfig::new("resize", ProcessConfig::new("./no-such-worker"));
/// let pool = supervisor.add(missing).await?;
///
/// // What can never start is given up at once, and says why.
/// let refused = pool.acquire().await.unwrap_err();
/// assert!(refused.message.contains("there is no program `./no-such-worker`"), "{refused}");
/// # Ok::<(), ratchet_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct ProcessSupervisor {
    commands: mpsc::UnboundedSender<Command>,
}

/// The number of a pool among those of its supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PoolId(usize);

/// Identifies one use of a pool by a run, to tell it from later uses of the same pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AttachmentId(u64);

impl AttachmentId {
    fn next() -> Self {
        // Relaxed: only uniqueness matters; it orders nothing else.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A command to the supervisor. None of the channel's users waits, so it has no bound of its own: what is in it is
/// bounded by what its users have in flight.
pub(super) enum Command {
    /// Adds a pool, and answers with its number.
    Add(Box<PoolConfig>, oneshot::Sender<Result<PoolId, Error>>),
    /// Makes a run the user of a pool.
    Attach(PoolId, PoolUser),
    /// Ends the use of a pool by a run.
    Detach(PoolId, AttachmentId),
    /// Reports how much work a run has left for a pool.
    Demand(PoolId, AttachmentId, Demand),
    /// A call to a pool, or to one worker of it.
    Perform(PoolId, Option<WorkerNumber>, Assignment),
    /// Asks a worker to stop a caller's attempt, because the caller was dropped.
    Stop(PoolId, AttemptKey),
    /// Asks for the exclusive use of a worker.
    Acquire(PoolId, LeaseRequest),
    /// Ends the exclusive use of a worker.
    Release(PoolId, WorkerNumber),
    /// Changes the size of a pool, and answers when that is done.
    ScaleTo(PoolId, u32, oneshot::Sender<()>),
    /// Asks for the figures of a pool.
    Metrics(PoolId, oneshot::Sender<PoolMetrics>),
    /// Delivers the usage of the workers' processes; `None` if it could not be measured.
    Measured(Option<BTreeMap<ProcessId, ProcessUsage>>),
    /// Ends all workers, and answers when none is left.
    Close(oneshot::Sender<()>),
}

/// The request of a caller for a lease.
pub(super) struct LeaseRequest {
    /// Receives the lease, or the failure for which there is none.
    pub(super) answer: oneshot::Sender<Result<Lease, Box<Failure>>>,
    /// The supervisor that the lease notifies when it is dropped. A waiting request must not keep the supervisor alive,
    /// so this is weak.
    pub(super) supervisor: mpsc::WeakUnboundedSender<Command>,
}

impl ProcessSupervisor {
    /// Starts a supervisor without workers on the current tokio runtime.
    pub fn start(manager: Arc<dyn ProcessManager>) -> Self {
        Self::with(manager, None)
    }

    /// Starts a supervisor that never has more workers than this, over all pools. While one is replaced, its
    /// successor comes on top.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use ratchet_runtime::process::{LocalProcesses, PoolConfig, ProcessConfig, ProcessSupervisor, Size};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ratchet_runtime::Error> {
    /// let supervisor = ProcessSupervisor::capped(Arc::new(LocalProcesses::start()), 3);
    /// let pool = |name| PoolConfig { size: Size::fixed(2), ..PoolConfig::new(name, ProcessConfig::new("cat")) };
    /// let (first, second) = (supervisor.add(pool("a")).await?, supervisor.add(pool("b")).await?);
    /// assert_eq!((first.size().await?, second.size().await?), (2, 1));
    /// supervisor.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn capped(manager: Arc<dyn ProcessManager>, most: u32) -> Self {
        Self::with(manager, Some(most))
    }

    /// Starts a supervisor with a cap on the number of workers.
    fn with(manager: Arc<dyn ProcessManager>, most: Option<u32>) -> Self {
        let (commands, received) = mpsc::unbounded_channel();
        let (news, told) = mpsc::unbounded_channel();
        // The measurement ends with the supervisor, so this must not keep it alive.
        let actor = Actor::new(manager, most, commands.downgrade(), news);
        tokio::spawn(actor.run(received, told));
        Self { commands }
    }

    /// Adds a pool. Its first workers start at once.
    pub async fn add(&self, config: PoolConfig) -> Result<ProcessPool, Error> {
        config.check()?;
        let known = Arc::new(config.clone());
        // The stamps are taken before the first worker starts: a file that is read later may not be the one that the
        // worker was started from.
        let process = config.process.clone();
        let programs = run_blocking(move || StartedPrograms::about_to_start(&process)).await;
        let programs = programs.map_err(|error| Error::NoThread {
            purpose: "looks at the program of a worker",
            reason: error.to_string(),
        })?;
        let (answer, answered) = oneshot::channel();
        self.commands
            .send(Command::Add(Box::new(config), answer))
            .map_err(|_| Error::SupervisorEnded)?;
        let id = answered.await.map_err(|_| Error::SupervisorEnded)??;
        Ok(ProcessPool::of(
            id,
            known,
            Arc::new(programs),
            self.commands.clone(),
        ))
    }

    /// Lets all workers finish their attempts, and returns when the last worker is gone.
    pub async fn shutdown(&self) {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(Command::Close(answer)).is_ok() {
            // An error means that the supervisor is gone without an answer, and then its workers are gone, too.
            let _ = answered.await;
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Command")
    }
}

#[cfg(test)]
mod tests;
