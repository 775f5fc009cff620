//! A cache on disk that several processes share.

mod index;
mod journal_mode;
mod layout;
mod ownership;
mod record;
mod rows;
mod sql_error;
mod store;
mod transaction;
mod value_files;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::blocking;
use crate::cache::{Cache, Stats};
use crate::clock::{Clock, SystemClock};
use crate::entry::{Entry, Listing};
use crate::error::CacheError;
use crate::invalidation::Selector;
use crate::key::Key;
use store::{DiskStore, Peek};

/// The folder and the limits of a disk cache.
///
/// ```
/// use ratchet_caching::{DiskCache, DiskOptions};
/// use std::time::Duration;
/// # let folder = tempfile::tempdir()?;
///
/// let options = DiskOptions::at(folder.path())
///     .max_bytes(10 << 30)
///     .inline_limit(4 << 10)
///     .busy_timeout(Duration::from_secs(2))
///     .without_sync();
/// let cache = DiskCache::new(options);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct DiskOptions {
    folder: PathBuf,
    max_bytes: u64,
    /// The largest value, in bytes, that is stored in the index rather than in a file of its own.
    inline_limit: u64,
    /// How long an operation waits for other processes before it fails.
    busy_timeout: Duration,
    /// Whether files are synced before the index refers to them.
    sync: bool,
    /// Whether folders and files that others own or may write are refused.
    checks_owners: bool,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for DiskOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskOptions")
            .field("folder", &self.folder)
            .field("max_bytes", &self.max_bytes)
            .field("inline_limit", &self.inline_limit)
            .field("busy_timeout", &self.busy_timeout)
            .field("sync", &self.sync)
            .field("checks_owners", &self.checks_owners)
            .finish_non_exhaustive()
    }
}

impl DiskOptions {
    /// Returns the options of a cache in this folder: 1 GiB at most, values up to 16 KiB in the index, half a second of
    /// timeout.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            max_bytes: 1 << 30,
            inline_limit: 16 << 10,
            busy_timeout: Duration::from_millis(500),
            sync: true,
            checks_owners: true,
            clock: Arc::new(SystemClock),
        }
    }

    /// Stores at most this many bytes. Beyond that, expired entries are dropped first, then the least recently used
    /// ones.
    #[must_use]
    pub fn max_bytes(mut self, limit: u64) -> Self {
        self.max_bytes = limit;
        self
    }

    /// Stores values up to this size in the index, and each larger one in a file.
    #[must_use]
    pub fn inline_limit(mut self, limit: u64) -> Self {
        self.inline_limit = limit;
        self
    }

    /// Waits at most this long for another process that is writing.
    #[must_use]
    pub fn busy_timeout(mut self, limit: Duration) -> Self {
        self.busy_timeout = limit;
        self
    }

    /// Does not wait until values are on the disk. Puts of large values are faster. A kill of the process still loses
    /// nothing, because the system has the data, but a power failure may.
    #[must_use]
    pub fn without_sync(mut self) -> Self {
        self.sync = false;
        self
    }

    /// Uses the folder even if other users own it or may write to it. Use this only for a folder that the user trusts
    /// explicitly, because anyone who can write there decides the results of jobs.
    #[must_use]
    pub fn of_any_owner(mut self) -> Self {
        self.checks_owners = false;
        self
    }

    /// Reads the time from this clock.
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
/// **Layout.** An index (a `SQLite` database) contains the metadata of each entry, and small values. A large value is a
/// file, named by a BLAKE3 digest. The file is written under a temporary name, synced and renamed before the index
/// refers to it.
///
/// **Several processes.** Any number of processes read and write at the same time. A writer waits for another one, but
/// not longer than its timeout: then the put is an error, which [`TaskCache`](crate::TaskCache) treats as a miss. On a
/// local disk the index has a write-ahead log, and readers never wait. On a network file system, or an unknown one, it
/// has a rollback journal, which is slower and needs only locks.
///
/// **Crashes.** A put that was acknowledged survives a kill of the process at any later time. A put that was not
/// acknowledged took place as a whole or not at all. A power failure may lose the latest entries, but never makes one
/// of them wrong.
///
/// **Damage.** The pages of `SQLite` have no checksums, so every record and every value has one, which is checked when
/// it is read. Data that does not match is a miss, is dropped or set aside in `quarantine/`, and is counted. An index
/// that `SQLite` cannot read is set aside as a whole, and an empty one replaces it.
///
/// **Owners.** Only the owner can read the folders and files. The cache refuses a folder, an index or a value that
/// belongs to a user other than this one or root, or that other users may write. Under sudo, the caller of sudo is
/// trusted, too.
///
/// **Threads.** A small value is read on the calling thread, which takes less time than passing it to another. All
/// other work happens on threads of this crate, so no async runtime is needed. If the system can start none of them,
/// the operation is an error. Dropping the cache blocks until the index is closed; [`close`](Self::close) does not
/// block.
///
/// Making a cache does not fail: every operation on a folder that cannot be used returns an error.
pub struct DiskCache {
    store: Arc<DiskStore>,
    inline_limit: u64,
}

impl std::fmt::Debug for DiskCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskCache").finish_non_exhaustive()
    }
}

impl DiskCache {
    /// Makes a cache. Its folder is created on first use.
    pub fn new(options: impl Into<DiskOptions>) -> Self {
        let options = options.into();
        Self {
            inline_limit: options.inline_limit,
            store: Arc::new(DiskStore::new(options)),
        }
    }

    /// Closes the index, without blocking the calling thread.
    pub async fn close(self) {
        // If no thread can be started, the refused work drops the cache, which closes it on this thread.
        let _ = blocking::run(move || drop(self)).await;
    }

    /// Performs an operation that may block, on another thread.
    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&DiskStore) -> Result<T, CacheError> + Send + 'static,
    ) -> Result<T, CacheError> {
        let store = Arc::clone(&self.store);
        let done = blocking::run(move || act(&store)).await;
        done.unwrap_or_else(|source| {
            Err(CacheError::NotPerformed {
                source: Arc::new(source),
            })
        })
    }
}

impl Drop for DiskCache {
    fn drop(&mut self) {
        self.store.close();
    }
}

#[async_trait]
impl Cache for DiskCache {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, CacheError> {
        let key = *key;
        let found = match self.store.peek(&key) {
            Peek::Hit(entry) => Some(entry),
            Peek::Miss => None,
            Peek::MayBlock => self.blocking(move |store| store.find(&key)).await?,
        };
        self.store.count_lookup(found.is_some());
        if self.store.has_many_uses() {
            // The uses only decide which entries are dropped first, so a failure does no harm here.
            let _ = self.blocking(DiskStore::write_uses).await;
        }
        Ok(found)
    }

    async fn put(&self, key: &Key, entry: Entry) -> Result<(), CacheError> {
        let (key, is_inline) = (*key, entry.size() <= self.inline_limit);
        self.blocking(move |store| store.put(&key, &entry, is_inline))
            .await
    }

    async fn invalidate(&self, selector: &Selector) -> Result<u64, CacheError> {
        let selector = selector.clone();
        self.blocking(move |store| store.invalidate(&selector))
            .await
    }

    async fn list(&self, selector: &Selector) -> Result<Vec<Listing>, CacheError> {
        let selector = selector.clone();
        self.blocking(move |store| store.list(&selector)).await
    }

    async fn stats(&self) -> Result<Stats, CacheError> {
        self.blocking(DiskStore::stats).await
    }
}
