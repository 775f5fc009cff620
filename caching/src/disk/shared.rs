//! The cache itself: what blocks is done here, on whichever thread may.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crate::cache::{Entry, Listing, Stats};
use crate::clock::Clock;
use crate::disk::DiskOptions;
use crate::disk::files::{self, FileName, FileValue, Incoming};
use crate::disk::index::{Change, Fault, Found, Index, charge};
use crate::disk::journal::Journal;
use crate::disk::layout::Layout;
use crate::disk::record::{Record, to_nanos};
use crate::error::CacheError;
use crate::invalidation::Selector;
use crate::key::{Digest, Key};

/// How many uses are remembered before they are written down: about as many as fit into a transaction of some
/// milliseconds.
const USES: usize = 1024;
/// How often an operation begins anew with an empty index. Once is what damage takes; the second time is for two processes
/// that find it at once.
const RENEWALS: usize = 2;

/// What all that happens to a cache has in common.
pub(super) struct Shared {
    layout: Layout,
    max_bytes: u64,
    patience: Duration,
    sync: bool,
    /// The kind of journal, if it is not chosen by where the folder is.
    journal: Option<Journal>,
    clock: Arc<dyn Clock>,
    /// The open index. Nobody waits for another process while holding this to write, except to open one.
    index: RwLock<Option<Arc<Index>>>,
    /// A writer lost patience, so the next ones do not wait until one of them has succeeded. Relaxed: it only shortens
    /// a wait.
    stalled: AtomicBool,
    /// Which entries were used when, and not written down yet.
    uses: Mutex<HashMap<Key, u64>>,
    counters: Counters,
}

/// A look on the calling thread.
pub(super) enum Peek {
    Hit(Entry),
    Miss,
    /// It takes a thread that may block.
    NotNow,
}

