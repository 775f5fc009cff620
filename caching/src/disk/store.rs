//! The disk cache behind its async interface. All functions here may block.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crate::cache::Stats;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::disk::DiskOptions;
use crate::disk::index::Index;
use crate::disk::journal_mode::JournalMode;
use crate::disk::layout::Layout;
use crate::disk::record::{Record, to_nanos};
use crate::disk::rows::FoundEntry;
use crate::disk::transaction::{TransactionError, WriteTransaction, stored_size};
use crate::disk::value_files::{self, FileName, FileValue, PendingFile};
use crate::entry::{Entry, Listing};
use crate::error::CacheError;
use crate::invalidation::Selector;
use crate::key::{Digest, Key};

/// How many uses of entries are kept in memory before they are written: as many as a transaction of some milliseconds
/// can take.
const MAX_UNWRITTEN_USES: usize = 1024;
/// How many times an operation starts again with an empty index. Damage needs one restart. The second one is for two
/// processes that detect the damage at once.
const MAX_NEW_INDEXES: usize = 2;

/// A disk cache whose operations block.
pub(super) struct DiskStore {
    layout: Layout,
    max_bytes: u64,
    busy_timeout: Duration,
    sync: bool,
    /// A journal mode that tests choose. Otherwise it depends on the file system.
    journal: Option<JournalMode>,
    clock: Arc<dyn Clock>,
    /// The open index. No thread that holds this lock for writing waits for another process, except to open an index.
    index: RwLock<Option<Arc<Index>>>,
    /// Whether a writer has waited in vain. The next writers do not wait until one of them has succeeded. Relaxed: it
    /// only shortens a wait.
    is_stalled: AtomicBool,
    /// The times at which entries were used, unless they are already written.
    unwritten_uses: Mutex<HashMap<Key, u64>>,
    counters: Counters,
}

/// The result of a lookup on the calling thread.
pub(super) enum Peek {
    /// The entry exists.
    Hit(Entry),
    /// There is no entry.
    Miss,
    /// Only [`DiskStore::find`], which may block, can decide.
    MayBlock,
}

impl DiskStore {
    /// Makes a store. Nothing is opened before its first use.
    pub(super) fn new(options: DiskOptions) -> Self {
        Self {
            layout: Layout::new(options.folder, options.checks_owners),
            max_bytes: options.max_bytes,
            busy_timeout: options.busy_timeout,
            sync: options.sync,
            journal: None,
            clock: options.clock,
            index: RwLock::new(None),
            is_stalled: AtomicBool::new(false),
            unwritten_uses: Mutex::default(),
            counters: Counters::default(),
        }
    }

    /// Returns the index, and opens it if it is not open.
    fn open_index(&self) -> Result<Arc<Index>, CacheError> {
        let open = self.index.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = &*open {
            return Ok(Arc::clone(index));
        }
        drop(open);
        let mut slot = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = &*slot {
            return Ok(Arc::clone(index));
        }
        self.layout.create_folders()?;
        self.layout.remove_older_schemas();
        let journal = self
            .journal
            .unwrap_or_else(|| JournalMode::for_folder(&self.layout.files()));
        let index = Index::open(&self.layout, journal, self.busy_timeout(), self.sync)?;
        Ok(Arc::clone(slot.insert(Arc::new(index))))
    }

    /// Gives an index up, so that the next operation opens one again. Operations that are using it continue with it.
    fn give_up(&self, index: &Arc<Index>) {
        let mut slot = self.index.write().unwrap_or_else(PoisonError::into_inner);
        slot.take_if(|open| Arc::ptr_eq(open, index));
    }

    /// Performs an operation on the index. If the index turns out to be damaged, the operation is repeated with an
    /// empty one.
    fn with_index<T>(
        &self,
        mut act: impl FnMut(&Index) -> Result<T, CacheError>,
    ) -> Result<T, CacheError> {
        let mut new_indexes = 0;
        loop {
            let opened = self.open_index();
            let done = match &opened {
                Ok(index) => act(index),
                Err(error) => Err(error.clone()),
            };
            let error = match done {
                Err(error @ (CacheError::Damaged { .. } | CacheError::Index { .. })) => error,
                other => return other,
            };
            if let Ok(index) = opened {
                // The index is closed before it is moved, unless another thread is still using it.
                self.give_up(&index);
            }
            let CacheError::Damaged { path } = &error else {
                return Err(error);
            };
            if new_indexes == MAX_NEW_INDEXES {
                return Err(error);
            }
            new_indexes += 1;
            if self.layout.set_index_aside(path)? {
                self.counters.count_quarantined();
                tracing::warn!(path = %path.display(), "the cache index is damaged; it was set aside, and the cache starts empty");
            }
        }
    }

    /// Returns how long to wait for another process.
    fn busy_timeout(&self) -> Duration {
        if self.is_stalled.load(Ordering::Relaxed) {
            Duration::ZERO
        } else {
            self.busy_timeout
        }
    }

