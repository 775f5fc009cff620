//! A cache in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use moka::notification::RemovalCause;
use moka::sync::Cache as Moka;

use crate::cache::{Cache, Stats};
use crate::clock::{Clock, SystemClock};
use crate::counters::Counters;
use crate::entry::{Entry, Listing, Metadata};
use crate::error::CacheError;
use crate::invalidation::Selector;
use crate::key::Key;

/// The bytes that an entry occupies besides its value and its texts: keys, digests, links and queues.
const OVERHEAD: u64 = 400;

/// A cache in memory with a limit in bytes.
///
/// Beyond the limit, entries that are read often stay, and those that were read once are dropped (`TinyLFU`). An entry
/// expires at its own time, and the cache may also limit the time since it was put and since it was last read.
///
/// ```
/// use ratchet_caching::{Cache, Entry, Key, MemoryCache, Metadata};
/// use std::time::{Duration, SystemTime};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let cache = MemoryCache::new(64 * 1024 * 1024).time_to_idle(Duration::from_secs(600));
/// cache.put(&Key::of(b"a"), Entry::new(*b"result", Metadata::new(SystemTime::UNIX_EPOCH))).await?;
/// let entry = cache.get(&Key::of(b"a")).await?;
/// assert_eq!(entry.as_ref().map(Entry::value), Some(&b"result"[..]));
/// # Ok::<(), ratchet_caching::CacheError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MemoryCache {
    entries: Moka<Key, Arc<Slot>>,
    max_bytes: u64,
    time_to_live: Option<Duration>,
    time_to_idle: Option<Duration>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
}

/// An entry, with the times from which the limits of the cache count.
struct Slot {
    entry: Entry,
    /// When the entry was put. The time to live counts from it.
    stored: SystemTime,
    /// Nanoseconds after `stored`. Relaxed: it is a single number, and orders no other memory.
    last_used: AtomicU64,
}

impl std::fmt::Debug for MemoryCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryCache")
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

impl MemoryCache {
    /// Makes an empty cache that stores at most this many bytes.
    pub fn new(max_bytes: u64) -> Self {
        let counters = Arc::<Counters>::default();
        let evictions = Arc::clone(&counters);
        let entries = Moka::builder()
            .max_capacity(max_bytes)
            .weigher(weigh)
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    evictions.count_evicted(1);
                }
            })
            .build();
        Self {
            entries,
            max_bytes,
            time_to_live: None,
            time_to_idle: None,
            clock: Arc::new(SystemClock),
            counters,
        }
    }

    /// Drops entries this long after they were put.
    #[must_use]
    pub fn time_to_live(mut self, limit: Duration) -> Self {
        self.time_to_live = Some(limit);
        self
    }

    /// Drops entries this long after they were last read.
    #[must_use]
    pub fn time_to_idle(mut self, limit: Duration) -> Self {
        self.time_to_idle = Some(limit);
        self
    }

    /// Reads the time from this clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Whether an entry has expired, by its own time or by a limit of the cache.
    fn is_expired(&self, slot: &Slot, age: Duration, now: SystemTime) -> bool {
        let idle = age.saturating_sub(Duration::from_nanos(slot.last_used.load(Ordering::Relaxed)));
        slot.entry.metadata().is_expired(now)
            || self.time_to_live.is_some_and(|limit| age >= limit)
            || self.time_to_idle.is_some_and(|limit| idle >= limit)
    }

    /// Returns the entries that a selector selects, including expired ones.
    fn selected(&self, selector: &Selector) -> impl Iterator<Item = (Key, Arc<Slot>)> {
        let single = selector.single_key();
        let all = single.is_none().then(|| self.entries.iter());
        single
            .and_then(|key| Some((*key, self.entries.get(key)?)))
            .into_iter()
            .chain(all.into_iter().flatten().map(|(key, slot)| (*key, slot)))
            .filter(|(key, slot)| {
                let metadata = slot.entry.metadata();
                selector.matches(key, &metadata.labels, metadata.created)
            })
    }

    /// Finds a live entry, and records its use.
    fn look_up(&self, key: &Key) -> Option<Entry> {
        let slot = self.entries.get(key)?;
        let now = self.clock.now();
        let age = now.duration_since(slot.stored).unwrap_or_default();
        if self.is_expired(&slot, age, now) {
            self.counters.count_expired();
            // This may also remove a new entry that was put at this moment. Its result is then computed again.
            self.entries.invalidate(key);
            return None;
        }
        slot.last_used.store(
            u64::try_from(age.as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
        Some(slot.entry.clone())
    }
}

/// Returns the weight of an entry for moka.
#[expect(
    clippy::expect_used,
    reason = "`put` refuses every entry whose weight has more than 32 bits"
)]
fn weigh(_: &Key, slot: &Arc<Slot>) -> u32 {
    u32::try_from(weight(&slot.entry)).expect("`put` refuses larger entries")
}

/// Returns the approximate number of bytes that an entry occupies.
fn weight(entry: &Entry) -> u64 {
    let Metadata {
        labels,
        fingerprint,
        ..
    } = entry.metadata();
    let texts = labels.task.len()
        + labels.worker.len()
        + labels.tags.iter().map(|tag| tag.len() + 24).sum::<usize>();
    let parts = fingerprint.as_ref().map_or(0, |fingerprint| {
        fingerprint.parts().map(|part| part.name.len() + 64).sum()
    });
    entry.size() + (texts + parts) as u64 + OVERHEAD
}

#[async_trait]
impl Cache for MemoryCache {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, CacheError> {
        let entry = self.look_up(key);
        self.counters.count_lookup(entry.is_some());
        Ok(entry)
    }

    async fn put(&self, key: &Key, entry: Entry) -> Result<(), CacheError> {
        let size = weight(&entry);
        // A weight in moka has 32 bits, so a larger entry would count as a smaller one.
        if size > self.max_bytes.min(u64::from(u32::MAX)) {
            // The caller replaces the old entry, so that must not be returned again.
            self.entries.invalidate(key);
            return Err(CacheError::TooLarge {
                size,
                limit: self.max_bytes,
            });
        }
        let slot = Slot {
            entry,
            stored: self.clock.now(),
            last_used: AtomicU64::new(0),
        };
        self.entries.insert(*key, Arc::new(slot));
        self.counters.count_put();
        Ok(())
    }

    async fn invalidate(&self, selector: &Selector) -> Result<u64, CacheError> {
        // Expired entries are included: they would become valid again if the clock were set back.
        let removed = self
            .selected(selector)
            .filter(|(key, _)| self.entries.remove(key).is_some())
            .count();
        Ok(removed as u64)
    }

    async fn list(&self, selector: &Selector) -> Result<Vec<Listing>, CacheError> {
        let now = self.clock.now();
        let listings = self
            .selected(selector)
            .filter(|(_, slot)| {
                let age = now.duration_since(slot.stored).unwrap_or_default();
                !self.is_expired(slot, age, now)
            })
            .map(|(key, slot)| Listing {
                key,
                digest: slot.entry.digest(),
                size: slot.entry.size(),
                metadata: slot.entry.metadata().clone(),
            })
            .collect();
        Ok(listings)
    }

    async fn stats(&self) -> Result<Stats, CacheError> {
        // moka evicts during later calls. This call evicts now, so that the figures are within the limit.
        self.entries.run_pending_tasks();
        let (entries, bytes) = (self.entries.entry_count(), self.entries.weighted_size());
        Ok(self.counters.stats(entries, bytes))
    }
}

#[cfg(test)]
mod tests;
