//! The index: records, small values, and when they were last used.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior,
    params,
};

use crate::cache::Listing;
use crate::disk::files::{self, FileName, Incoming};
use crate::disk::journal::Journal;
use crate::disk::layout::Layout;
use crate::disk::record::{Record, to_nanos};
use crate::error::CacheError;
use crate::invalidation::Selector;
use crate::key::{Digest, Key};

/// What the tables are made by. The small columns stand first, so that they are read without the values; `by_use` has all
/// that eviction asks for. Nothing but `record` and `value` carries a digest: the rest decides what is dropped and when,
/// never what is answered.
const TABLES: &str = "
    CREATE TABLE entries (
        key BLOB PRIMARY KEY, used INTEGER NOT NULL, expires INTEGER NOT NULL, charge INTEGER NOT NULL,
        record BLOB NOT NULL, value BLOB
    );
    CREATE INDEX by_use ON entries (used, expires, charge);
    CREATE TABLE totals (bytes INTEGER NOT NULL);
    INSERT INTO totals VALUES (0);
    PRAGMA user_version = 1;
";
const VERSION: i64 = 1;
/// What an entry takes beside its record and its value: keys, and the room that pages leave empty.
const OVERHEAD: u64 = 200;
/// How often the change of a journal's kind is tried: more often than several processes that begin at once need.
const CHANGES: usize = 20;

/// What an entry takes.
pub(super) fn charge(value: u64, record: usize) -> u64 {
    value + record as u64 + OVERHEAD
}

/// What the index has under a key.
pub(super) enum Found {
    Absent,
    /// The value as well, if it is a small one.
    Whole(Box<Record>, Option<Arc<[u8]>>),
    /// Something that does not match its seal or digest.
    Broken,
}