    /// Changes the index, and writes the uses of entries in the same transaction.
    fn write<T>(
        &self,
        mut act: impl FnMut(&mut WriteTransaction<'_>) -> Result<T, TransactionError>,
    ) -> Result<T, CacheError> {
        // Without an index there is nothing to compare, and `with_index` reports why there is none.
        if let Ok(index) = self.open_index()
            && !index.is_in_place()
        {
            // The folder was removed while this process used it. No other process would find entries that are put into
            // the old file.
            self.give_up(&index);
        }
        // If the write fails, these uses are lost. They only decide what is dropped first.
        let uses = self.take_uses();
        self.with_index(|index| {
            let written = index.write(&self.layout, self.busy_timeout(), |transaction| {
                transaction.set_used(&uses)?;
                act(transaction)
            });
            match &written {
                Ok(_) => self.is_stalled.store(false, Ordering::Relaxed),
                Err(CacheError::Busy { .. }) => self.is_stalled.store(true, Ordering::Relaxed),
                Err(_) => {}
            }
            written
        })
    }

    /// Looks up a key without waiting for more than a few page reads.
    pub(super) fn peek(&self, key: &Key) -> Peek {
        let found = match self.index.try_read().as_deref() {
            Ok(Some(index)) => index.peek(key),
            _ => None,
        };
        match found {
            Some(FoundEntry::Absent) => Peek::Miss,
            Some(FoundEntry::Intact(record, Some(value)))
                if !record.metadata.is_expired(self.clock.now()) =>
            {
                Peek::Hit(self.hit(key, *record, value))
            }
            // The index is closed or in use, the value is in a file, or the entry has to be removed.
            None | Some(FoundEntry::Intact(..) | FoundEntry::Damaged) => Peek::MayBlock,
        }
    }

    /// Looks up a key. It may wait for another process, and removes an entry that cannot be used.
    pub(super) fn find(&self, key: &Key) -> Result<Option<Entry>, CacheError> {
        match self.with_index(|index| index.get(key, self.busy_timeout()))? {
            FoundEntry::Absent => Ok(None),
            FoundEntry::Damaged => {
                self.counters.count_quarantined();
                tracing::debug!(%key, "a damaged cache entry is dropped");
                self.remove_unusable(key, None);
                Ok(None)
            }
            FoundEntry::Intact(record, _) if record.metadata.is_expired(self.clock.now()) => {
                self.counters.count_expired();
                self.remove_unusable(key, Some(record.digest));
                Ok(None)
            }
            FoundEntry::Intact(record, Some(value)) => Ok(Some(self.hit(key, *record, value))),
            FoundEntry::Intact(record, None) => self.read_file(key, *record),
        }
    }

    /// Makes the entry of a hit, and records its use.
    fn hit(&self, key: &Key, record: Record, value: Arc<[u8]>) -> Entry {
        let now = to_nanos(self.clock.now());
        let mut uses = self
            .unwritten_uses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        uses.insert(*key, now);
        Entry::verified(value, record.digest, record.metadata)
    }

    /// Reads the value of an entry from its file.
    fn read_file(&self, key: &Key, record: Record) -> Result<Option<Entry>, CacheError> {
        let name = FileName::of(key, &record.digest);
        match value_files::read(&self.layout, name, record.size, record.digest)? {
            FileValue::Intact(value) => return Ok(Some(self.hit(key, record, value))),
            // Another process has removed the entry since the lookup, or the file was lost in a power failure.
            FileValue::Missing => {}
            FileValue::Damaged => {
                self.counters.count_quarantined();
                tracing::debug!(%key, "a damaged cache entry is set aside");
                if let Err(error) = value_files::quarantine(&self.layout, name) {
                    tracing::debug!(%key, %error, "a damaged cache entry could not be set aside and is removed");
                }
            }
        }
        self.remove_unusable(key, Some(record.digest));
        Ok(None)
    }

    /// Removes an entry that must not be returned again. If that is not possible now, the next lookup tries again.
    fn remove_unusable(&self, key: &Key, seen: Option<Digest>) {
        let removed =
            self.write(|transaction| Ok(transaction.remove_unusable(key, seen.as_ref())?));
        if let Err(error) = removed {
            tracing::debug!(%key, %error, "a cache entry that cannot be used stays for now");
        }
    }

    /// Stores an entry.
    pub(super) fn put(&self, key: &Key, entry: &Entry, is_inline: bool) -> Result<(), CacheError> {
        let record = Record::of(entry, is_inline);
        let size = stored_size(entry.size(), record.encode(key).len());
        if size > self.max_bytes {
            // The caller replaces the old entry, so that must not be returned again.
            self.remove_unusable(key, None);
            return Err(CacheError::TooLarge {
                size,
                limit: self.max_bytes,
            });
        }
        let value = is_inline.then(|| entry.value());
        // The file is written before the transaction, so that no other process has to wait for the disk.
        let write_file = || PendingFile::write(&self.layout, entry.value(), self.sync);
        let mut pending = (!is_inline).then(write_file).transpose()?;
        let evicted = self.write(|transaction| {
            transaction.put(key, &record, value, self.clock.now())?;
            if !is_inline {
                // The file gets its name before the commit. A crash in between leaves a file without an entry, which
                // the next cleanup removes. A second try with an empty index needs another file.
                let file = pending.take().map_or_else(write_file, Ok)?;
                file.install(&self.layout, FileName::of(key, &record.digest))?;
            }
            Ok(transaction.evict(self.max_bytes, self.clock.now())?)
        })?;
        self.counters.count_evicted(evicted);
        self.counters.count_put();
        Ok(())
    }

    /// Removes the selected entries, and returns how many there were.
    pub(super) fn invalidate(&self, selector: &Selector) -> Result<u64, CacheError> {
        self.write(|transaction| Ok(transaction.remove_selected(selector)?))
    }

    /// Lists the selected entries.
    pub(super) fn list(&self, selector: &Selector) -> Result<Vec<Listing>, CacheError> {
        self.with_index(|index| index.list(selector, self.clock.now(), self.busy_timeout()))
    }

    /// Returns the counts of lookups with the current size of the cache.
    pub(super) fn stats(&self) -> Result<Stats, CacheError> {
        let (entries, bytes) = self.with_index(|index| index.totals(self.busy_timeout()))?;
        Ok(self.counters.stats(entries, bytes))
    }

    /// Counts a lookup as a hit or a miss.
    pub(super) fn count_lookup(&self, is_hit: bool) {
        self.counters.count_lookup(is_hit);
    }

    fn take_uses(&self) -> HashMap<Key, u64> {
        let mut uses = self
            .unwritten_uses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *uses)
    }

