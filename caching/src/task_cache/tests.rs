#![expect(
    clippy::clone_on_ref_ptr,
    reason = "every clone in a test is of a pointer"
)]

use std::sync::atomic::AtomicUsize;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::task::{JoinSet, yield_now};

use super::*;
use crate::cache::{MockCache, Stats};
use crate::clock::ManualClock;
use crate::entry::{EntryKind, Labels};
use crate::fingerprint::FileHasher;
use crate::map_cache::MapCache;

pub(super) const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(SystemTime::UNIX_EPOCH))
}

pub(super) fn cache() -> TaskCache {
    TaskCache::with_clock(Arc::new(MapCache::default()), clock())
}

pub(super) fn key() -> Key {
    Key::of(b"k")
}

pub(super) fn labels() -> Labels {
    Labels {
        task: "resize".into(),
        worker: "w".into(),
        tags: vec!["t".into()],
    }
}

pub(super) fn policy() -> Policy {
    Policy::cacheable(labels())
}

#[expect(clippy::unnecessary_wraps, reason = "an outcome is a result")]
pub(super) fn success(value: &[u8]) -> ComputeResult {
    Ok(value.into())
}

pub(super) fn failure(kind: FailureKind) -> ComputeResult {
    Err(ComputeFailure::new(kind, *b"why"))
}

/// Returns the error of a failing store.
pub(super) fn broken() -> CacheError {
    CacheError::NotPerformed {
        source: Arc::new(std::io::ErrorKind::WouldBlock.into()),
    }
}

pub(super) async fn lead(cache: &TaskCache, policy: &Policy) -> ComputePermit {
    match cache.begin(&key(), policy).await {
        Begin::Lead(permit) => permit,
        other => panic!("expected to lead, got {other:?}"),
    }
}

pub(super) async fn join(cache: &TaskCache, policy: &Policy) -> Waiter {
    match cache.begin(&key(), policy).await {
        Begin::Wait(waiter) => waiter,
        other => panic!("expected to wait, got {other:?}"),
    }
}

pub(super) async fn is_stored(cache: &TaskCache, policy: &Policy) -> bool {
    matches!(cache.lookup(&key(), policy).await, Lookup::Hit(_))
}

mod sharing;
mod storing;
