//! Results on disk, shared by processes.

mod files;
mod index;
mod journal;
mod layout;
mod ownership;
mod record;
mod shared;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::blocking;
use crate::cache::{Cache, Entry, Listing, Stats};
use crate::clock::{Clock, SystemClock};
use crate::error::CacheError;
use crate::invalidation::Selector;
use crate::key::Key;
use shared::{Peek, Shared};

/// Where a disk cache is and how large it may be.
///
/// ```
/// use ratchet_caching::{DiskCache, DiskOptions};
/// # let folder = tempfile::tempdir()?;
///
/// let options = DiskOptions::at(folder.path()).max_bytes(10 << 30);
/// let cache = DiskCache::new(options);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct DiskOptions {
    folder: PathBuf,
    max_bytes: u64,
    inline_limit: u64,
    patience: Duration,
    sync: bool,
    checks_owners: bool,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for DiskOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskOptions")
            .field("folder", &self.folder)
            .field("max_bytes", &self.max_bytes)
            .field("inline_limit", &self.inline_limit)
            .field("patience", &self.patience)
            .field("sync", &self.sync)
            .field("checks_owners", &self.checks_owners)
            .finish_non_exhaustive()
    }
}

impl DiskOptions {
    /// A cache in this folder: 1 GiB at most, values up to 16 KiB in the index, half a second of patience.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            max_bytes: 1 << 30,
            inline_limit: 16 << 10,
            patience: Duration::from_millis(500),
            sync: true,
            checks_owners: true,
            clock: Arc::new(SystemClock),
        }
    }

    /// Keeps at most this many bytes. Above it, what has expired goes first, then what was not used for longest.
    #[must_use]
    pub fn max_bytes(mut self, limit: u64) -> Self {
        self.max_bytes = limit;
        self
    }

    /// Keeps values up to this size in the index, and larger ones in a file each.
    #[must_use]
    pub fn inline_limit(mut self, limit: u64) -> Self {
        self.inline_limit = limit;
        self
    }

    /// Waits this long for another process to finish writing before doing without the cache.
    #[must_use]
    pub fn patience(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// Never waits until the disk has what was put. Large values are put faster; a kill of the process loses no more than
    /// before, because the system has the data, but a loss of power does.
    #[must_use]
    pub fn without_sync(mut self) -> Self {
        self.sync = false;
        self
    }

    /// Uses the folder whoever owns it and may write it. For a folder that the user has said to trust: whoever writes
    /// there decides what jobs answer with.
    #[must_use]
    pub fn of_any_owner(mut self) -> Self {
        self.checks_owners = false;
        self
    }

    /// Takes the time from this clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

impl<P: AsRef<Path> + ?Sized> From<&P> for DiskOptions {
    fn from(folder: &P) -> Self {
        Self::at(folder.as_ref())
    }
}

/// A cache on disk, which outlives the process and is shared by all processes that use its folder.
///
/// **Layout.** An index (`SQLite`) holds what is known about each entry, and small values. A large value is a file of its own,
/// named by a BLAKE3 digest; it is written under a temporary name, synced and renamed before the index refers to it.
///
/// **Several processes.** Any number of them read and write at the same time. A writer waits for another one, though not
/// longer than its patience: then the put is an error, which [`TaskCache`](crate::TaskCache) makes a miss of. On a local disk
/// the index has a write-ahead log, and nobody waits to read. On a file system of the network, or one that is not known, it
/// has a rollback journal, which is slower and needs nothing but locks.
///
/// **Crashes.** A put that was acknowledged survives a kill of the process at any later instant. A put that was not is there
/// as a whole or not at all. A loss of power may cost the latest entries; it makes none of them wrong.
///
/// **Damage.** `SQLite`'s pages carry no digests, so every record and every value carries one, which is checked when it is
/// read. What does not match is a miss, is dropped or set aside in `quarantine/`, and is counted. An index that `SQLite` cannot
/// read is set aside as a whole, and an empty one takes its place.
///
/// **Owners.** The folders and files are readable by their owner only. A folder, an index or a value that belongs to
/// another user than this one or root, or that others may write, is refused; under sudo, the user who called it
/// is this one too.
///
/// **Threads.** A small value is read on the calling thread, which takes less than handing it to another. Everything else
/// happens on tokio's blocking threads; outside a tokio runtime it blocks the thread that asks. Dropping the cache waits
/// until the index is closed; [`close`](Self::close) does so without blocking.
///
/// Nothing here fails when the cache is made: a folder that cannot be used shows as an error of each operation.
pub struct DiskCache {
    shared: Arc<Shared>,
    inline_limit: u64,
}

impl std::fmt::Debug for DiskCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskCache").finish_non_exhaustive()
    }
}

impl DiskCache {
    /// A cache in a folder, which is made when it is first needed.
    pub fn new(options: impl Into<DiskOptions>) -> Self {
        let options = options.into();
        Self {
            inline_limit: options.inline_limit,
            shared: Arc::new(Shared::new(options)),
        }
    }

    /// Closes the index, without blocking the calling thread.
    pub async fn close(self) {
        // A runtime that is going down closes it by dropping it.
        let _ = blocking::run(move || drop(self)).await;
    }

    /// Does something that blocks.
    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Shared) -> Result<T, CacheError> + Send + 'static,
    ) -> Result<T, CacheError> {
        let shared = Arc::clone(&self.shared);
        blocking::run(move || act(&shared))
            .await
            .unwrap_or(Err(CacheError::Closed))
    }
}

impl Drop for DiskCache {
    fn drop(&mut self) {
        self.shared.close();
    }
}

#[async_trait]
impl Cache for DiskCache {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, CacheError> {
        let key = *key;
        let found = match self.shared.peek(&key) {
            Peek::Hit(entry) => Some(entry),
            Peek::Miss => None,
            Peek::NotNow => self.blocking(move |shared| shared.find(&key)).await?,
        };
        self.shared.count(found.is_some());
        if self.shared.has_many_uses() {
            // When entries were used decides only what is dropped first.
            let _ = self.blocking(Shared::write_uses).await;
        }
        Ok(found)
    }

    async fn put(&self, key: &Key, entry: Entry) -> Result<(), CacheError> {
        let (key, inline) = (*key, entry.size() <= self.inline_limit);
        self.blocking(move |shared| shared.put(&key, &entry, inline))
            .await
    }

    async fn invalidate(&self, selector: &Selector) -> Result<u64, CacheError> {
        let selector = selector.clone();
        self.blocking(move |shared| shared.drop_selected(&selector))
            .await
    }

    async fn list(&self, selector: &Selector) -> Result<Vec<Listing>, CacheError> {
        let selector = selector.clone();
        self.blocking(move |shared| shared.list(&selector)).await
    }

    async fn stats(&self) -> Result<Stats, CacheError> {
        self.blocking(Shared::stats).await
    }
}
