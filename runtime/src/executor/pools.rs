//! Pools of workers as an executor has them.

use std::sync::Arc;

use ratchet_ipc::TaskName;

use super::builder::PoolSource;
use super::kinds::{KindOfWorker, Tasks};
use super::performers::PoolPerformer;
use crate::Error;
use crate::dispatch::Reporter;
use crate::process::ProcessPool;
use crate::scheduling::{Kind, ParallelizationHint};

/// A task that a pool's workers do, whether they name it or not.
///
/// What is not said here is as the worker declares it in its hello.
///
/// ```
/// use ratchet_runtime::{ParallelizationHint, Service};
///
/// let service = Service {
///     hint: Some(ParallelizationHint::HostExclusive),
///     ..Service::new("resize")
/// };
/// assert_eq!(service.task.as_str(), "resize");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub task: TaskName,
    /// How parallel its jobs may be, where they do not say.
    pub hint: Option<ParallelizationHint>,
    /// Whether results may be used again, where jobs do not say.
    pub cacheable: Option<bool>,
}

impl Service {
    /// A task of which only the name is known.
    pub fn new(task: impl Into<TaskName>) -> Self {
        Self {
            task: task.into(),
            hint: None,
            cacheable: None,
        }
    }
}

/// A pool, and what its workers do.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) pool: ProcessPool,
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
