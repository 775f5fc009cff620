//! Counts the lookups of a task cache.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::task_cache::answer::Misses;

/// Why a lookup found nothing usable.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MissCause {
    /// Nothing is stored.
    Absent,
    /// The policy does not accept the stored outcome.
    Refused,
    /// The policy requests a fresh result.
    Refreshed,
    /// The store failed.
    Failed,
    /// The stored value has another type.
    #[cfg(feature = "memo")]
    Unreadable,
}

/// The counts of lookups. Relaxed: each counter is independent, and orders no other memory.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    hits: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    absent: AtomicU64,
    refused: AtomicU64,
    refreshed: AtomicU64,
    failed: AtomicU64,
    #[cfg(feature = "memo")]
    unreadable: AtomicU64,
}

impl Lookups {
    pub(super) fn count_hit(&self, bytes: u64) {
        self.hits.fetch_add(1, Ordering::Relaxed);
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn count_miss(&self, cause: MissCause) {
        let counter = match cause {
            MissCause::Absent => &self.absent,
            MissCause::Refused => &self.refused,
            MissCause::Refreshed => &self.refreshed,
            MissCause::Failed => &self.failed,
            #[cfg(feature = "memo")]
            MissCause::Unreadable => &self.unreadable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_written(&self, bytes: u64) {
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    pub(super) fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Relaxed)
    }

    pub(super) fn misses(&self) -> Misses {
        Misses {
            absent: self.absent.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            refreshed: self.refreshed.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            #[cfg(feature = "memo")]
            unreadable: self.unreadable.load(Ordering::Relaxed),
            #[cfg(not(feature = "memo"))]
            unreadable: 0,
        }
    }
}
