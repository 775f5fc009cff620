//! One worker for oneself, for a while.

use tokio::sync::mpsc;

use crate::job::Job;
use crate::outcome::{Class, Failure};
use crate::process::supervisor::{Call, Command};
use crate::scheduling::Kind;
use crate::worker::{Reply, WorkerName};

/// A worker that nobody else gets, until this is dropped.
///
/// It goes back to its pool on drop, whatever happens: after a panic, out of a cancelled future, or
/// with the worker dead.
#[derive(Debug)]
#[must_use = "the worker goes back to its pool when this is dropped"]
pub struct Lease {
    kind: Kind,
    number: u64,
    worker: WorkerName,
    supervisor: Option<mpsc::UnboundedSender<Command>>,
}

impl Lease {
    pub(in crate::process) fn new(kind: Kind, number: u64, worker: WorkerName) -> Self {
        Self {
            kind,
            number,
            worker,
            supervisor: None,
        }
    }

    /// Its drop is told to this supervisor.
    pub(in crate::process) fn of(mut self, supervisor: mpsc::UnboundedSender<Command>) -> Self {
        self.supervisor = Some(supervisor);
        self
    }

    /// Nobody took it, so nothing has to be given back.
    pub(in crate::process) fn forget(&mut self) {
        self.supervisor = None;
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
        Call::make(supervisor, self.kind, Some(self.number), job).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(supervisor) = self.supervisor.take() {
            // A supervisor that is gone has taken the worker with it.
            let _ = supervisor.send(Command::Release(self.kind, self.number));
        }
    }
}
