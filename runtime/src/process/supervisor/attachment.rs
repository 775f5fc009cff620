//! The attachment of a run to a pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::{AttachmentId, Command, PoolId};
use crate::Error;
use crate::dispatch::{Demand, PoolKey, Reporter};

/// Whether a run uses a pool. All handles of the pool share this flag.
#[derive(Debug, Clone, Default)]
pub(in crate::process) struct InUseFlag(Arc<AtomicBool>);

/// Keeps a pool for one run: until it is dropped, the pool's workers are offered to that run only.
#[derive(Debug)]
pub(crate) struct Attachment {
    pool: PoolId,
    run: AttachmentId,
    supervisor: mpsc::UnboundedSender<Command>,
    /// Cleared when this is dropped, so that another run can have the pool.
    in_use: InUseFlag,
}

impl Attachment {
    /// Attaches a run, which identifies the pool by this key. It is refused while another run uses the pool.
    pub(in crate::process) fn new(
        pool: PoolId,
        name: &str,
        supervisor: mpsc::UnboundedSender<Command>,
        in_use: InUseFlag,
        key: PoolKey,
        reporter: Reporter,
    ) -> Result<Self, Error> {
        // AcqRel pairs with the Release in `drop`: the supervisor gets the `Detach` of the earlier run first, and then
        // the `Attach` of this one.
        if in_use.0.swap(true, Ordering::AcqRel) {
            return Err(Error::PoolInUse {
                pool: name.to_owned(),
            });
        }
        let run = AttachmentId::next();
        let user = super::PoolUser::Run {
            run,
            reporter,
            pool: key,
        };
        if let Err(refused) = supervisor.send(Command::Attach(pool, user))
            && let Command::Attach(_, super::PoolUser::Run { reporter, .. }) = refused.0
        {
            // The supervisor has ended, so no worker will ever be offered. The run gets the same report as from the
            // supervisor.
            reporter.send(super::pool_state::supervisor_ended_report(key));
        }
        Ok(Self {
            pool,
            run,
            supervisor,
            in_use,
        })
    }

    /// Reports to the supervisor how much work the run has left for the pool.
    pub(crate) fn demand(&self, demand: Demand) {
        // An error means that the supervisor is gone, and so are its workers.
        let _ = self
            .supervisor
            .send(Command::Demand(self.pool, self.run, demand));
    }
}

impl Drop for Attachment {
    /// Stops the run's attempts at the pool's workers, and lets others use the pool.
    fn drop(&mut self) {
        // An error means that the supervisor is gone, and has stopped everything.
        let _ = self.supervisor.send(Command::Detach(self.pool, self.run));
        // Release pairs with the swap in `new`. The flag is cleared only after the `Detach` was sent.
        self.in_use.0.store(false, Ordering::Release);
    }
}
