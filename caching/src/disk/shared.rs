//! What those who ask and the thread that answers have in common.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use crate::cache::{Entry, Stats};
use crate::clock::Clock;
use crate::disk::files::{self, FileName, FileValue};
use crate::disk::index::{Found, Index, Trouble};
use crate::disk::layout::Layout;
use crate::disk::owner::{Reply, Request};
use crate::disk::record::{Record, to_nanos};
use crate::error::CacheError;
use crate::key::{Digest, Key};

/// How many uses are remembered before they are written down: about as many as fit into a transaction of some
/// milliseconds.
const TOUCHES: usize = 1024;

/// What the owner does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing: the index is closed.
    Idle,
    /// It waits for the turn.
    Waiting,
    /// It has the turn.
    Holding,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// The index must not be opened again.
    pub(super) stopping: bool,
}

pub(super) struct Shared {
    pub(super) layout: Layout,
    pub(super) max_bytes: u64,
    pub(super) patience: Duration,
    pub(super) sync: bool,
    pub(super) clock: Arc<dyn Clock>,
    /// The index while this process has the turn. Only the owner writes here.
    pub(super) index: RwLock<Option<Index>>,
    pub(super) requests: Sender<Request>,
    /// A byte here ends the owner's wait. It does not block: a full pipe wakes as well.
    pub(super) wake: UnixStream,
    pub(super) state: Mutex<State>,
    pub(super) state_changed: Condvar,
    /// Somebody lost patience, so nobody else waits until there is an index again.
    pub(super) stalled: AtomicBool,
    /// Which entries were used when, and not written down yet.
    pub(super) touched: Mutex<HashMap<Key, u64>>,
    pub(super) counters: Counters,
}

/// Relaxed throughout: each is a count of its own.
#[derive(Debug, Default)]
pub(super) struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    puts: AtomicU64,
    expired: AtomicU64,
    evicted: AtomicU64,
    quarantined: AtomicU64,
}

impl Counters {
    pub(super) fn add_evicted(&self, count: u64) {
        self.evicted.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn add_put(&self) {
        self.puts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self, entries: u64, bytes: u64) -> Stats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            entries,
            bytes,
            hits: count(&self.hits),
            misses: count(&self.misses),
            puts: count(&self.puts),
            expired: count(&self.expired),
            evicted: count(&self.evicted),
            quarantined: count(&self.quarantined),
        }
    }
}

/// A look into the index, as far as it went.
pub(super) enum Look {
    Miss,
    Hit(Entry),
    /// The value is in a file, which takes a thread that may block.
    InFile(Box<Record>),
}

impl Shared {
    /// Looks without waiting for anything but a few pages; `None` if that cannot be done now.
    pub(super) fn peek(&self, key: &Key) -> Option<Look> {
        let found = self.index.try_read().ok()?.as_ref()?.get(key).ok()?;
        Some(self.look(key, found))
    }

    /// Looks, waiting for the turn if necessary.
    pub(super) fn find(&self, key: &Key) -> Result<Look, CacheError> {
        let found = self.ask(|reply| Request::Get(*key, reply))?;
        Ok(self.look(key, found))
    }

    fn look(&self, key: &Key, found: Found) -> Look {
        match found {
            Found::Absent => Look::Miss,
            Found::Broken => {
                self.count_quarantined();
                tracing::debug!(%key, "a damaged entry is dropped");
                self.tell(Request::Discard(*key, None));
                Look::Miss
            }
            Found::Whole(record, _) if record.metadata.is_expired(self.clock.now()) => {
                self.counters.expired.fetch_add(1, Ordering::Relaxed);
                self.tell(Request::Discard(*key, Some(record.digest)));
                Look::Miss
            }
            Found::Whole(record, Some(value)) => {
                self.touch(key);
                Look::Hit(Entry::verified(value, record.digest, record.metadata))
            }
            Found::Whole(record, None) => Look::InFile(record),
        }
    }

