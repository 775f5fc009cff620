//! The index: records, small values, and when they were last used.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use redb::{Builder, Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableError};

use crate::cache::Listing;
use crate::disk::blocks::SealedFile;
use crate::disk::files::FileName;
use crate::disk::layout::open_file;
use crate::disk::record::Record;
use crate::invalidation::Selector;
use crate::key::{Digest, Key};

mod tables;

pub(super) use tables::charge;
use tables::{BYTES, RECORDS, TOTALS, Tables, USES, VALUES};

/// The pages that redb keeps in memory. The system caches the file as well, so this is only the hottest part.
const PAGES_IN_MEMORY: usize = 32 * 1024 * 1024;

/// Why the index could not do something.
#[derive(Debug)]
pub(super) enum Trouble {
    /// What is in the file cannot be trusted.
    Damaged,
    /// The system refused something. The index has to be opened anew.
    Failed(Arc<redb::Error>),
}

/// What the index has under a key.
pub(super) enum Found {
    Absent,
    /// The value as well, if it is a small one.
    Whole(Box<Record>, Option<Arc<[u8]>>),
    /// Something that does not match its seal or digest.
    Broken,
}

/// A change of the index.
pub(super) enum Change {
    /// Keep an entry, with its value if it is a small one.
    Put(Key, Box<Record>, Option<Arc<[u8]>>),
    /// Drop an entry, unless it is another one than was seen.
    Discard(Key, Option<Digest>),
}

/// What a transaction did.
#[derive(Default)]
pub(super) struct Applied {
    /// The files of entries that are gone. They are removed after the commit: before it, a crash would leave entries
    /// without their files.
    pub(super) unreferred: Vec<FileName>,
    pub(super) dropped: u64,
    pub(super) evicted: u64,
}

pub(super) struct Index {
    /// `None` only while it is dropped.
    database: Option<Database>,
    damaged: Arc<AtomicBool>,
    /// The last process did not close it, or it is new: there may be files that it does not know.
    pub(super) needs_cleaning: bool,
}

impl Index {
    /// Opens the index at `path`, or makes an empty one. Only whoever has the turn may do so.
    pub(super) fn open(path: &std::path::Path, sync: bool) -> Result<Self, Trouble> {
        let io = |error| Trouble::Failed(Arc::new(redb::Error::Io(error)));
        let file = open_file(path).map_err(io)?;
        let is_new = file.metadata().map_err(io)?.len() == 0;
        let damaged = Arc::new(AtomicBool::new(false));
        let repaired = Arc::new(AtomicBool::new(false));
        let backend = SealedFile::new(file, Arc::clone(&damaged), sync);
        let noted = Arc::clone(&repaired);
        let database = guarded(&damaged, || {
            Builder::new()
                .set_cache_size(PAGES_IN_MEMORY)
                .set_repair_callback(move |_| noted.store(true, Ordering::Relaxed))
                .create_with_backend(backend)
                .map_err(redb::Error::from)
        })?;
        let needs_cleaning = is_new || repaired.load(Ordering::Relaxed);
        let index = Self {
            database: Some(database),
            damaged,
            needs_cleaning,
        };
        let is_bare =
            index.guarded(|database| match database.begin_read()?.open_table(TOTALS) {
                Err(TableError::TableDoesNotExist(_)) => Ok(true),
                other => Ok(other.map(|_| false)?),
            })?;
        // Those who read count on the tables being there.
        if is_bare {
            index.change(|_| Ok(()))?;
        }
        Ok(index)
    }

