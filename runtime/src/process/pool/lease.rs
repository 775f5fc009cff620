//! Leases: the exclusive use of one worker by a caller for a while.

use tokio::sync::mpsc;

use crate::dispatch::{Reply, WorkerNumber};
use crate::ids::WorkerName;
use crate::job::Job;
use crate::outcome::{Class, Failure};
use crate::process::supervisor::{Call, Command, PoolId};

/// Keeps a worker for one caller until it is dropped.
///
/// It returns the worker to its pool on drop, in every case: after a panic, from a cancelled future, or when the worker
/// is dead.
#[derive(Debug)]
#[must_use = "the worker goes back to its pool when this is dropped"]
pub struct Lease {
    pool: PoolId,
    /// The number of the worker in its pool.
    number: WorkerNumber,
    worker: WorkerName,
    /// The supervisor that gets the worker back; `None` if the lease was not taken. A lease on its way to the caller
    /// must not keep the supervisor alive, so this reference is weak.
    owner: Option<mpsc::WeakUnboundedSender<Command>>,
    /// Keeps the supervisor alive once the lease has arrived.
    supervisor: Option<mpsc::UnboundedSender<Command>>,
}

impl Lease {
    /// Makes the lease of a worker. Its drop notifies the supervisor.
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

    /// Drops a lease that was not taken. The supervisor knows that already, so nothing is given back.
    pub(in crate::process) fn forget(mut self) {
        self.owner = None;
    }

    /// Returns the name of the worker.
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
        // This also runs where the caller was dropped before the lease arrived.
        let owner = self.owner.take().and_then(|owner| owner.upgrade());
        if let Some(supervisor) = owner {
            // An error means that the supervisor has ended, and the worker with it.
            let _ = supervisor.send(Command::Release(self.pool, self.number));
        }
    }
}