/// Why a step of a transaction failed.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(rusqlite::Error),
    Cache(CacheError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<CacheError> for Fault {
    fn from(error: CacheError) -> Self {
        Self::Cache(error)
    }
}

/// An open index.
///
/// Readers and the writer have a connection each, so that a look does not wait behind a put of the same process.
pub(super) struct Index {
    path: PathBuf,
    /// Device and inode: tells that the file was removed or replaced under this process.
    identity: (u64, u64),
    reader: Mutex<Connection>,
    writer: Mutex<Connection>,
    /// Left behind by a killed process, and so what tells the next one to look for files without entries.
    _mark: Incoming,
}

impl Index {
    /// Opens the newest index in the folder, or makes an empty one.
    pub(super) fn open(
        layout: &Layout,
        journal: Journal,
        patience: Duration,
        sync: bool,
    ) -> Result<Self, CacheError> {
        // SQLite's locks belong to the process and go when any descriptor of the file is closed. A new index is made with
        // one, so no other cache of this process may begin with that index at the same time.
        static OPENING: Mutex<()> = Mutex::new(());
        let _opening = lock(&OPENING);
        let path = layout.current_index()?;
        let explain = |error| explain(error, &path, patience);
        let synchronous = if sync { journal.synchronous() } else { "off" };
        let connect = || -> rusqlite::Result<Connection> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&path, flags)?;
            connection.busy_timeout(patience)?;
            connection.pragma_update(None, "trusted_schema", false)?;
            connection.pragma_update(None, "cell_size_check", true)?;
            set_journal(&connection, journal)?;
            connection.pragma_update(None, "synchronous", synchronous)?;
            Ok(connection)
        };
        let mut writer = connect().map_err(explain)?;
        let is_new = make_tables(&mut writer).map_err(explain)?;
        let reader = connect().map_err(explain)?;
        // A look on the calling thread must not sleep.
        reader.busy_timeout(Duration::ZERO).map_err(explain)?;
        let leftovers = files::leftovers(layout);
        if is_new || !leftovers.is_empty() {
            clean(&mut writer, layout).map_err(explain)?;
        }
        for leftover in leftovers {
            let _ = fs::remove_file(leftover);
        }
        Ok(Self {
            identity: identity(&path).ok_or_else(|| CacheError::Damaged { path: path.clone() })?,
            reader: Mutex::new(reader),
            writer: Mutex::new(writer),
            _mark: Incoming::write(layout, &[], false)?,
            path,
        })
    }

    /// Whether the file is still the one that was opened.
    pub(super) fn is_in_place(&self) -> bool {
        identity(&self.path) == Some(self.identity)
    }

    /// Looks without waiting for anything but a few pages; `None` if that cannot be done now.
    pub(super) fn peek(&self, key: &Key) -> Option<Found> {
        let connection = self.reader.try_lock().ok()?;
        find(&connection, key).ok()
    }

    pub(super) fn get(&self, key: &Key, patience: Duration) -> Result<Found, CacheError> {
        self.read(patience, |connection| find(connection, key))
    }

    pub(super) fn list(
        &self,
        selector: &Selector,
        now: SystemTime,
        patience: Duration,
    ) -> Result<Vec<Listing>, CacheError> {
        self.read(patience, |connection| {
            let mut listings = Vec::new();
            each_record(connection, selector, |key, record| {
                let Some(Record {
                    digest,
                    size,
                    metadata,
                    ..
                }) = Record::decode(&key, record)
                else {
                    return;
                };
                if selector.matches(&key, &metadata.labels, metadata.created)
                    && !metadata.is_expired(now)
                {
                    listings.push(Listing {
                        key,
                        digest,
                        size,
                        metadata,
                    });
                }
            })?;
            Ok(listings)
        })
    }

    /// How many entries there are, and how many bytes they take.
    pub(super) fn totals(&self, patience: Duration) -> Result<(u64, u64), CacheError> {
        self.read(patience, |connection| {
            let sql = "SELECT count(*), coalesce(sum(charge), 0) FROM entries";
            connection.query_row(sql, [], |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))
        })
    }

    fn read<T>(
        &self,
        patience: Duration,
        act: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, CacheError> {
        let connection = lock(&self.reader);
        let patiently = || {
            connection.busy_timeout(patience)?;
            let done = act(&connection);
            connection.busy_timeout(Duration::ZERO)?;
            done
        };
        patiently().map_err(|error| explain(error, &self.path, patience))
    }

    /// Makes changes: all of them or none.
    pub(super) fn write<T>(
        &self,
        layout: &Layout,
        patience: Duration,
        act: impl FnOnce(&mut Change<'_>) -> Result<T, Fault>,
    ) -> Result<T, CacheError> {
        let mut connection = lock(&self.writer);
        let changing = || {
            connection.busy_timeout(patience)?;
            // Immediate: a transaction that begins as a reader cannot wait for its turn to write.
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut change = Change {
                transaction,
                grown: 0,
                unreferred: Vec::new(),
            };
            let done = act(&mut change)?;
            let Change {
                transaction,
                grown,
                unreferred,
            } = change;
            if grown != 0 {
                let sql = "UPDATE totals SET bytes = bytes + ?1";
                transaction.prepare_cached(sql)?.execute([grown])?;
            }
            transaction.commit()?;
            // Only now: before the commit, a crash would leave entries without their files.
            for name in unreferred {
                files::remove(layout, name);
            }
            Ok(done)
        };
        changing().map_err(|fault: Fault| match fault {
            Fault::Sql(error) => explain(error, &self.path, patience),
            Fault::Cache(error) => error,
        })
    }
}

/// The changes of one transaction.
pub(super) struct Change<'c> {
    transaction: Transaction<'c>,
    /// By how many bytes the entries have grown.
    grown: i64,
    /// The files of entries that are gone.
    unreferred: Vec<FileName>,
}

