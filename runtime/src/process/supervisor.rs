//! The supervisor: one actor that owns all workers.
//!
//! ```text
//! pools, executors --Command--> supervisor --Order--> a connection a worker ==pipes== worker
//!                                   ^                     |        |
//!                                   +---------News--------+        +--Report, Reply--> whoever asked
//! ```
//!
//! Each kind has a roster: a plain value that is told what happens and decides. The actor starts
//! connections, passes on what they tell, and looks at the clock. No failure of a worker, of a kind or
//! of the system ends it.

mod actor;
mod call;
mod crew;
mod member;
mod memory;
mod metrics;
mod roster;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use actor::Actor;
pub(super) use call::Call;
pub(crate) use crew::PoolCrew;
pub(crate) use memory::MemoryProbe;
pub use metrics::PoolMetrics;
use roster::Listener;

use super::{Lease, PoolConfig, ProcessManager, ProcessPool, StartedPrograms};
use crate::Error;
use crate::executor::crew::{Prospect, Stop};
use crate::executor::reporter::Reporter;
use crate::outcome::Failure;
use crate::scheduling::Kind;
use crate::worker::orders::{Key, Work};

/// Owns workers: starts them, gives them work, replaces them, and sees that none is left behind.
///
/// Cheap to clone. It ends with the last handle on it or on one of its pools, and its workers with it.
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

/// What others ask of the supervisor. None of the channel's users waits, so it has no bound of its own:
/// what is in it is bounded by what they have in flight.
pub(super) enum Command {
    Add(Box<PoolConfig>, oneshot::Sender<Result<Kind, Error>>),
    Listen(Kind, Listener),
    Abandon(Kind, Reporter),
    /// Work for a kind, or for one worker of it.
    Work(Kind, Option<u64>, Work),
    Stop(Key, Stop),
    /// What the executor of this number has left for a kind.
    Expect(Kind, u64, Prospect),
    Acquire(Kind, Acquirer),
    Release(Kind, u64),
    ScaleTo(Kind, u32, oneshot::Sender<()>),
    Metrics(Kind, oneshot::Sender<PoolMetrics>),
    Weighed(BTreeMap<u32, u64>),
    Close(oneshot::Sender<()>),
}

/// Somebody who wants a worker for themselves.
pub(super) struct Acquirer {
    pub(super) answer: oneshot::Sender<Result<Lease, Box<Failure>>>,
    /// Whom the lease tells of its drop. Waiting for a worker must not keep the supervisor alive.
    pub(super) supervisor: mpsc::WeakUnboundedSender<Command>,
}

impl ProcessSupervisor {
    /// A supervisor without workers, on the current tokio runtime.
    pub fn start(manager: Arc<dyn ProcessManager>) -> Self {
        Self::with(manager, None)
    }

    /// A supervisor that never has more workers than this, over all kinds. While one is replaced, its
    /// successor comes on top.
    pub fn capped(manager: Arc<dyn ProcessManager>, most: u32) -> Self {
        Self::with(manager, Some(most))
    }

    fn with(manager: Arc<dyn ProcessManager>, most: Option<u32>) -> Self {
        Self::probing(manager, most, Arc::new(memory::probe))
    }

    pub(crate) fn probing(
        manager: Arc<dyn ProcessManager>,
        most: Option<u32>,
        probe: Arc<MemoryProbe>,
    ) -> Self {
        let (commands, received) = mpsc::unbounded_channel();
        let (news, told) = mpsc::unbounded_channel();
        // Weighing ends with the supervisor, so this must not keep it alive.
        let actor = Actor::new(manager, most, probe, commands.downgrade(), news);
        tokio::spawn(actor.run(received, told));
        Self { commands }
    }

    /// Adds a kind of worker. Its first workers start at once.
    pub async fn add(&self, config: PoolConfig) -> Result<ProcessPool, Error> {
        config.check()?;
        let known = Arc::new(config.clone());
        // Before the first worker starts: what is looked at later may not be what it was started from.
        let process = config.process.clone();
        let programs =
            tokio::task::spawn_blocking(move || StartedPrograms::about_to_start(&process));
        let programs = programs.await.map_err(|_| Error::SupervisorEnded)?;
        let (answer, answered) = oneshot::channel();
        self.commands
            .send(Command::Add(Box::new(config), answer))
            .map_err(|_| Error::SupervisorEnded)?;
        let kind = answered.await.map_err(|_| Error::SupervisorEnded)??;
        Ok(ProcessPool::of(
            kind,
            known,
            Arc::new(programs),
            self.commands.clone(),
        ))
    }

    /// Lets all workers finish what they have, and returns when the last is gone.
    pub async fn shutdown(&self) {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(Command::Close(answer)).is_ok() {
            // Gone is gone, whether it could say so or not.
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
