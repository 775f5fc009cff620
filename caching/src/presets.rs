//! Makes task caches over the stores of this crate in one call.

use std::sync::Arc;

use crate::memory::MemoryCache;
use crate::task_cache::TaskCache;
#[cfg(feature = "disk")]
use crate::{disk::DiskCache, disk::DiskOptions, tiered::TieredCache};

impl TaskCache {
    /// Makes a task cache that stores up to this many bytes in memory.
    pub fn in_memory(max_bytes: u64) -> Self {
        Self::new(Arc::new(MemoryCache::new(max_bytes)))
    }

    /// Makes a task cache that stores results on disk, where other processes find them, and the latest ones in memory,
    /// too.
    ///
    /// The memory takes up to 64 MiB, and keeps a result for a minute, so that a result that another process drops is
    /// soon gone.
    #[cfg(feature = "disk")]
    pub fn on_disk(options: impl Into<DiskOptions>) -> Self {
        const MEMORY_BYTES: u64 = 64 << 20;
        const MEMORY_TIME: std::time::Duration = std::time::Duration::from_secs(60);
        let memory = MemoryCache::new(MEMORY_BYTES).time_to_live(MEMORY_TIME);
        let disk = DiskCache::new(options);
        Self::new(Arc::new(TieredCache::new(Arc::new(memory), Arc::new(disk))))
    }
}