impl Change<'_> {
    /// Keeps an entry, with its value if it is a small one, in place of the one before it.
    pub(super) fn put(
        &mut self,
        key: &Key,
        record: &Record,
        value: Option<&[u8]>,
        now: SystemTime,
    ) -> Result<(), Fault> {
        self.remove(key)?;
        if value.is_none() {
            // The same value may have been under this key before.
            let name = FileName::of(key, &record.digest);
            self.unreferred.retain(|other| *other != name);
        }
        let encoded = record.encode(key);
        let charge = signed(charge(record.size, encoded.len()));
        let expires = record
            .metadata
            .expires
            .map_or(i64::MAX, |at| signed(to_nanos(at)));
        let sql = "INSERT INTO entries (key, used, expires, charge, record, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let used = signed(to_nanos(now));
        self.transaction.prepare_cached(sql)?.execute(params![
            &key.as_bytes()[..],
            used,
            expires,
            charge,
            encoded,
            value
        ])?;
        self.grown += charge;
        Ok(())
    }

    /// Notes when entries were used.
    pub(super) fn touch(&self, touched: &HashMap<Key, u64>) -> Result<(), Fault> {
        let sql = "UPDATE entries SET used = ?2 WHERE key = ?1 AND used < ?2";
        let mut statement = self.transaction.prepare_cached(sql)?;
        for (key, used) in touched {
            statement.execute(params![&key.as_bytes()[..], signed(*used)])?;
        }
        Ok(())
    }

    /// Drops an entry, unless it is whole and another one than was seen.
    pub(super) fn discard(&mut self, key: &Key, seen: Option<&Digest>) -> Result<(), Fault> {
        let stale = match (find(&self.transaction, key)?, seen) {
            (Found::Absent, _) => false,
            (Found::Whole(record, _), Some(seen)) => record.digest == *seen,
            (Found::Broken, _) | (Found::Whole(..), None) => true,
        };
        if stale {
            self.remove(key)?;
        }
        Ok(())
    }

    /// Drops the entries that the selector selects, and says how many there were. What is broken has no labels: only its
    /// key or everything selects it.
    pub(super) fn drop_selected(&mut self, selector: &Selector) -> Result<u64, Fault> {
        let mut selected = Vec::new();
        each_record(&self.transaction, selector, |key, record| {
            let is_selected = match Record::decode(&key, record) {
                Some(Record { metadata, .. }) => {
                    selector.matches(&key, &metadata.labels, metadata.created)
                }
                None => selector.is_all() || *selector == Selector::key(key),
            };
            if is_selected {
                selected.push(key);
            }
        })?;
        for key in &selected {
            self.remove(key)?;
        }
        Ok(selected.len() as u64)
    }

    /// Makes room, and says how many entries that cost: what has expired goes first, then what was not used for longest.
    /// A tenth is freed at once, so that a full cache does not do so with every put.
    pub(super) fn evict(&mut self, max_bytes: u64, now: SystemTime) -> Result<u64, Fault> {
        let max_bytes = signed(max_bytes);
        let sql = "SELECT bytes FROM totals";
        let total: i64 = self
            .transaction
            .prepare_cached(sql)?
            .query_row([], |row| row.get(0))?;
        if total.saturating_add(self.grown) <= max_bytes {
            return Ok(0);
        }
        // The total carries no digest, so nothing is dropped because of it alone.
        let sql = "SELECT coalesce(sum(charge), 0) FROM entries";
        let mut bytes: i64 = self.transaction.query_row(sql, [], |row| row.get(0))?;
        self.grown = bytes.saturating_sub(total);
        let now = signed(to_nanos(now));
        let mut evicted = 0;
        let order = [
            (
                "SELECT rowid, charge FROM entries WHERE expires <= ?1",
                max_bytes,
            ),
            (
                "SELECT rowid, charge FROM entries WHERE ?1 = ?1 ORDER BY used",
                max_bytes - max_bytes / 10,
            ),
        ];
        for (sql, enough) in order {
            if bytes <= max_bytes {
                break;
            }
            let mut rows = Vec::new();
            let mut statement = self.transaction.prepare(sql)?;
            let mut found = statement.query([now])?;
            while bytes > enough
                && let Some(row) = found.next()?
            {
                rows.push(row.get::<_, i64>(0)?);
                bytes = bytes.saturating_sub(row.get(1)?);
            }
            drop(found);
            drop(statement);
            for row in rows {
                let sql = "DELETE FROM entries WHERE rowid = ?1 RETURNING key, record, charge";
                evicted += u64::from(self.delete(sql, &row)?);
            }
        }
        Ok(evicted)
    }

    fn remove(&mut self, key: &Key) -> Result<bool, Fault> {
        let sql = "DELETE FROM entries WHERE key = ?1 RETURNING key, record, charge";
        self.delete(sql, &&key.as_bytes()[..])
    }

    /// Deletes one row, and notes its file.
    fn delete(&mut self, sql: &str, of: &dyn rusqlite::ToSql) -> Result<bool, Fault> {
        let mut statement = self.transaction.prepare_cached(sql)?;
        let gone = statement.query_row([of], |row| {
            let name = key_of(row, 0).and_then(|key| {
                let record = Record::decode(&key, row.get_ref(1).ok()?.as_blob().ok()?)?;
                (!record.inline).then(|| FileName::of(&key, &record.digest))
            });
            Ok((name, row.get::<_, i64>(2)?))
        });
        let Some((name, charge)) = gone.optional()? else {
            return Ok(false);
        };
        self.unreferred.extend(name);
        self.grown = self.grown.saturating_sub(charge);
        Ok(true)
    }
}

/// Gives the index its kind of journal, which it keeps from then on.
fn set_journal(connection: &Connection, journal: Journal) -> rusqlite::Result<()> {
    let mut tries = 0;
    loop {
        match connection.pragma_update(None, "journal_mode", journal.mode()) {
            // The change is refused at once while another process makes the same one. A transaction waits for that.
            Err(error) if is_busy(&error) && tries < CHANGES => {
                connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK")?;
                tries += 1;
            }
            other => return other,
        }
    }
}

