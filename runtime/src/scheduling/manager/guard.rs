//! The right to run, until it is dropped.

use super::ParallelizationManager;
use crate::ids::Ticket;
use crate::scheduling::acquisitions::{AcquisitionChange, OwnedAcquisition};

/// The right to run, until it is dropped.
///
/// All claims of its hint are held while it lives, and given back when it is dropped: at the end of its scope, by
/// `drop`, or because its task panicked or was cancelled.
#[derive(Debug)]
#[must_use = "what it holds is given back as soon as it is dropped"]
pub struct ParallelizationGuard {
    /// The manager to which the claims go back.
    manager: ParallelizationManager,
    /// The ticket of the job that holds them.
    ticket: Ticket,
    /// What was acquired, if a subscriber listens to the debug events.
    told: Option<Box<OwnedAcquisition>>,
}

impl ParallelizationGuard {
    /// Makes the guard of a request that was granted; its drop gives back all that the request took.
    pub(super) fn new(
        manager: ParallelizationManager,
        ticket: Ticket,
        told: Option<Box<OwnedAcquisition>>,
    ) -> Self {
        if let Some(acquired) = &told {
            acquired.get().tell(AcquisitionChange::Acquired);
        }
        Self {
            manager,
            ticket,
            told,
        }
    }
}

impl Drop for ParallelizationGuard {
    fn drop(&mut self) {
        if let Some(released) = &self.told {
            released.get().tell(AcquisitionChange::Released);
        }
        self.manager.give_back(self.ticket);
    }
}
