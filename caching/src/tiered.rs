//! A fast cache in front of a persistent one.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::RwLock;

use crate::cache::{Cache, Stats};
use crate::entry::{Entry, Listing};
use crate::error::CacheError;
use crate::invalidation::Selector;
use crate::key::Key;

/// A near cache, which is small and fast, in front of a far one, which stores everything.
///
/// An entry that is found in the far cache is copied to the near one. An entry that is put goes into both. If one of
/// the caches fails, the other one still works, and the failure is returned.
///
/// If another process drops an entry from the far cache, it stays in the near cache of this process until it expires
/// there. Give the near cache a time to live if processes run for a long time.
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
    /// The number of puts and invalidations so far. An entry that was found in the far cache before one of them must
    /// not be copied to the near cache after it.
    generation: RwLock<u64>,
}

impl std::fmt::Debug for TieredCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TieredCache").finish_non_exhaustive()
    }
}

impl TieredCache {
    /// Puts `near` in front of `far`.
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
                // The value may be too large for the near cache. The lookup has found it in any case.
                tracing::debug!(%key, %error, "a result was not copied to the near cache");
            }
            return Ok(found);
        }
        near
    }

    async fn put(&self, key: &Key, entry: Entry) -> Result<(), CacheError> {
        // The order is that of `invalidate`, for the same reason: an older entry that a lookup has found in the far
        // cache must not replace this one in the near cache.
        let far = self.far.put(key, entry.clone()).await;
        *self.generation.write().await += 1;
        let near = self.near.put(key, entry).await;
        far?;
        match near {
            // Lookups find the entry in the far cache.
            Err(CacheError::TooLarge { .. }) => Ok(()),
            near => near,
        }
    }

    /// Drops the selected entries from both caches, and returns how many the far cache had.
    async fn invalidate(&self, selector: &Selector) -> Result<u64, CacheError> {
        // The far cache comes first, so that no later lookup finds a dropped entry there. An earlier lookup has either
        // copied its entry to the near cache before the generation changes, or sees the change and copies nothing. So
        // the near cache comes last.
        let far = self.far.invalidate(selector).await;
        *self.generation.write().await += 1;
        let near = self.near.invalidate(selector).await;
        let dropped = far?;
        near?;
        Ok(dropped)
    }

    /// Lists the entries of the far cache.
    async fn list(&self, selector: &Selector) -> Result<Vec<Listing>, CacheError> {
        self.far.list(selector).await
    }

    /// Returns the size of the far cache, the hits of either cache, and the misses of both.
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