    fn guarded<T>(
        &self,
        act: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, Trouble> {
        guarded(&self.damaged, || match &self.database {
            Some(database) => act(database),
            None => Err(redb::Error::DatabaseClosed),
        })
    }

    pub(super) fn get(&self, key: &Key) -> Result<Found, Trouble> {
        self.guarded(|database| {
            let reading = database.begin_read()?;
            let Some(bytes) = reading.open_table(RECORDS)?.get(key.as_bytes())? else {
                return Ok(Found::Absent);
            };
            let Some(record) = Record::decode(key, bytes.value()) else {
                return Ok(Found::Broken);
            };
            if !record.inline {
                return Ok(Found::Whole(Box::new(record), None));
            }
            let value = reading.open_table(VALUES)?.get(key.as_bytes())?;
            let value: Option<Arc<[u8]>> = value.map(|value| value.value().into());
            Ok(match value {
                Some(value) if Digest::of(&value) == record.digest => {
                    Found::Whole(Box::new(record), Some(value))
                }
                _ => Found::Broken,
            })
        })
    }

    pub(super) fn list(
        &self,
        selector: &Selector,
        now: SystemTime,
    ) -> Result<Vec<Listing>, Trouble> {
        let selected = |key: Key, bytes: &[u8]| {
            let Record {
                digest,
                size,
                metadata,
                ..
            } = Record::decode(&key, bytes)?;
            let wanted = selector.matches(&key, &metadata.labels, metadata.created)
                && !metadata.is_expired(now);
            wanted.then_some(Listing {
                key,
                digest,
                size,
                metadata,
            })
        };
        self.guarded(|database| {
            let records = database.begin_read()?.open_table(RECORDS)?;
            if let Some(key) = selector.single_key() {
                let bytes = records.get(key.as_bytes())?;
                return Ok(bytes
                    .and_then(|bytes| selected(*key, bytes.value()))
                    .into_iter()
                    .collect());
            }
            let mut listings = Vec::new();
            for row in records.iter()? {
                let (key, bytes) = row?;
                listings.extend(selected(Key::from_bytes(*key.value()), bytes.value()));
            }
            Ok(listings)
        })
    }

    /// How many entries there are, and how many bytes they take.
    pub(super) fn totals(&self) -> Result<(u64, u64), Trouble> {
        self.guarded(|database| {
            let reading = database.begin_read()?;
            let bytes = reading
                .open_table(TOTALS)?
                .get(BYTES)?
                .map_or(0, |bytes| bytes.value());
            Ok((reading.open_table(RECORDS)?.len()?, bytes))
        })
    }

    /// The files that entries refer to.
    pub(super) fn referred_files(&self) -> Result<HashSet<FileName>, Trouble> {
        self.guarded(|database| {
            let records = database.begin_read()?.open_table(RECORDS)?;
            let mut names = HashSet::new();
            for row in records.iter()? {
                let (key, bytes) = row?;
                let key = Key::from_bytes(*key.value());
                let record = Record::decode(&key, bytes.value()).filter(|record| !record.inline);
                names.extend(record.map(|record| FileName::of(&key, &record.digest)));
            }
            Ok(names)
        })
    }

    /// Makes all these changes, or none, and evicts what is then too much.
    pub(super) fn apply(
        &self,
        changes: &[Change],
        touched: &HashMap<Key, u64>,
        max_bytes: u64,
        now: SystemTime,
    ) -> Result<Applied, Trouble> {
        self.change(|tables| {
            for (key, used) in touched {
                tables.touch(key, *used)?;
            }
            for change in changes {
                match change {
                    Change::Put(key, record, value) => {
                        tables.put(key, record, value.as_deref(), now)?;
                    }
                    Change::Discard(key, seen) => tables.discard(key, seen.as_ref())?,
                }
            }
            tables.evict(max_bytes, now)
        })
    }

    /// Drops the entries that the selector selects. What is broken has no labels: only its key or everything selects it.
    pub(super) fn invalidate(&self, selector: &Selector) -> Result<Applied, Trouble> {
        self.change(|tables| {
            let is_selected = |key: &Key, bytes: &[u8]| match Record::decode(key, bytes) {
                Some(Record { metadata, .. }) => {
                    selector.matches(key, &metadata.labels, metadata.created)
                }
                None => selector.is_all() || *selector == Selector::key(*key),
            };
            let mut selected = Vec::new();
            if let Some(key) = selector.single_key() {
                let bytes = tables.records.get(key.as_bytes())?;
                selected.extend(
                    bytes
                        .filter(|bytes| is_selected(key, bytes.value()))
                        .map(|_| *key),
                );
            } else {
                for row in tables.records.iter()? {
                    let (key, bytes) = row?;
                    let key = Key::from_bytes(*key.value());
                    if is_selected(&key, bytes.value()) {
                        selected.push(key);
                    }
                }
            }
            for key in &selected {
                tables.remove(key)?;
            }
            tables.applied.dropped = selected.len() as u64;
            Ok(())
        })
    }

    fn change(
        &self,
        act: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::Error>,
    ) -> Result<Applied, Trouble> {
        self.guarded(|database| {
            let writing = database.begin_write()?;
            let applied = {
                let mut tables = Tables {
                    records: writing.open_table(RECORDS)?,
                    values: writing.open_table(VALUES)?,
                    uses: writing.open_table(USES)?,
                    bytes: 0,
                    applied: Applied::default(),
                };
                let mut totals = writing.open_table(TOTALS)?;
                tables.bytes = totals.get(BYTES)?.map_or(0, |bytes| bytes.value());
                act(&mut tables)?;
                totals.insert(BYTES, tables.bytes)?;
                tables.applied
            };
            writing.commit()?;
            Ok(applied)
        })
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        // Closing writes, and so it may meet damage like anything else.
        let _ = guarded(&self.damaged, || {
            drop(self.database.take());
            Ok(())
        });
    }
}

/// Runs something of redb. It answers damage with an error where it can tell, and with a panic where it cannot.
fn guarded<T>(
    damaged: &AtomicBool,
    act: impl FnOnce() -> Result<T, redb::Error>,
) -> Result<T, Trouble> {
    // Nothing of ours is left half-done: a transaction that unwinds is rolled back, and the database is dropped.
    let result = catch_unwind(AssertUnwindSafe(act)).map_err(|_| Trouble::Damaged)?;
    result.map_err(|error| {
        let not_ours = matches!(
            error,
            redb::Error::Corrupted(_)
                | redb::Error::UpgradeRequired(_)
                | redb::Error::RepairAborted
                | redb::Error::TableTypeMismatch { .. }
                | redb::Error::TypeDefinitionChanged { .. }
                | redb::Error::TableDoesNotExist(_)
        );
        if not_ours || damaged.load(Ordering::Relaxed) {
            Trouble::Damaged
        } else {
            Trouble::Failed(Arc::new(error))
        }
    })
}
