//! Pools of workers as an executor has them.

use std::sync::Arc;

use super::kinds::{KindOfWorker, Tasks};
use super::performers::PoolPerformer;
use super::service::Service;
use crate::Error;
use crate::dispatch::Reporter;
use crate::process::ProcessPool;
use crate::scheduling::Kind;

/// A pool that runs can have, one after the other.
pub(crate) trait PoolSource: Send + Sync {
    /// Returns what the loop has to know of its workers.
    fn kind(&self) -> KindOfWorker;

    /// Takes the pool for a run, which knows it as `kind`.
    fn attach(&self, kind: Kind, reporter: Reporter) -> Result<PoolPerformer, Error>;
}

/// A pool, and what its workers do.
#[derive(Debug)]
pub(super) struct Pool {
    /// The pool whose workers do the jobs.
    pub(super) pool: ProcessPool,
    /// The tasks that the workers do; none if the workers declare them.
    pub(super) services: Vec<Service>,
}

impl PoolSource for Pool {
    fn kind(&self) -> KindOfWorker {
        let tasks = if self.services.is_empty() {
            Tasks::Introduced
        } else {
            Tasks::Served(self.services.clone())
        };
        KindOfWorker {
            name: self.pool.name().to_owned(),
            tasks,
            process: Some(self.pool.config().process.clone()),
            programs: Some(Arc::clone(self.pool.programs())),
        }
    }

    fn attach(&self, kind: Kind, reporter: Reporter) -> Result<PoolPerformer, Error> {
        let link = self.pool.attach(kind, reporter)?;
        Ok(PoolPerformer::new(self.pool.seats(), Box::new(link)))
    }
}