    /// Whether so many uses are unwritten that [`write_uses`](Self::write_uses) should be called.
    pub(super) fn has_many_uses(&self) -> bool {
        let uses = self
            .unwritten_uses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        uses.len() >= MAX_UNWRITTEN_USES
    }

    /// Writes the uses of entries, which every change also does.
    pub(super) fn write_uses(&self) -> Result<(), CacheError> {
        self.write(|_| Ok(()))
    }

    /// Writes the uses of entries and closes the index.
    pub(super) fn close(&self) {
        let mut slot = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = slot.take() else {
            return;
        };
        let uses = self.take_uses();
        if !uses.is_empty() && index.is_in_place() {
            // The uses only decide what is dropped first, so this does not wait, and a failure is ignored.
            let _ = index.write(&self.layout, Duration::ZERO, |transaction| {
                Ok(transaction.set_used(&uses)?)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::entry::Metadata;

    fn rollback(folder: &tempfile::TempDir) -> DiskStore {
        DiskStore {
            journal: Some(JournalMode::Rollback),
            ..DiskStore::new(DiskOptions::at(folder.path().join("cache")))
        }
    }

    fn entry(size: usize) -> Entry {
        Entry::new(vec![1; size], Metadata::new(SystemTime::UNIX_EPOCH))
    }

    #[test]
    fn two_caches_with_a_rollback_journal_see_the_changes_of_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (rollback(&folder), rollback(&folder));
        for number in 0_u8..20 {
            let (key, large) = (Key::of(&[number]), number.is_multiple_of(2));
            let entry = entry(100 * usize::from(number));
            first.put(&key, &entry, !large).unwrap();
            assert_eq!(second.find(&key).unwrap(), Some(entry));
        }
        assert_eq!(second.invalidate(&Selector::all()).unwrap(), 20);
        assert_eq!(first.find(&Key::of(&[1])).unwrap(), None);
        let names = std::fs::read_dir(folder.path().join("cache/results-v2")).unwrap();
        for name in names.map(|item| item.unwrap().file_name()) {
            let name = name.to_string_lossy().into_owned();
            // A network home has no shared memory between its machines.
            assert!(!name.ends_with("-shm") && !name.ends_with("-wal"), "{name}");
        }
    }

    #[test]
    fn an_index_with_a_write_ahead_log_gets_a_rollback_journal_once_nobody_else_has_it_open() {
        let folder = tempfile::tempdir().unwrap();
        let logged = DiskStore::new(DiskOptions::at(folder.path().join("cache")));
        logged.put(&Key::of(b"k"), &entry(10), true).unwrap();
        let options = DiskOptions::at(folder.path().join("cache"));
        let over_network = DiskStore {
            journal: Some(JournalMode::Rollback),
            ..DiskStore::new(options.busy_timeout(Duration::from_millis(20)))
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
    fn caches_that_find_the_index_damaged_at_once_start_with_one_empty_index() {
        let folder = tempfile::tempdir().unwrap();
        let schema = folder.path().join("cache/results-v2");
        let new = || DiskStore::new(DiskOptions::at(folder.path().join("cache")));
        let writer = new();
        writer.put(&Key::of(b"old"), &entry(10), true).unwrap();
        let caches: Vec<DiskStore> = (0..8).map(|_| new()).collect();
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
        let reported: u64 = caches
            .iter()
            .map(|cache| cache.stats().unwrap().quarantined)
            .sum();
        assert_eq!(reported, 1, "one of them reports it");
    }
}
