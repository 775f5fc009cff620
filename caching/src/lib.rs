//! A cache for the results of jobs: callers that ask at the same time share one computation, and a damaged result is
//! never returned.
//!
//! Without a cache, a repeated run does all of its work again, and a thousand jobs that need the same result compute it
//! a thousand times. A folder of files named by a hash of the arguments is not enough. It returns wrong results after
//! the script changed, after an input was edited while the job ran, after a crash left half a file, after a failure was
//! stored as a result, after two processes wrote at once, and after another user put a file there.
//!
//! ```
//! # #[cfg(all(feature = "memo", feature = "memory", feature = "disk"))] {
//! use ratchet_caching::{CallKey, DiskOptions, TaskCache};
//!
//! /// A call that takes long.
//! async fn area(width: u32, height: u32) -> Result<u32, std::io::Error> {
//!     Ok(width * height)
//! }
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let cache = TaskCache::on_disk(DiskOptions::at(folder));
//! let key = CallKey::new("area 1", &(2, 3))?;
//! assert_eq!(cache.memo(&key, || area(2, 3)).await?, 6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`TaskCache::memo`] runs `area` once for all callers of this cache: those that ask while it runs wait for its result.
//! Two processes that share the disk do not wait for each other, so both may compute a result that is not stored yet.
//! Errors are not stored. [`TaskCache::stats`] counts hits, misses by their causes, bytes and evictions.
//!
//! There are three parts. Each can be used without those below it in this list:
//!
//! * [`Fingerprint`]: a key for everything that a result depends on. [`explain`] lists how two fingerprints differ.
//! * [`Cache`]: entries under keys. [`MemoryCache`] is fast, [`DiskCache`] is persistent and shared by processes, and
//!   [`TieredCache`] puts one in front of the other.
//! * [`TaskCache`]: looks up results, computes a missing one once for all callers, and stores what may be stored.
//!
//! # When not to use it
//!
//! Do not use a cache for work that depends on anything outside of the key (the time, the network, a database, files
//! that were not declared), for work that is done for its effects, and for results that are cheaper to compute than to
//! read (a hit on disk takes some microseconds). Do not store the only copy of anything: a cache may forget at any
//! time.
//!
//! # A result of a worker
//!
//! A job runner knows more about a result than a name and arguments: the program that made it, its files and its
//! environment. A [`Fingerprint`] contains them, and the result consists of bytes:
//!
//! ```
//! # #[cfg(all(feature = "memory", feature = "disk"))] {
//! use ratchet_caching::{DiskCache, DiskOptions, Fingerprint, Labels, MemoryCache, Policy, Source, TaskCache, TieredCache};
//! use std::sync::Arc;
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let disk = DiskCache::new(DiskOptions::at(folder).max_bytes(1 << 30));
//! let cache = TaskCache::new(Arc::new(TieredCache::new(Arc::new(MemoryCache::new(64 << 20)), Arc::new(disk))));
//!
//! let worker = Fingerprint::builder().worker_command(["python3", "area.py"]).worker_version("1");
//! let fingerprint = worker.task("area").input(r#"{"height": 2, "width": 3}"#).build();
//! let labels = Labels { task: "area".into(), worker: "geometry".into(), tags: vec![] };
//! let policy = Policy::cacheable(labels).fingerprint(fingerprint.clone());
//!
//! let compute = || async { Ok(Arc::from(*b"6")) };
//! let first = cache.get_or_compute(&fingerprint.key(), &policy, compute).await;
//! let again = cache.get_or_compute(&fingerprint.key(), &policy, || async { unreachable!("it is stored") }).await;
//! assert_eq!(first.source, Source::Computed(Ok(())));
//! assert_eq!((again.source, again.outcome), (Source::Stored, first.outcome));
//! # Ok::<(), ratchet_caching::CacheError>(())
//! # })?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What may be stored
//!
//! | outcome | stored |
//! |---|---|
//! | success of a task that is declared cacheable | yes, for the time that the policy sets |
//! | permanent failure | only if the policy asks for it, for a time of its own |
//! | transient failure, time-out, crash, rejection, cancellation | never |
//! | any outcome, if a declared input changed while the job ran | never, and it is not shared with waiting callers |
//! | any outcome, if an invalidation that selects it came while the job ran | never |
//!
//! # What a failing cache does
//!
//! A cache that fails causes misses. A full disk, a folder without permission to write, an index that is damaged or
//! locked by another process, a system that can start no thread: each is an [error](CacheError) of a [`Cache`].
//! [`TaskCache`] treats it as a miss, counts it, and logs a warning for the first one.
//!
//! # The layers
//!
//! The lowest layer comes first, and each module imports only from those before it:
//!
//! ```text
//! key, clock, error, blocking
//! fingerprint             everything that a result depends on
//! entry                   a value and what is known about it
//! invalidation            selects entries
//! cache, counters         the trait of all caches, and their counts
//! memory, disk, tiered    the caches
//! task_cache              looks up, computes once, stores
//! memo                    the results of functions
//! presets                 a task cache over the stores of this crate, in one call
//! ```
//!
//! # Features
//!
//! `memory` and `disk` (both on by default) each add one cache and its dependencies. `memo` (on by default) adds
//! `TaskCache::memo` and serde. `mock` adds the module `mock` with `MockCache` and
//! `MockClock`, for tests of code that uses this crate.
#![cfg_attr(docsrs, feature(doc_cfg))]

