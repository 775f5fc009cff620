//! One worker for oneself, for a while.

use tokio::sync::mpsc;

use crate::dispatch::{Reply, WorkerNumber};
use crate::ids::WorkerName;
use crate::job::Job;
use crate::outcome::{Class, Failure};
use crate::process::supervisor::{Call, Command, PoolId};

/// A worker that nobody else gets, until this is dropped.
///
/// It goes back to its pool on drop, whatever happens: after a panic, out of a cancelled future, or
/// with the worker dead.
#[derive(Debug)]
#[must_use = "the worker goes back to its pool when this is dropped"]
pub struct Lease {
    pool: PoolId,
    number: WorkerNumber,
    worker: WorkerName,
    /// Nothing once there is nothing to give back. On its way to whoever asked for it, a lease does not
    /// keep the supervisor alive.
    home: Option<mpsc::WeakUnboundedSender<Command>>,
    supervisor: Option<mpsc::UnboundedSender<Command>>,
}

impl Lease {
    pub(in crate::process) fn new(
        pool: PoolId,
        number: WorkerNumber,
        worker: WorkerName,
        home: mpsc::WeakUnboundedSender<Command>,
    ) -> Self {
        Self {
            pool,
            number,
            worker,
            home: Some(home),
            supervisor: None,
        }
    }

    /// It has arrived, and keeps the supervisor alive from now on.
    pub(in crate::process) fn of(mut self, supervisor: mpsc::UnboundedSender<Command>) -> Self {
        self.supervisor = Some(supervisor);
        self
    }

    /// Nobody took it, so nothing has to be given back.
    pub(in crate::process) fn forget(mut self) {
        self.home = None;
    }

    /// Which worker it is.
    pub fn worker(&self) -> &WorkerName {
        &self.worker
    }

    /// Has this worker do a job. Dropping the future cancels the job.
    pub async fn run(&mut self, job: Job) -> Reply {
        let Some(supervisor) = &self.supervisor else {
            return Reply::failed(Failure::new(Class::Crash, "the lease has ended"));
        };
        Call::make(supervisor, self.pool, Some(self.number), job).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Also where whoever asked for it went away before it arrived.
        let home = self.home.take().and_then(|home| home.upgrade());
        if let Some(supervisor) = home {
            // A supervisor that is gone has taken the worker with it.
            let _ = supervisor.send(Command::Release(self.pool, self.number));
        }
    }
}
