//! The index: a database of records, small values, and the times at which entries were used.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::disk::journal_mode::JournalMode;
use crate::disk::layout::Layout;
use crate::disk::record::Record;
use crate::disk::rows::{FoundEntry, find, visit_selected};
use crate::disk::sql_error::{classify, is_busy};
use crate::disk::transaction::{TransactionError, WriteTransaction};
use crate::disk::value_files::{self, FileName, PendingFile};
use crate::entry::Listing;
use crate::error::CacheError;
use crate::invalidation::Selector;
use crate::key::Key;

/// Creates the tables. Small columns come first, so that they are read without the values, and the index `by_use`
/// contains all columns that eviction reads. Only `record` and `value` have digests: the other columns decide what is
/// dropped and when, but never what is returned.
const TABLES: &str = "
    CREATE TABLE entries (
        key BLOB PRIMARY KEY, used INTEGER NOT NULL, expires INTEGER NOT NULL, size INTEGER NOT NULL,
        record BLOB NOT NULL, value BLOB
    );
    CREATE INDEX by_use ON entries (used, expires, size);
    CREATE TABLE totals (bytes INTEGER NOT NULL);
    INSERT INTO totals VALUES (0);
    CREATE TRIGGER entry_added AFTER INSERT ON entries
        BEGIN UPDATE totals SET bytes = bytes + new.size; END;
    CREATE TRIGGER entry_removed AFTER DELETE ON entries
        BEGIN UPDATE totals SET bytes = bytes - old.size; END;
    PRAGMA user_version = 2;
";
/// The version of the tables. An index of another version is set aside and replaced by an empty one.
const VERSION: i64 = 2;
/// How many times the change of the journal mode is tried. Several processes that start at once need fewer tries.
const MODE_CHANGES: usize = 20;

/// An open `SQLite` index of one folder of results.
///
/// There is one connection for readers and one for the writer, so that a lookup does not wait for a put of the same
/// process.
pub(super) struct Index {
    /// The file of the database, for messages and to see whether it was replaced.
    path: PathBuf,
    /// The device and the inode of the file, which show whether it was removed or replaced.
    identity: (u64, u64),
    reader: Mutex<Connection>,
    writer: Mutex<Connection>,
    /// A locked file. A killed process leaves it behind unlocked, so that the next process knows to look for files
    /// without entries.
    _open_marker: PendingFile,
}