/// The README, whose example is a test.
#[cfg(all(doctest, feature = "memo", feature = "memory", feature = "disk"))]
#[doc = include_str!("../README.md")]
struct Readme;

mod blocking;
mod cache;
mod clock;
#[cfg(any(feature = "memory", feature = "disk"))]
mod counters;
#[cfg(feature = "disk")]
mod disk;
mod entry;
mod error;
mod fingerprint;
mod invalidation;
mod key;
#[cfg(test)]
mod map_cache;
#[cfg(feature = "memo")]
mod memo;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "memory")]
mod presets;
mod task_cache;
mod tiered;

pub use cache::{Cache, Stats};
pub use clock::{Clock, ManualClock, SystemClock};
#[cfg(feature = "disk")]
pub use disk::{DiskCache, DiskOptions};
pub use entry::{Entry, EntryKind, Labels, Listing, Metadata};
pub use error::CacheError;
pub use fingerprint::{
    Change, Component, Difference, FileContent, FileHasher, Fingerprint, FingerprintBuilder,
    FingerprintTemplate, InputChanged, InputFiles, ProgramStamps, explain,
};
pub use invalidation::Selector;
pub use key::{Digest, Key, ParseKeyError};
#[cfg(feature = "memo")]
pub use memo::{CallKey, KeyError};
#[cfg(feature = "memory")]
pub use memory::MemoryCache;
pub use task_cache::{
    Answer, Begin, Committed, ComputeFailure, ComputePermit, ComputeResult, Explanation,
    FailureKind, Hit, Lookup, Misses, NotStored, Policy, Source, TaskCache, TaskStats, WaitResult,
    Waiter,
};
pub use tiered::TieredCache;

/// Mocks of the traits of this crate, for tests of code that uses it.
///
/// ```
/// use ratchet_caching::mock::MockCache;
/// use ratchet_caching::{Cache, Selector};
///
/// /// The code under test: it goes on when the cache cannot be cleaned.
/// async fn clean(cache: &dyn Cache) -> u64 {
///     cache.invalidate(&Selector::all()).await.unwrap_or_default()
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut cache = MockCache::new();
/// cache.expect_invalidate().returning(|_| Ok(3));
/// assert_eq!(clean(&cache).await, 3);
/// # }
/// ```
#[cfg(feature = "mock")]
pub mod mock {
    pub use crate::cache::MockCache;
    pub use crate::clock::MockClock;
}
