//! The changes of one transaction.

use std::collections::HashMap;
use std::time::SystemTime;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::disk::layout::Layout;
use crate::disk::record::{Record, to_nanos};
use crate::disk::rows::{FoundEntry, find, key_and_record, to_sql, visit_selected};
use crate::disk::value_files::{self, FileName};
use crate::error::CacheError;
use crate::invalidation::Selector;
use crate::key::{Digest, Key};

/// The bytes that an entry occupies besides its record and its value: keys, and the space that pages leave empty.
const OVERHEAD: u64 = 200;

/// Returns the number of bytes that an entry occupies.
pub(super) fn stored_size(value: u64, record: usize) -> u64 {
    value + record as u64 + OVERHEAD
}

/// Why a step of a transaction failed.
#[derive(Debug)]
pub(super) enum TransactionError {
    /// A statement of `SQLite` failed.
    Sql(rusqlite::Error),
    /// A check or a file operation of the cache failed.
    Cache(CacheError),
}

impl From<rusqlite::Error> for TransactionError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<CacheError> for TransactionError {
    fn from(error: CacheError) -> Self {
        Self::Cache(error)
    }
}

/// Changes that take place together, by [`commit`](Self::commit), or not at all.
pub(super) struct WriteTransaction<'c> {
    sql: Transaction<'c>,
    /// The files of the entries that this transaction removes.
    orphaned_files: Vec<FileName>,
}

impl<'c> WriteTransaction<'c> {
    /// Begins a transaction, after a wait while another process is writing.
    pub(super) fn begin(connection: &'c mut Connection) -> rusqlite::Result<Self> {
        // Immediate: a transaction that begins as a reader could not wait for its turn to write.
        let sql = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        Ok(Self {
            sql,
            orphaned_files: Vec::new(),
        })
    }

    /// Commits all changes, and then removes the files of removed entries.
    pub(super) fn commit(self, layout: &Layout) -> rusqlite::Result<()> {
        self.sql.commit()?;
        // A crash before the commit must not leave entries without their files, so the files are removed last.
        for name in self.orphaned_files {
            value_files::remove(layout, name);
        }
        Ok(())
    }

    /// Stores an entry, with its value if that is inline, and replaces the previous one.
    pub(super) fn put(
        &mut self,
        key: &Key,
        record: &Record,
        value: Option<&[u8]>,
        now: SystemTime,
    ) -> rusqlite::Result<()> {
        self.remove(key)?;
        if value.is_none() {
            // The same value may have been under this key before. Then its file is reused.
            let name = FileName::of(key, &record.digest);
            self.orphaned_files.retain(|other| *other != name);
        }
        let encoded = record.encode(key);
        let size = to_sql(stored_size(record.size, encoded.len()));
        let expires = record
            .metadata
            .expires
            .map_or(i64::MAX, |at| to_sql(to_nanos(at)));
        let sql = "INSERT INTO entries (key, used, expires, size, record, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let used = to_sql(to_nanos(now));
        let mut statement = self.sql.prepare_cached(sql)?;
        statement.execute(params![
            &key.as_bytes()[..],
            used,
            expires,
            size,
            encoded,
            value
        ])?;
        Ok(())
    }

    /// Stores when entries were last used.
    pub(super) fn set_used(&self, used: &HashMap<Key, u64>) -> rusqlite::Result<()> {
        let sql = "UPDATE entries SET used = ?2 WHERE key = ?1 AND used < ?2";
        let mut statement = self.sql.prepare_cached(sql)?;
        for (key, used) in used {
            statement.execute(params![&key.as_bytes()[..], to_sql(*used)])?;
        }
        Ok(())
    }

    /// Removes an entry that turned out to be unusable. If an intact one has replaced it since then, that one stays.
    pub(super) fn remove_unusable(
        &mut self,
        key: &Key,
        seen: Option<&Digest>,
    ) -> rusqlite::Result<()> {
        let is_unusable = match (find(&self.sql, key)?, seen) {
            (FoundEntry::Absent, _) => false,
            (FoundEntry::Intact(record, _), Some(seen)) => record.digest == *seen,
            (FoundEntry::Damaged, _) | (FoundEntry::Intact(..), None) => true,
        };
        if is_unusable {
            self.remove(key)?;
        }
        Ok(())
    }

    /// Removes the selected entries, and returns how many there were.
    pub(super) fn remove_selected(&mut self, selector: &Selector) -> rusqlite::Result<u64> {
        let mut selected = Vec::new();
        visit_selected(&self.sql, selector, |key, _| selected.push(key))?;
        for key in &selected {
            self.remove(key)?;
        }
        Ok(selected.len() as u64)
    }

    /// Makes room if the cache is too large, and returns how many entries were dropped.
    ///
    /// Expired entries are dropped first, then the least recently used ones. A tenth is freed at once; otherwise a full
    /// cache would have to make room at every put.
    pub(super) fn evict(&mut self, max_bytes: u64, now: SystemTime) -> rusqlite::Result<u64> {
        let max_bytes = to_sql(max_bytes);
        if self.total()? <= max_bytes {
            return Ok(0);
        }
        // The total has no digest, so it is recomputed before entries are dropped because of it.
        let sql = "UPDATE totals SET bytes = (SELECT coalesce(sum(size), 0) FROM entries)";
        self.sql.execute(sql, [])?;
        let mut bytes = self.total()?;
        if bytes <= max_bytes {
            return Ok(0);
        }
        let target = max_bytes - max_bytes / 10;
        let mut evicted = Vec::new();
        for sql in [
            "SELECT rowid, size FROM entries WHERE expires <= ?1",
            "SELECT rowid, size FROM entries WHERE expires > ?1 ORDER BY used",
        ] {
            let mut statement = self.sql.prepare(sql)?;
            let mut rows = statement.query([to_sql(to_nanos(now))])?;
            while bytes > target
                && let Some(row) = rows.next()?
            {
                evicted.push(row.get::<_, i64>(0)?);
                // A flipped bit may make a size arbitrarily large.
                bytes = bytes.saturating_sub(row.get(1)?);
            }
        }
        for row in &evicted {
            self.delete(
                "DELETE FROM entries WHERE rowid = ?1 RETURNING key, record",
                row,
            )?;
        }
        Ok(evicted.len() as u64)
    }

    /// Returns the number of bytes that all entries occupy. Triggers maintain it.
    fn total(&self) -> rusqlite::Result<i64> {
        let mut statement = self.sql.prepare_cached("SELECT bytes FROM totals")?;
        statement.query_row([], |row| row.get(0))
    }

    /// Removes the entry under a key, if there is one.
    fn remove(&mut self, key: &Key) -> rusqlite::Result<()> {
        let sql = "DELETE FROM entries WHERE key = ?1 RETURNING key, record";
        self.delete(sql, &&key.as_bytes()[..])
    }

    /// Deletes the rows that a statement returns, and records their files.
    fn delete(&mut self, sql: &str, parameter: &dyn rusqlite::ToSql) -> rusqlite::Result<()> {
        let mut statement = self.sql.prepare_cached(sql)?;
        let mut rows = statement.query([parameter])?;
        while let Some(row) = rows.next()? {
            // A damaged record does not tell whether there is a file. The next cleanup finds it.
            if let Some((key, Some(record))) = key_and_record(row)?
                && !record.is_inline
            {
                self.orphaned_files.push(FileName::of(&key, &record.digest));
            }
        }
        Ok(())
    }
}
