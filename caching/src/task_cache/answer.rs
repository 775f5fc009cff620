//! What a task cache answers with.

use crate::cache::{Entry, EntryKind, Listing, Stats};
use crate::fingerprint::Difference;
use crate::task_cache::policy::{Failure, FailureKind, NotStored, Outcome};
use crate::task_cache::wait::{Permit, Waiter};

/// What [`TaskCache::lookup`](crate::TaskCache::lookup) found.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// A result, or a permanent failure, that is stored.
    Hit(Hit),
    /// Nothing that may be used.
    Miss,
}

/// A stored outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The entry as it is stored.
    pub entry: Entry,
}

impl Hit {
    /// The outcome that was stored.
    pub fn outcome(&self) -> Outcome {
        let value = self.entry.shared_value();
        match self.entry.metadata().kind {
            EntryKind::Success => Ok(value),
            EntryKind::PermanentFailure => Err(Failure::new(FailureKind::Permanent, value)),
        }
    }
}

/// What an asker has to do.
#[derive(Debug)]
pub enum Begin {
    /// Nothing: the outcome is stored.
    Hit(Hit),
    /// Compute, and [`commit`](crate::TaskCache::commit).
    Lead(Permit),
    /// Wait for whoever computes.
    Wait(Waiter),
}

/// Whether an outcome was stored.
pub type Committed = Result<(), NotStored>;

/// An outcome, and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The outcome.
    pub outcome: Outcome,
    /// Where it is from.
    pub source: Source,
}

/// Where an outcome is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It was stored.
    Stored,
    /// Someone else computed it while this asker waited.
    Shared,
    /// This asker computed it, and this is what became of storing it.
    Computed(Committed),
}

/// How a task cache has fared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskStats {
    /// The store's own figures.
    pub store: Stats,
    /// Outcomes that were committed.
    pub computed: u64,
    /// Outcomes that an asker had from another one's computation.
    pub shared: u64,
    /// Outcomes that were stored.
    pub stored: u64,
    /// Times that the store failed.
    pub failures: u64,
}

/// Why a fingerprint hits or misses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explanation {
    /// It is stored.
    Stored(Listing),
    /// It is not; this stored entry of the same task is the most similar.
    Differs {
        /// The stored entry.
        nearest: Listing,
        /// In what the fingerprint differs from it.
        differences: Vec<Difference>,
    },
    /// Nothing comparable is stored for the task.
    Unknown,
}
