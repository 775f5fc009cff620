//! The return types of a task cache.

use crate::cache::Stats;
use crate::entry::Listing;
use crate::fingerprint::Difference;
use crate::task_cache::outcome::{ComputeResult, Hit};
use crate::task_cache::policy::NotStored;

/// The result of [`TaskCache::lookup`](crate::TaskCache::lookup).
#[derive(Debug, Clone)]
pub enum Lookup {
    /// A result or a permanent failure is stored, and the policy allows its use.
    Hit(Hit),
    /// Nothing usable is stored.
    Miss,
}

/// Whether an outcome was stored.
pub type Committed = Result<(), NotStored>;

/// An outcome and its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The result, or the failure that was stored for it.
    pub outcome: ComputeResult,
    /// Where the outcome came from.
    pub source: Source,
}

/// Where an outcome came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The outcome was stored before.
    Stored,
    /// Another caller computed the outcome while this one waited.
    Shared,
    /// This caller computed the outcome. The field contains whether it was stored.
    Computed(Committed),
}

/// The counts of a task cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskStats {
    /// The counts of the store, which include its size in bytes and its evictions.
    pub store: Stats,
    /// The lookups that found a usable outcome. [`lookup`](crate::TaskCache::lookup) and
    /// [`begin`](crate::TaskCache::begin) count as one lookup each.
    pub hits: u64,
    /// The lookups that found no usable outcome, by cause.
    pub misses: Misses,
    /// The bytes of the outcomes that were found.
    pub bytes_read: u64,
    /// The bytes of the outcomes that were stored.
    pub bytes_written: u64,
    /// The outcomes that were committed.
    pub computed: u64,
    /// The outcomes that callers received from the computation of another caller.
    pub shared: u64,
    /// The outcomes that were stored.
    pub stored: u64,
    /// The operations of the store that failed.
    pub failures: u64,
}

/// The lookups that found nothing usable, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Misses {
    /// Nothing was stored under the key, or it had expired. [`Stats::expired`] counts the latter.
    pub absent: u64,
    /// An outcome was stored, but the policy of this caller does not accept it: it is too old, or a failure.
    pub refused: u64,
    /// The caller requested a fresh result.
    pub refreshed: u64,
    /// The store failed.
    pub failed: u64,
    /// The stored value does not have the type that the caller of `memo` requests.
    pub unreadable: u64,
}

impl Misses {
    /// Returns the sum of all causes.
    pub fn total(&self) -> u64 {
        self.absent + self.refused + self.refreshed + self.failed + self.unreadable
    }
}

/// Why the lookup of a fingerprint hits or misses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explanation {
    /// An entry of this fingerprint is stored.
    Stored(Listing),
    /// No entry of this fingerprint is stored. Another entry of the same task is the most similar one.
    Differs {
        /// The most similar entry.
        nearest: Listing,
        /// How the fingerprint differs from that entry.
        differences: Vec<Difference>,
    },
    /// No entry of the task can be compared.
    Unknown,
}
