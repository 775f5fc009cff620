//! Reads the rows of the index. Each record and each value is checked against its digest here.

use std::sync::Arc;

use rusqlite::{Connection, Row};

use crate::disk::record::Record;
use crate::invalidation::Selector;
use crate::key::{Digest, Key};

/// The entry of the index for a key.
pub(super) enum FoundEntry {
    /// The index has no row for the key.
    Absent,
    /// The record, and the value; `None` if the value is in a file.
    Intact(Box<Record>, Option<Arc<[u8]>>),
    /// The record or the value does not match its digest.
    Damaged,
}

/// Looks up one key.
pub(super) fn find(connection: &Connection, key: &Key) -> rusqlite::Result<FoundEntry> {
    let sql = "SELECT record, value FROM entries WHERE key = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([&key.as_bytes()[..]])?;
    let Some(row) = rows.next()? else {
        return Ok(FoundEntry::Absent);
    };
    let record = row.get_ref(0)?.as_blob().ok();
    let Some(record) = record.and_then(|bytes| Record::decode(key, bytes)) else {
        return Ok(FoundEntry::Damaged);
    };
    if !record.is_inline {
        return Ok(FoundEntry::Intact(Box::new(record), None));
    }
    Ok(match row.get_ref(1)?.as_blob() {
        Ok(value) if Digest::of(value) == record.digest => {
            FoundEntry::Intact(Box::new(record), Some(value.into()))
        }
        _ => FoundEntry::Damaged,
    })
}

/// Calls `visit` with each selected key and its record, or with `None` for a record that is damaged.
///
/// A damaged record has no labels, so only its key or everything selects it.
pub(super) fn visit_selected(
    connection: &Connection,
    selector: &Selector,
    mut visit: impl FnMut(Key, Option<Record>),
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
        let Some((key, record)) = key_and_record(row)? else {
            continue;
        };
        let is_selected = match &record {
            Some(Record { metadata, .. }) => {
                selector.matches(&key, &metadata.labels, metadata.created)
            }
            None => selector.is_all() || *selector == Selector::key(key),
        };
        if is_selected {
            visit(key, record);
        }
    }
    Ok(())
}

/// Reads a row of two columns, `key` and `record`. Returns `None` if the key is damaged, since it identifies no entry
/// then.
pub(super) fn key_and_record(row: &Row<'_>) -> rusqlite::Result<Option<(Key, Option<Record>)>> {
    let key = row.get_ref(0)?.as_blob().ok();
    let Some(key) = key.and_then(|bytes| bytes.try_into().ok()) else {
        return Ok(None);
    };
    let key = Key::from_bytes(key);
    let record = row.get_ref(1)?.as_blob().ok();
    let record = record.and_then(|bytes| Record::decode(&key, bytes));
    Ok(Some((key, record)))
}

/// Converts a number to what `SQLite` can store, which has no unsigned numbers.
///
/// The largest number represents every larger one. Sizes are smaller, so it is a time after 2262, or never.
pub(super) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
