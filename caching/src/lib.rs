//! Results that were computed once are not computed again, and nobody is served a wrong one.

mod cache;
mod clock;
mod error;
mod fingerprint;
mod invalidation;
mod key;
#[cfg(feature = "memory")]
mod memory;
#[cfg(test)]
mod stores;
mod task_cache;
mod tiered;

#[cfg(feature = "mock")]
pub use cache::MockCache;
pub use cache::{Cache, Entry, EntryKind, Labels, Listing, Metadata, Stats};
#[cfg(feature = "mock")]
pub use clock::MockClock;
pub use clock::{Clock, ManualClock, SystemClock};
pub use error::CacheError;
pub use fingerprint::{
    Change, Component, Difference, FileHasher, Fingerprint, FingerprintBuilder, InputChanged,
    InputFiles, JsonError, JsonProblem, canonical_json, explain,
};
pub use invalidation::Selector;
pub use key::{Digest, Key, ParseKeyError};
#[cfg(feature = "memory")]
pub use memory::MemoryCache;
pub use task_cache::{
    Answer, Begin, Committed, Explanation, Failure, FailureKind, Hit, Lookup, NotStored, Outcome,
    Permit, Policy, Source, TaskCache, TaskStats, Waited, Waiter,
};
pub use tiered::TieredCache;
