//! Results that were computed once are not computed again, and nobody is served a wrong one.
//!
//! Without it, a run that is repeated does all its work again, a thousand jobs that need the same thing do it a thousand
//! times, and the usual remedy, a folder of files named by a hash of the arguments, goes wrong in ways that show late: the
//! script changed and its old results are used; an input was edited while the job ran; a crash left half a file; a failure
//! was kept as if it were a result; two processes wrote at once; another user put a result there.
//!
//! Three things stand on one another, and each can be used without the one above it:
//!
//! * [`Cache`]: entries under keys. [`MemoryCache`] is fast, [`DiskCache`] lasts and is shared by processes,
//!   [`TieredCache`] puts one before the other.
//! * [`Fingerprint`]: everything a result depends on, as a key, and [`explain`], which says in what two of them differ.
//! * [`TaskCache`]: looks up, computes once for all who ask, and stores what may be stored.
//!
//! # When not to use it
//!
//! For work that depends on anything that is not in the key: the time, the network, a database, files that were not
//! declared. For work that is done for its effects. For results that are cheaper to compute than to read (a hit on disk
//! takes some microseconds). And not as the only place of anything: a cache may forget at any time.
//!
//! # Example
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
//! | success of a task that is declared cacheable | yes, for as long as the policy says |
//! | permanent failure | only if the policy asks for it, for a time of its own |
//! | transient failure, time-out, crash, rejection, cancellation | never |
//! | any, if a declared input changed while the job ran | never; nor is it shared with those who wait |
//! | any, if entries like it were dropped while the job ran | never |
//!
//! # What a failing cache does
//!
//! It makes misses. A full disk, a folder that cannot be written, an index that is damaged or held by someone else: each
//! is an [`error`](CacheError) of a [`Cache`], which [`TaskCache`] turns into a miss, counts, and warns about once.
//!
//! # Features
//!
//! `memory` and `disk` (both on by default) each bring one cache and its dependencies. `mock` brings `MockCache` and
//! `MockClock`, for tests of what uses this crate.

mod blocking;
mod cache;
mod clock;
#[cfg(feature = "disk")]
mod disk;
mod entry;
mod error;
mod fingerprint;
mod invalidation;
mod key;
#[cfg(test)]
mod map_cache;
#[cfg(feature = "memory")]
mod memory;
mod task_cache;
mod tiered;

#[cfg(feature = "mock")]
pub use cache::MockCache;
pub use cache::{Cache, Stats};
#[cfg(feature = "mock")]
pub use clock::MockClock;
pub use clock::{Clock, ManualClock, SystemClock};
#[cfg(feature = "disk")]
pub use disk::{DiskCache, DiskOptions};
pub use entry::{Entry, EntryKind, Labels, Listing, Metadata};
pub use error::CacheError;
pub use fingerprint::{
    Change, Component, Difference, FileHasher, Fingerprint, FingerprintBuilder,
    FingerprintTemplate, InputChanged, InputFiles, ProgramStamps, explain,
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