impl Index {
    /// Opens the newest index in the folder, or makes an empty one.
    pub(super) fn open(
        layout: &Layout,
        journal: JournalMode,
        busy_timeout: Duration,
        sync: bool,
    ) -> Result<Self, CacheError> {
        // The locks of SQLite belong to the process, and the system releases them when any descriptor of the file is
        // closed. `current_index` closes one if it creates the file, so no other cache of this process may open that
        // index at the same time.
        static OPENING: Mutex<()> = Mutex::new(());
        let _opening = lock(&OPENING);
        let path = layout.current_index()?;
        let classify = |error| classify(error, &path, busy_timeout);
        let synchronous = if sync { journal.synchronous() } else { "off" };
        let connect = || -> rusqlite::Result<Connection> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&path, flags)?;
            connection.busy_timeout(busy_timeout)?;
            connection.pragma_update(None, "trusted_schema", false)?;
            connection.pragma_update(None, "cell_size_check", true)?;
            set_journal_mode(&connection, journal)?;
            connection.pragma_update(None, "synchronous", synchronous)?;
            Ok(connection)
        };
        let mut writer = connect().map_err(classify)?;
        let is_new = make_tables(&mut writer).map_err(classify)?;
        let reader = connect().map_err(classify)?;
        // `peek` runs on the calling thread and must not sleep.
        reader.busy_timeout(Duration::ZERO).map_err(classify)?;
        let leftovers = value_files::leftovers(layout);
        if is_new || !leftovers.is_empty() {
            remove_orphaned_files(&mut writer, layout).map_err(classify)?;
        }
        for leftover in leftovers {
            // If it cannot be removed, the next process cleans up again.
            let _ = fs::remove_file(leftover);
        }
        Ok(Self {
            identity: identity(&path).ok_or_else(|| CacheError::Damaged { path: path.clone() })?,
            reader: Mutex::new(reader),
            writer: Mutex::new(writer),
            _open_marker: PendingFile::write(layout, &[], false)?,
            path,
        })
    }

    /// Whether the file is still the one that was opened.
    pub(super) fn is_in_place(&self) -> bool {
        identity(&self.path) == Some(self.identity)
    }

    /// Looks up a key without waiting for more than a few page reads. Returns `None` if that is not possible now.
    pub(super) fn peek(&self, key: &Key) -> Option<FoundEntry> {
        let connection = self.reader.try_lock().ok()?;
        find(&connection, key).ok()
    }

    /// Looks up a key, and waits for another process if necessary.
    pub(super) fn get(&self, key: &Key, busy_timeout: Duration) -> Result<FoundEntry, CacheError> {
        self.read(busy_timeout, |connection| find(connection, key))
    }

    /// Lists the selected entries that have not expired.
    pub(super) fn list(
        &self,
        selector: &Selector,
        now: SystemTime,
        busy_timeout: Duration,
    ) -> Result<Vec<Listing>, CacheError> {
        self.read(busy_timeout, |connection| {
            let mut listings = Vec::new();
            visit_selected(connection, selector, |key, record| {
                let live = record.filter(|record| !record.metadata.is_expired(now));
                listings.extend(live.map(|record| Listing {
                    key,
                    digest: record.digest,
                    size: record.size,
                    metadata: record.metadata,
                }));
            })?;
            Ok(listings)
        })
    }

    /// Returns the number of entries, and the number of bytes that they occupy.
    pub(super) fn totals(&self, busy_timeout: Duration) -> Result<(u64, u64), CacheError> {
        self.read(busy_timeout, |connection| {
            let sql = "SELECT count(*), coalesce(sum(size), 0) FROM entries";
            // A negative sum comes from a flipped bit. It is only a figure in a report.
            let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
            connection.query_row(sql, [], |row| {
                Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)))
            })
        })
    }

    /// Performs a read that may wait for another process.
    fn read<T>(
        &self,
        busy_timeout: Duration,
        act: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, CacheError> {
        let connection = lock(&self.reader);
        let read = || {
            connection.busy_timeout(busy_timeout)?;
            let done = act(&connection);
            connection.busy_timeout(Duration::ZERO)?;
            done
        };
        read().map_err(|error| classify(error, &self.path, busy_timeout))
    }

    /// Makes changes: all of them or none.
    pub(super) fn write<T>(
        &self,
        layout: &Layout,
        busy_timeout: Duration,
        act: impl FnOnce(&mut WriteTransaction<'_>) -> Result<T, TransactionError>,
    ) -> Result<T, CacheError> {
        let mut connection = lock(&self.writer);
        let write = || {
            connection.busy_timeout(busy_timeout)?;
            let mut transaction = WriteTransaction::begin(&mut connection)?;
            let done = act(&mut transaction)?;
            transaction.commit(layout)?;
            Ok(done)
        };
        write().map_err(|error| match error {
            TransactionError::Sql(error) => classify(error, &self.path, busy_timeout),
            TransactionError::Cache(error) => error,
        })
    }
}

/// Sets the journal mode, which is stored in the index.
fn set_journal_mode(connection: &Connection, journal: JournalMode) -> rusqlite::Result<()> {
    let mut tries = 0;
    loop {
        match connection.pragma_update(None, "journal_mode", journal.as_str()) {
            // The busy timeout does not apply to this pragma: SQLite refuses it at once while another process makes the
            // same change. An empty transaction waits for that process.
            Err(error) if is_busy(&error) && tries < MODE_CHANGES => {
                connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK")?;
                tries += 1;
            }
            other => return other,
        }
    }
}

/// Creates the tables if the index has none. Returns whether it had none.
fn make_tables(connection: &mut Connection) -> rusqlite::Result<bool> {
    let version = |connection: &Connection| {
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
    };
    if version(connection)? == VERSION {
        return Ok(false);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let is_new = match version(&transaction)? {
        // Another process was faster.
        VERSION => false,
        0 => {
            transaction.execute_batch(TABLES)?;
            true
        }
        // A release with other tables uses another folder, so this number is damaged.
        _ => return Err(rusqlite::Error::InvalidQuery),
    };
    transaction.commit()?;
    Ok(is_new)
}

/// Removes the value files that belong to no entry.
fn remove_orphaned_files(connection: &mut Connection, layout: &Layout) -> rusqlite::Result<()> {
    // A value file gets its name within a transaction, so none is being installed during this one.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut referred = HashSet::new();
    visit_selected(&transaction, &Selector::all(), |key, record| {
        let record = record.filter(|record: &Record| !record.is_inline);
        referred.extend(record.map(|record| FileName::of(&key, &record.digest)));
    })?;
    value_files::remove_all_but(layout, &referred);
    transaction.commit()
}

/// Returns the device and the inode of a file.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = path.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic rolls its transaction back, so the connection stays usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
