//! Leases: a caller has the exclusive use of one worker for a while.

use tokio::sync::mpsc;

use crate::dispatch::{Reply, WorkerNumber};
use crate::ids::WorkerName;
use crate::job::Job;
use crate::outcome::{Class, Failure};
use crate::process::supervisor::{Call, Command, PoolId};

/// Keeps a worker for one caller until it is dropped.
///
/// It goes back to its pool on drop, whatever happens: after a panic, out of a cancelled future, or
/// with the worker dead.
#[derive(Debug)]
#[must_use = "the worker goes back to its pool when this is dropped"]
pub struct Lease {
    pool: PoolId,
    /// The number of the worker in its pool.
    number: WorkerNumber,
    worker: WorkerName,
    /// The supervisor that gets the worker back, unless nobody took the lease. A lease on its way to the caller must not keep
    /// the supervisor alive, so this reference is weak.
    owner: Option<mpsc::WeakUnboundedSender<Command>>,
    /// Keeps the supervisor alive once the lease has arrived.
    supervisor: Option<mpsc::UnboundedSender<Command>>,
}

impl Lease {
    /// Makes the lease of a worker, whose drop tells the supervisor.
    pub(in crate::process) fn new(
        pool: PoolId,
        number: WorkerNumber,
        worker: WorkerName,
        owner: mpsc::WeakUnboundedSender<Command>,
    ) -> Self {
        Self {
            pool,
            number,
            worker,
            owner: Some(owner),
            supervisor: None,
        }
    }

    /// Keeps the supervisor alive from now on, because the lease has arrived at its caller.
    pub(in crate::process) fn arrived(
        mut self,
        supervisor: mpsc::UnboundedSender<Command>,
    ) -> Self {
        self.supervisor = Some(supervisor);
        self
    }

    /// Drops a lease that nobody took. The supervisor knows that already, so nothing is given back.
    pub(in crate::process) fn forget(mut self) {
        self.owner = None;
    }

    /// The name of the worker.
    pub fn worker(&self) -> &WorkerName {
        &self.worker
    }

    /// Runs a job on this worker. Dropping the future cancels the job.
    pub async fn run(&mut self, job: Job) -> Reply {
        let Some(supervisor) = &self.supervisor else {
            return Reply::failed(Failure::new(Class::Crash, "the lease has ended"));
        };
        Call::make(supervisor, self.pool, Some(self.number), job).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // This also runs where the caller went away before the lease arrived.
        let owner = self.owner.take().and_then(|owner| owner.upgrade());
        if let Some(supervisor) = owner {
            // An error means that the supervisor has ended, and with it the worker.
            let _ = supervisor.send(Command::Release(self.pool, self.number));
        }
    }
}
