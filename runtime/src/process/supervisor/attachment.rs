//! A pool, as the run that has it knows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::{Command, PoolId, RunId};
use crate::Error;
use crate::dispatch::{Demand, Reporter};
use crate::scheduling::Kind;

/// Whether a run has a pool. All handles on the pool share it.
#[derive(Debug, Clone, Default)]
pub(in crate::process) struct InUse(Arc<AtomicBool>);

/// A run's hold on a pool: while it lives, the pool's workers are offered to that run and to nobody else.
#[derive(Debug)]
pub(crate) struct Attachment {
    pool: PoolId,
    run: RunId,
    supervisor: mpsc::UnboundedSender<Command>,
    in_use: InUse,
}

impl Attachment {
    /// Takes the pool for a run, which knows it as `kind`. Refused while another run has it.
    pub(in crate::process) fn new(
        pool: PoolId,
        name: &str,
        supervisor: mpsc::UnboundedSender<Command>,
        in_use: InUse,
        kind: Kind,
        reporter: Reporter,
    ) -> Result<Self, Error> {
        // AcqRel: what the run before has sent to the supervisor is sent before what this one sends.
        if in_use.0.swap(true, Ordering::AcqRel) {
            return Err(Error::PoolInUse {
                pool: name.to_owned(),
            });
        }
        let run = RunId::next();
        let holder = super::Holder::Run {
            run,
            reporter,
            kind,
        };
        if let Err(refused) = supervisor.send(Command::Attach(pool, holder))
            && let Command::Attach(_, super::Holder::Run { reporter, .. }) = refused.0
        {
            // Nobody will ever offer a worker.
            reporter.tell(super::pool_state::ended(kind));
        }
        Ok(Self {
            pool,
            run,
            supervisor,
            in_use,
        })
    }

    /// Says how much work is left for the pool.
    pub(crate) fn demand(&self, demand: Demand) {
        // A supervisor that is gone has no workers.
        let _ = self
            .supervisor
            .send(Command::Demand(self.pool, self.run, demand));
    }
}

impl Drop for Attachment {
    /// Stops what the run has given to the pool's workers, and lets others have them.
    fn drop(&mut self) {
        // A supervisor that is gone has stopped everything.
        let _ = self.supervisor.send(Command::Detach(self.pool, self.run));
        // Release: see `new`.
        self.in_use.0.store(false, Ordering::Release);
    }
}
