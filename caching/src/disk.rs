//! Results on disk, shared by processes.

mod blocks;
mod files;
mod index;
mod layout;
mod owner;
mod record;
mod shared;
mod turn;

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::Duration;

use async_trait::async_trait;

use crate::blocking;
use crate::cache::{Cache, Entry, Listing, Stats};
use crate::clock::{Clock, SystemClock};
use crate::error::CacheError;
use crate::invalidation::Selector;
use crate::key::Key;
use files::Incoming;
use index::charge;
use layout::Layout;
use owner::{Owner, Placed, Put, Request};
use record::Record;
use shared::{Counters, Look, Phase, Shared, State};

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

    /// Waits this long for another process to yield the cache before doing without it.
    #[must_use]
    pub fn patience(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// Does not wait until the disk has what was put. Puts are faster; a kill of the process loses no more than before,
    /// because the system has the data, but a loss of power does.
    #[must_use]
    pub fn without_sync(mut self) -> Self {
        self.sync = false;
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
/// **Layout.** An index (redb) holds what is known about each entry, and small values. A large value is a file of its own,
/// named by a BLAKE3 digest; it is written under a temporary name, synced and renamed before the index refers to it.
///
/// **Several processes.** One process at a time has the index open. It keeps it open, so that a small hit costs a few
/// microseconds, until another process asks for it by writing to a named pipe; then it finishes what it has begun, gives
/// the others their turn and asks for the next one when it has something to do. A process that waits longer than its
/// patience (a stopped one may keep the turn) goes on without the cache. Locks are `flock`s, which the system releases when
/// a process dies. The folder should be on a local disk: other machines do not hear the pipe, and wait for nothing.
///
/// **Crashes.** A put that was acknowledged survives a kill of the process at any later instant. A put that was not is there
/// as a whole or not at all. Puts that wait for one another share a sync. A loss of power may cost the latest entries, and
/// all of them if it tears a write of the index; it makes none of them wrong.
///
/// **Damage.** Every block of the index, every record and every value carries a digest that is checked when it is read.
/// What does not match is a miss, is set aside in `quarantine/`, and is counted. A damaged index is set aside as a whole.
///
/// **Threads.** A small value is read on the calling thread while the index is open, which takes less than handing it to
/// another. Everything else happens on a thread of the cache's own or on tokio's blocking threads; outside a tokio runtime
/// it blocks the thread that asks. Dropping the cache waits until the index is closed; [`close`](Self::close) does so without blocking.
///
/// Nothing here fails when the cache is made: a folder that cannot be used shows as an error of each operation.
pub struct DiskCache {
    running: Result<Arc<Shared>, CacheError>,
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
            running: start(options),
        }
    }

    /// Closes the index, without blocking the calling thread.
    pub async fn close(self) {
        // A runtime that is going down closes it by dropping it.
        let _ = blocking::run(move || drop(self)).await;
    }

    fn shared(&self) -> Result<&Arc<Shared>, CacheError> {
        self.running.as_ref().map_err(Clone::clone)
    }

    /// Does something that blocks.
    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Shared) -> Result<T, CacheError> + Send + 'static,
    ) -> Result<T, CacheError> {
        let shared = Arc::clone(self.shared()?);
        blocking::run(move || act(&shared))
            .await
            .unwrap_or(Err(CacheError::Closed))
    }
}

fn start(options: DiskOptions) -> Result<Arc<Shared>, CacheError> {
    let DiskOptions {
        folder,
        max_bytes,
        patience,
        sync,
        clock,
        ..
    } = options;
    let failed = |error| CacheError::io("start the thread for", &folder, error);
    let (wake, woken) = UnixStream::pair().map_err(failed)?;
    for end in [&wake, &woken] {
        end.set_nonblocking(true).map_err(failed)?;
    }
    let (requests, received) = channel();
    let shared = Arc::new(Shared {
        layout: Layout::new(folder.clone()),
        max_bytes,
        patience,
        sync,
        clock,
        index: RwLock::new(None),
        requests,
        wake,
        state: Mutex::new(State {
            phase: Phase::Idle,
            stopping: false,
        }),
        state_changed: Condvar::new(),
        stalled: AtomicBool::new(false),
        touched: Mutex::default(),
        counters: Counters::default(),
    });
    let owner = Owner {
        shared: Arc::clone(&shared),
        requests: received,
        wake: woken,
        pending: VecDeque::new(),
        tidied: false,
    };
    std::thread::Builder::new()
        .name("ratchet-cache".to_owned())
        .spawn(move || owner.run())
        .map_err(failed)?;
    Ok(shared)
}

impl Drop for DiskCache {
    fn drop(&mut self) {
        if let Ok(shared) = &self.running {
            shared.stop();
        }
    }
}

#[async_trait]
impl Cache for DiskCache {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, CacheError> {
        let shared = self.shared()?;
        let key = *key;
        let look = match shared.peek(&key) {
            Some(look) => look,
            None => match self.blocking(move |shared| shared.find(&key)).await {
                // It has been set aside, counted and warned of: there is no entry.
                Err(CacheError::Damaged { .. }) => Look::Miss,
                other => other?,
            },
        };
        let entry = match look {
            Look::Miss => None,
            Look::Hit(entry) => Some(entry),
            Look::InFile(record) => {
                self.blocking(move |shared| shared.read_file(&key, *record))
                    .await?
            }
        };
        shared.count(entry.is_some());
        Ok(entry)
    }

    async fn put(&self, key: &Key, entry: Entry) -> Result<(), CacheError> {
        let shared = self.shared()?;
        let key = *key;
        let inline = entry.size() <= self.inline_limit;
        let record = Box::new(Record::of(&entry, inline));
        let size = charge(entry.size(), record.encode(&key).len());
        if size > shared.max_bytes {
            // The old entry is not to outlive the attempt to replace it.
            shared.tell(Request::Discard(key, None));
            return Err(CacheError::TooLarge {
                size,
                limit: shared.max_bytes,
            });
        }
        self.blocking(move |shared| {
            let value = if inline {
                Placed::Inline(entry.shared_value())
            } else {
                Placed::File(Incoming::write(&shared.layout, entry.value(), shared.sync)?)
            };
            shared.ask(|reply| Request::Put(Put { key, record, value }, reply))?;
            shared.counters.add_put();
            Ok(())
        })
        .await
    }

    async fn invalidate(&self, selector: &Selector) -> Result<u64, CacheError> {
        let selector = selector.clone();
        self.blocking(move |shared| shared.ask(|reply| Request::Invalidate(selector, reply)))
            .await
    }

    async fn list(&self, selector: &Selector) -> Result<Vec<Listing>, CacheError> {
        let selector = selector.clone();
        self.blocking(move |shared| shared.ask(|reply| Request::List(selector, reply)))
            .await
    }

    async fn stats(&self) -> Result<Stats, CacheError> {
        let (entries, bytes) = self.blocking(|shared| shared.ask(Request::Totals)).await?;
        Ok(self.shared()?.counters.stats(entries, bytes))
    }
}