/// Makes the tables in an index that has none, and says whether it had none.
fn make_tables(connection: &mut Connection) -> rusqlite::Result<bool> {
    let version = |connection: &Connection| {
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
    };
    let refused = || rusqlite::Error::InvalidQuery;
    match version(connection)? {
        VERSION => return Ok(false),
        0 => {}
        // Nobody writes another version here: the folder's name changes with it.
        _ => return Err(refused()),
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let is_new = match version(&transaction)? {
        // Another process was quicker.
        VERSION => false,
        0 => {
            transaction.execute_batch(TABLES)?;
            true
        }
        _ => return Err(refused()),
    };
    transaction.commit()?;
    Ok(is_new)
}

/// Removes the files that no entry refers to.
fn clean(connection: &mut Connection, layout: &Layout) -> rusqlite::Result<()> {
    // Whoever puts a file in its place does so within a transaction, so none is being put there now.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut referred = HashSet::new();
    each_record(&transaction, &Selector::all(), |key, record| {
        let record = Record::decode(&key, record).filter(|record| !record.inline);
        referred.extend(record.map(|record| FileName::of(&key, &record.digest)));
    })?;
    files::clean(layout, &referred);
    transaction.commit()
}

fn find(connection: &Connection, key: &Key) -> rusqlite::Result<Found> {
    let sql = "SELECT record, value FROM entries WHERE key = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([&key.as_bytes()[..]])?;
    let Some(row) = rows.next()? else {
        return Ok(Found::Absent);
    };
    let record = row.get_ref(0)?.as_blob().ok();
    let Some(record) = record.and_then(|bytes| Record::decode(key, bytes)) else {
        return Ok(Found::Broken);
    };
    if !record.inline {
        return Ok(Found::Whole(Box::new(record), None));
    }
    Ok(match row.get_ref(1)?.as_blob() {
        Ok(value) if Digest::of(value) == record.digest => {
            Found::Whole(Box::new(record), Some(value.into()))
        }
        _ => Found::Broken,
    })
}

/// Shows the records that a selector may select, with their keys.
fn each_record(
    connection: &Connection,
    selector: &Selector,
    mut show: impl FnMut(Key, &[u8]),
) -> rusqlite::Result<()> {
    let (sql, key) = match selector.single_key() {
        Some(key) => (
            "SELECT key, record FROM entries WHERE key = ?1",
            &key.as_bytes()[..],
        ),
        None => ("SELECT key, record FROM entries WHERE ?1 = ?1", &[][..]),
    };
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([key])?;
    while let Some(row) = rows.next()? {
        if let (Some(key), Ok(record)) = (key_of(row, 0), row.get_ref(1)?.as_blob()) {
            show(key, record);
        }
    }
    Ok(())
}

fn key_of(row: &Row<'_>, column: usize) -> Option<Key> {
    let bytes = row.get_ref(column).ok()?.as_blob().ok()?;
    Some(Key::from_bytes(bytes.try_into().ok()?))
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    // Below zero only if a bit has flipped, and then it is a figure in a report.
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or_default())
}

/// `SQLite` has no unsigned numbers. What is beyond its largest is a time after 2262, or never.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = path.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A transaction that unwinds is rolled back, so a connection is whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed
        )
    )
}

/// Tells another process's work, a refusal of the system, and damage apart. What is none of the first two is damage: the
/// statements are always the same, so that only the content of the file can make one fail.
fn explain(error: rusqlite::Error, path: &Path, waited: Duration) -> CacheError {
    if is_busy(&error) {
        return CacheError::Busy {
            path: path.to_path_buf(),
            waited,
        };
    }
    let extended = error.sqlite_error().map(|error| error.extended_code);
    let is_damaged = match error.sqlite_error_code() {
        // A page that is cut off, or that the file system itself finds damaged.
        Some(ErrorCode::SystemIoFailure) => matches!(
            extended,
            Some(
                rusqlite::ffi::SQLITE_IOERR_SHORT_READ
                    | rusqlite::ffi::SQLITE_IOERR_DATA
                    | rusqlite::ffi::SQLITE_IOERR_CORRUPTFS
            )
        ),
        // The header says that nobody may write, although the system lets us.
        Some(ErrorCode::ReadOnly) => {
            rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
                && extended == Some(rusqlite::ffi::SQLITE_READONLY)
        }
        Some(
            ErrorCode::PermissionDenied
            | ErrorCode::OutOfMemory
            | ErrorCode::OperationInterrupted
            | ErrorCode::DiskFull
            | ErrorCode::CannotOpen
            | ErrorCode::NoLargeFileSupport,
        ) => false,
        _ => true,
    };
    if is_damaged {
        tracing::debug!(path = %path.display(), %error, "the index is damaged");
        CacheError::Damaged {
            path: path.to_path_buf(),
        }
    } else {
        CacheError::Index {
            path: path.to_path_buf(),
            source: Arc::new(error),
        }
    }
}