    /// Reads a value from its file.
    pub(super) fn read_file(&self, key: &Key, record: Record) -> Result<Option<Entry>, CacheError> {
        let name = FileName::of(key, &record.digest);
        match files::read(&self.layout, name, record.size, record.digest)? {
            FileValue::Whole(value) => {
                self.touch(key);
                Ok(Some(Entry::verified(value, record.digest, record.metadata)))
            }
            FileValue::Missing => {
                // Dropped since the look, or lost with a crash of the system: then its record goes as well.
                self.tell(Request::Discard(*key, Some(record.digest)));
                Ok(None)
            }
            FileValue::Damaged => {
                self.count_quarantined();
                self.set_aside(key, name, record.digest);
                Ok(None)
            }
        }
    }

    fn set_aside(&self, key: &Key, name: FileName, digest: Digest) {
        tracing::debug!(%key, "a damaged entry is set aside");
        if let Err(error) = files::quarantine(&self.layout, name) {
            tracing::debug!(%key, %error, "a damaged entry is removed");
        }
        self.tell(Request::Discard(*key, Some(digest)));
    }

    pub(super) fn count(&self, found: bool) {
        let counter = if found {
            &self.counters.hits
        } else {
            &self.counters.misses
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn count_quarantined(&self) {
        self.counters.quarantined.fetch_add(1, Ordering::Relaxed);
    }

    fn touch(&self, key: &Key) {
        let used = to_nanos(self.clock.now());
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.insert(*key, used);
        // Exactly then, so that one request is made and not one for each use after it.
        let full = touched.len() == TOUCHES;
        drop(touched);
        if full {
            self.tell(Request::Flush);
        }
    }

    pub(super) fn take_touched(&self) -> HashMap<Key, u64> {
        std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets the index aside. Only the owner may, and only while it is closed and the turn is ours.
    pub(super) fn condemn_index(&self) -> Result<(), CacheError> {
        self.count_quarantined();
        let path = self.layout.index();
        tracing::warn!(path = %path.display(), "the cache index is damaged; it is set aside and the cache starts empty");
        self.layout.quarantine(&path)
    }

    pub(super) fn explain(&self, trouble: Trouble) -> CacheError {
        let path = self.layout.index();
        match trouble {
            Trouble::Damaged => CacheError::Damaged { path },
            Trouble::Failed(source) => CacheError::Index { path, source },
        }
    }

    /// Sends a request that has no answer.
    pub(super) fn tell(&self, request: Request) {
        // An owner that is gone needs no requests.
        if self.requests.send(request).is_ok() {
            let _ = (&self.wake).write(&[1]);
        }
    }

    /// Sends a request and waits for its answer, though not for ever if another process keeps the turn.
    pub(super) fn ask<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, CacheError> {
        let busy = || CacheError::Busy {
            path: self.layout.root().to_path_buf(),
            waited: self.patience,
        };
        if self.stalled.load(Ordering::Relaxed) {
            return Err(busy());
        }
        let (reply, answer) = sync_channel(1);
        self.tell(request(reply));
        loop {
            match answer.recv_timeout(self.patience) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => return Err(CacheError::Closed),
                Err(RecvTimeoutError::Timeout) => {
                    let state = self.lock_state();
                    // With the turn in hand, it is only slow.
                    if state.phase == Phase::Waiting {
                        self.stalled.store(true, Ordering::Relaxed);
                        return Err(busy());
                    }
                }
            }
        }
    }

    /// Says what the owner does now; false if it must not begin to hold the turn.
    pub(super) fn enter(&self, phase: Phase) -> bool {
        let mut state = self.lock_state();
        if phase == Phase::Holding && state.stopping {
            return false;
        }
        state.phase = phase;
        if phase != Phase::Waiting {
            // Under the lock, so that nobody who sees the end of the wait calls it stalled afterwards.
            self.stalled.store(false, Ordering::Relaxed);
        }
        self.state_changed.notify_all();
        true
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the owner to stop, and waits until the index is closed.
    pub(super) fn stop(&self) {
        self.lock_state().stopping = true;
        self.tell(Request::Stop);
        let state = self.lock_state();
        // An owner that waits for another process has nothing open, and will open nothing.
        drop(
            self.state_changed
                .wait_while(state, |state| state.phase == Phase::Holding),
        );
    }
}
