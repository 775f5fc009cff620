//! The pools of workers that an executor has.

use std::sync::Arc;

use super::kinds::{KindOfWorker, Tasks};
use super::performers::PoolPerformer;
use super::places::Places;
use super::service::Service;
use crate::Error;
use crate::dispatch::{PoolKey, Reporter};
use crate::ids::KindId;
use crate::ids::PlaceName;
use crate::job::Placement;
use crate::process::ProcessPool;

/// The pools of one kind of worker. One run after the other can attach them.
pub(crate) trait PoolSource: Send + Sync {
    /// Returns the kind of worker that the pools make up.
    fn kind(&self) -> KindOfWorker;

    /// Attaches the pools to a run, in which their workers have the number `kind`. There is one pool for each place.
    fn attach(
        &self,
        kind: KindId,
        places: &Places,
        reporter: Reporter,
    ) -> Result<Vec<PoolPerformer>, Error>;
}

/// The pools of a kind of worker, and the tasks of its workers.
#[derive(Debug)]
pub(super) struct KindPools {
    /// The name of the kind.
    pub(super) name: String,
    /// The pools, each with the place where its workers run. There is at least one.
    pub(super) at: Vec<(PlaceName, ProcessPool)>,
    /// Where a job of the kind runs.
    pub(super) on: Placement,
    /// The tasks that the workers perform; empty if the workers declare them.
    pub(super) services: Vec<Service>,
}

impl PoolSource for KindPools {
    fn kind(&self) -> KindOfWorker {
        let tasks = if self.services.is_empty() {
            Tasks::Introduced
        } else {
            Tasks::Served(self.services.clone())
        };
        // All pools of a kind run the same program.
        let first = self.at.first().map(|(_, pool)| pool);
        KindOfWorker {
            name: self.name.clone(),
            tasks,
            on: self.on.clone(),
            process: first.map(|pool| pool.config().process.clone()),
            programs: first.map(|pool| Arc::clone(pool.programs())),
        }
    }

    fn attach(
        &self,
        kind: KindId,
        places: &Places,
        reporter: Reporter,
    ) -> Result<Vec<PoolPerformer>, Error> {
        let attach = |(name, pool): &(PlaceName, ProcessPool)| {
            let place = places.find(name.as_str()).map_err(|_| Error::InvalidPool {
                pool: self.name.clone(),
                reason: "has a pool at a place that the executor does not have",
            })?;
            let link = pool.attach(PoolKey { kind, place }, reporter.clone())?;
            Ok(PoolPerformer::new(place, pool.seats(), Box::new(link)))
        };
        self.at.iter().map(attach).collect()
    }
}
