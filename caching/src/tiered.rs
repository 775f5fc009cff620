//! A near cache before a far one.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::RwLock;

use crate::cache::{Cache, Entry, Listing, Stats};
use crate::error::CacheError;
use crate::invalidation::Selector;
use crate::key::Key;

/// A near cache, small and fast, before a far one that keeps everything.
///
/// What is found far is kept near as well. Everything is put into both. One of them failing does not keep the other
/// from serving; the failure is reported all the same.
///
/// What another process drops from the far cache stays in the near one of this process until it expires there: give
/// the near cache a time to live if processes run for long.
///
/// ```no_run
/// use ratchet_caching::TieredCache;
/// # #[cfg(all(feature = "memory", feature = "disk"))] {
/// use ratchet_caching::{DiskCache, MemoryCache};
/// use std::sync::Arc;
///
/// let disk = DiskCache::new("/home/me/.cache/ratchet");
/// let cache = TieredCache::new(Arc::new(MemoryCache::new(64 << 20)), Arc::new(disk));
/// # }
/// ```
pub struct TieredCache {
    near: Arc<dyn Cache>,
    far: Arc<dyn Cache>,
    /// How often entries were put or dropped. What was found far before must not be kept near after it.
    generation: RwLock<u64>,
}

impl std::fmt::Debug for TieredCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TieredCache").finish_non_exhaustive()
    }
}

impl TieredCache {
    /// Puts `near` before `far`.
    pub fn new(near: Arc<dyn Cache>, far: Arc<dyn Cache>) -> Self {
        Self {
            near,
            far,
            generation: RwLock::new(0),
        }
    }
}

#[async_trait]
impl Cache for TieredCache {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, CacheError> {
        let near = self.near.get(key).await;
        if let Ok(Some(entry)) = near {
            return Ok(Some(entry));
        }
        let before = *self.generation.read().await;
        let found = self.far.get(key).await?;
        if let Some(entry) = &found {
            let now = self.generation.read().await;
            if *now == before
                && let Err(error) = self.near.put(key, entry.clone()).await
            {
                // A value may well be too large for memory. The answer stands without it.
                tracing::debug!(%key, %error, "a result was not kept in the near cache");
            }
            return Ok(found);
        }
        near
    }

    async fn put(&self, key: &Key, entry: Entry) -> Result<(), CacheError> {
        // In the order of `invalidate`, and for the same reason: what was found far before must not replace this near.
        let far = self.far.put(key, entry.clone()).await;
        *self.generation.write().await += 1;
        let near = self.near.put(key, entry).await;
        far?;
        match near {
            // The far cache has it, and what is too large for the near one is found there.
            Err(CacheError::TooLarge { .. }) => Ok(()),
            near => near,
        }
    }

    /// Drops the selected entries from both, and says how many the far cache had.
    async fn invalidate(&self, selector: &Selector) -> Result<u64, CacheError> {
        // The far cache first: from then on nothing stale can be found there. Whoever found something before has kept it
        // near by the time the generation changes, or will see that it changed. The near cache is emptied last.
        let far = self.far.invalidate(selector).await;
        *self.generation.write().await += 1;
        let near = self.near.invalidate(selector).await;
        let dropped = far?;
        near?;
        Ok(dropped)
    }

    /// The entries of the far cache.
    async fn list(&self, selector: &Selector) -> Result<Vec<Listing>, CacheError> {
        self.far.list(selector).await
    }

    /// What the far cache keeps; hits of either, misses of both.
    async fn stats(&self) -> Result<Stats, CacheError> {
        let (near, far) = (self.near.stats().await?, self.far.stats().await?);
        Ok(Stats {
            hits: near.hits + far.hits,
            expired: near.expired + far.expired,
            evicted: far.evicted,
            quarantined: near.quarantined + far.quarantined,
            ..far
        })
    }
}

#[cfg(test)]
mod tests;
