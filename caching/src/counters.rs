//! Counts the operations of a cache.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::Stats;

/// The counts of one cache.
///
/// All accesses are relaxed: each counter is independent, and orders no other memory.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    puts: AtomicU64,
    expired: AtomicU64,
    evicted: AtomicU64,
    quarantined: AtomicU64,
}

impl Counters {
    /// Counts a lookup as a hit or a miss.
    pub(crate) fn count_lookup(&self, is_hit: bool) {
        let counter = if is_hit { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an entry that was stored.
    pub(crate) fn count_put(&self) {
        self.puts.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an entry that was found and had expired.
    pub(crate) fn count_expired(&self) {
        self.expired.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts entries that were removed to make room.
    pub(crate) fn count_evicted(&self, entries: u64) {
        self.evicted.fetch_add(entries, Ordering::Relaxed);
    }

    /// Counts a damaged entry or index that was set aside or dropped.
    #[cfg(feature = "disk")]
    pub(crate) fn count_quarantined(&self) {
        self.quarantined.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the counts together with the current size of the cache.
    pub(crate) fn stats(&self, entries: u64, bytes: u64) -> Stats {
        Stats {
            entries,
            bytes,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            puts: self.puts.load(Ordering::Relaxed),
            expired: self.expired.load(Ordering::Relaxed),
            evicted: self.evicted.load(Ordering::Relaxed),
            quarantined: self.quarantined.load(Ordering::Relaxed),
        }
    }
}