/// Relaxed throughout: each is a count of its own.
#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    puts: AtomicU64,
    expired: AtomicU64,
    evicted: AtomicU64,
    quarantined: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Shared {
    pub(super) fn new(options: DiskOptions) -> Self {
        Self {
            layout: Layout::new(options.folder, options.checks_owners),
            max_bytes: options.max_bytes,
            patience: options.patience,
            sync: options.sync,
            journal: None,
            clock: options.clock,
            index: RwLock::new(None),
            stalled: AtomicBool::new(false),
            uses: Mutex::default(),
            counters: Counters::default(),
        }
    }

    /// The index, opened if it is not.
    fn open(&self) -> Result<Arc<Index>, CacheError> {
        let open = self.index.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = &*open {
            return Ok(Arc::clone(index));
        }
        drop(open);
        let mut slot = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = &*slot {
            return Ok(Arc::clone(index));
        }
        self.layout.prepare()?;
        self.layout.remove_older_schemas();
        let journal = self
            .journal
            .unwrap_or_else(|| Journal::for_folder(&self.layout.files()));
        let index = Arc::new(Index::open(
            &self.layout,
            journal,
            self.patience(),
            self.sync,
        )?);
        *slot = Some(Arc::clone(&index));
        Ok(index)
    }

    /// Gives an index up; the next operation opens one anew. Whoever is using it goes on.
    fn give_up(&self, index: &Arc<Index>) {
        let mut slot = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let is_current = slot.as_ref().is_some_and(|open| Arc::ptr_eq(open, index));
        if is_current {
            *slot = None;
        }
    }

    /// Does something with the index, and once more with an empty one if it turns out to be damaged.
    fn with_index<T>(
        &self,
        mut act: impl FnMut(&Index) -> Result<T, CacheError>,
    ) -> Result<T, CacheError> {
        let mut renewals = 0;
        loop {
            let opened = self.open();
            let done = match &opened {
                Ok(index) => act(index),
                Err(error) => Err(error.clone()),
            };
            match done {
                Err(error @ (CacheError::Damaged { .. } | CacheError::Index { .. })) => {
                    if let Ok(index) = &opened {
                        self.give_up(index);
                    }
                    // Closed before it is moved, unless another thread is still using it.
                    drop(opened);
                    let CacheError::Damaged { path } = &error else {
                        return Err(error);
                    };
                    if renewals == RENEWALS {
                        return Err(error);
                    }
                    renewals += 1;
                    if self.layout.set_index_aside(path)? {
                        add(&self.counters.quarantined, 1);
                        tracing::warn!(path = %path.display(), "the cache index is damaged; it is set aside and the cache starts empty");
                    }
                }
                other => return other,
            }
        }
    }

    /// How long to wait for another process.
    fn patience(&self) -> Duration {
        if self.stalled.load(Ordering::Relaxed) {
            Duration::ZERO
        } else {
            self.patience
        }
    }

    /// Changes the index, and writes down with it when entries were used.
    fn write<T>(
        &self,
        mut act: impl FnMut(&mut Change<'_>) -> Result<T, Fault>,
    ) -> Result<T, CacheError> {
        let mut uses = self.take_uses();
        if let Ok(index) = self.open()
            && !index.is_in_place()
        {
            // The folder was removed under this process: what is put there now, nobody else would find.
            self.give_up(&index);
        }
        self.with_index(|index| {
            let written = index.write(&self.layout, self.patience(), |change| {
                change.touch(&uses)?;
                act(change)
            });
            match &written {
                Ok(_) => {
                    self.stalled.store(false, Ordering::Relaxed);
                    uses.clear();
                }
                Err(CacheError::Busy { .. }) => self.stalled.store(true, Ordering::Relaxed),
                Err(_) => {}
            }
            written
        })
    }

    /// Looks without waiting for anything but a few pages.
    pub(super) fn peek(&self, key: &Key) -> Peek {
        let found = match self.index.try_read().as_deref() {
            Ok(Some(index)) => index.peek(key),
            _ => None,
        };
        match found {
            Some(Found::Absent) => Peek::Miss,
            Some(Found::Whole(record, Some(value)))
                if !record.metadata.is_expired(self.clock.now()) =>
            {
                self.use_entry(key);
                Peek::Hit(Entry::verified(value, record.digest, record.metadata))
            }
            // The index is closed or in use, the value is in a file, or something has to be dropped.
            None | Some(Found::Whole(..) | Found::Broken) => Peek::NotNow,
        }
    }

    pub(super) fn find(&self, key: &Key) -> Result<Option<Entry>, CacheError> {
        match self.with_index(|index| index.get(key, self.patience()))? {
            Found::Absent => Ok(None),
            Found::Broken => {
                add(&self.counters.quarantined, 1);
                tracing::debug!(%key, "a damaged entry is dropped");
                self.discard(key, None);
                Ok(None)
            }
            Found::Whole(record, _) if record.metadata.is_expired(self.clock.now()) => {
                add(&self.counters.expired, 1);
                self.discard(key, Some(record.digest));
                Ok(None)
            }
            Found::Whole(record, Some(value)) => {
                self.use_entry(key);
                Ok(Some(Entry::verified(value, record.digest, record.metadata)))
            }
            Found::Whole(record, None) => self.read_file(key, *record),
        }
    }

    fn read_file(&self, key: &Key, record: Record) -> Result<Option<Entry>, CacheError> {
        let name = FileName::of(key, &record.digest);
        match files::read(&self.layout, name, record.size, record.digest)? {
            FileValue::Whole(value) => {
                self.use_entry(key);
                return Ok(Some(Entry::verified(value, record.digest, record.metadata)));
            }
            // Dropped since the look, or lost with a crash of the system: then its record goes as well.
            FileValue::Missing => {}
            FileValue::Damaged => {
                add(&self.counters.quarantined, 1);
                tracing::debug!(%key, "a damaged entry is set aside");
                if let Err(error) = files::quarantine(&self.layout, name) {
                    tracing::debug!(%key, %error, "a damaged entry is removed");
                }
            }
        }
        self.discard(key, Some(record.digest));
        Ok(None)
    }

    /// Drops an entry that will not be answered with again. Where that cannot be done now, the next look does it.
    fn discard(&self, key: &Key, seen: Option<Digest>) {
        if let Err(error) = self.write(|change| change.discard(key, seen.as_ref())) {
            tracing::debug!(%key, %error, "an entry that cannot be used stays for now");
        }
    }

    pub(super) fn put(&self, key: &Key, entry: &Entry, inline: bool) -> Result<(), CacheError> {
        let record = Record::of(entry, inline);
        let size = charge(entry.size(), record.encode(key).len());
        if size > self.max_bytes {
            // The old entry is not to outlive the attempt to replace it.
            self.discard(key, None);
            return Err(CacheError::TooLarge {
                size,
                limit: self.max_bytes,
            });
        }
        let value = inline.then(|| entry.value());
        // Before the transaction, so that nobody waits for the disk meanwhile.
        let write = || Incoming::write(&self.layout, entry.value(), self.sync);
        let mut incoming = (!inline).then(write).transpose()?;
        let evicted = self.write(|change| {
            change.put(key, &record, value, self.clock.now())?;
            if !inline {
                // A name before the commit: a crash in between leaves a file without an entry, which is cleaned up.
                let file = incoming.take().map_or_else(write, Ok)?;
                file.install(&self.layout, FileName::of(key, &record.digest))?;
            }
            change.evict(self.max_bytes, self.clock.now())
        })?;
        add(&self.counters.evicted, evicted);
        add(&self.counters.puts, 1);
        Ok(())
    }

    pub(super) fn drop_selected(&self, selector: &Selector) -> Result<u64, CacheError> {
        self.write(|change| change.drop_selected(selector))
    }

    pub(super) fn list(&self, selector: &Selector) -> Result<Vec<Listing>, CacheError> {
        self.with_index(|index| index.list(selector, self.clock.now(), self.patience()))
    }

    pub(super) fn stats(&self) -> Result<Stats, CacheError> {
        let (entries, bytes) = self.with_index(|index| index.totals(self.patience()))?;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ok(Stats {
            entries,
            bytes,
            hits: count(&self.counters.hits),
            misses: count(&self.counters.misses),
            puts: count(&self.counters.puts),
            expired: count(&self.counters.expired),
            evicted: count(&self.counters.evicted),
            quarantined: count(&self.counters.quarantined),
        })
    }

    pub(super) fn count(&self, found: bool) {
        let counter = if found {
            &self.counters.hits
        } else {
            &self.counters.misses
        };
        add(counter, 1);
    }

    fn use_entry(&self, key: &Key) {
        let now = to_nanos(self.clock.now());
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        uses.insert(*key, now);
    }

    fn take_uses(&self) -> HashMap<Key, u64> {
        std::mem::take(&mut *self.uses.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether so many uses are remembered that they should be written down.
    pub(super) fn has_many_uses(&self) -> bool {
        let uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        uses.len() >= USES
    }

    pub(super) fn write_uses(&self) -> Result<(), CacheError> {
        self.write(|_| Ok(()))
    }

    /// Closes the index, after writing down when entries were used.
    pub(super) fn close(&self) {
        let mut slot = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = slot.take() else {
            return;
        };
        let uses = self.take_uses();
        if !uses.is_empty() && index.is_in_place() {
            // They decide only what is dropped first, so nobody is waited for.
            let _ = index.write(&self.layout, Duration::ZERO, |change| change.touch(&uses));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::cache::Metadata;

    fn rollback(folder: &tempfile::TempDir) -> Shared {
        Shared {
            journal: Some(Journal::Rollback),
            ..Shared::new(DiskOptions::at(folder.path().join("cache")))
        }
    }

    fn entry(size: usize) -> Entry {
        Entry::new(vec![1; size], Metadata::new(SystemTime::UNIX_EPOCH))
    }

    #[test]
    fn with_a_rollback_journal_two_caches_see_what_the_other_does() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (rollback(&folder), rollback(&folder));
        for number in 0_u8..20 {
            let (key, large) = (Key::of(&[number]), number.is_multiple_of(2));
            let entry = entry(100 * usize::from(number));
            first.put(&key, &entry, !large).unwrap();
            assert_eq!(second.find(&key).unwrap(), Some(entry));
        }
        assert_eq!(second.drop_selected(&Selector::all()).unwrap(), 20);
        assert_eq!(first.find(&Key::of(&[1])).unwrap(), None);
        let names = std::fs::read_dir(folder.path().join("cache/results-v2")).unwrap();
        for name in names.map(|item| item.unwrap().file_name()) {
            let name = name.to_string_lossy().into_owned();
            // Shared memory is what the machines of a network home do not have.
            assert!(!name.ends_with("-shm") && !name.ends_with("-wal"), "{name}");
        }
    }

    #[test]
    fn an_index_that_has_a_log_gets_a_rollback_journal_when_nobody_else_has_it_open() {
        let folder = tempfile::tempdir().unwrap();
        let logged = Shared::new(DiskOptions::at(folder.path().join("cache")));
        logged.put(&Key::of(b"k"), &entry(10), true).unwrap();
        let options = DiskOptions::at(folder.path().join("cache"));
        let over_network = Shared {
            journal: Some(Journal::Rollback),
            ..Shared::new(options.patience(Duration::from_millis(20)))
        };
        let refused = over_network.find(&Key::of(b"k"));
        assert!(
            matches!(refused, Err(CacheError::Busy { .. })),
            "{refused:?}"
        );
        logged.close();
        assert_eq!(over_network.find(&Key::of(b"k")).unwrap(), Some(entry(10)));
    }

    #[test]
    fn two_caches_that_find_the_index_damaged_begin_with_one_empty_index() {
        let folder = tempfile::tempdir().unwrap();
        let schema = folder.path().join("cache/results-v2");
        let new = || Shared::new(DiskOptions::at(folder.path().join("cache")));
        let writer = new();
        writer.put(&Key::of(b"old"), &entry(10), true).unwrap();
        let caches: Vec<Shared> = (0..8).map(|_| new()).collect();
        writer.close();
        let index = schema.join("index-1.sqlite");
        let mut bytes = std::fs::read(&index).unwrap();
        bytes[..4096].fill(0xA5);
        std::fs::write(&index, bytes).unwrap();
        std::thread::scope(|threads| {
            for (number, cache) in (0_u8..).zip(&caches) {
                threads.spawn(move || {
                    cache
                        .put(&Key::of(&[number]), &entry(usize::from(number)), true)
                        .unwrap();
                });
            }
        });
        for cache in &caches {
            for number in 0_u8..8 {
                let found = cache.find(&Key::of(&[number])).unwrap();
                assert_eq!(found, Some(entry(usize::from(number))), "{number}");
            }
        }
        let set_aside = std::fs::read_dir(schema.join("quarantine")).unwrap();
        assert_eq!(set_aside.count(), 1);
        let told: u64 = caches
            .iter()
            .map(|cache| cache.stats().unwrap().quarantined)
            .sum();
        assert_eq!(told, 1, "one of them tells of it");
    }
}
