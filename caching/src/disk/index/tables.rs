//! The tables of the index, and how they change together.

use std::time::SystemTime;

use redb::{ReadableTable, Table, TableDefinition};

use super::Applied;
use crate::disk::files::FileName;
use crate::disk::record::{Record, to_nanos};
use crate::key::{Digest, Key};

pub(super) type Bytes = &'static [u8];
pub(super) type KeyBytes = &'static [u8; 32];

pub(super) const RECORDS: TableDefinition<'_, KeyBytes, Bytes> = TableDefinition::new("records");
pub(super) const VALUES: TableDefinition<'_, KeyBytes, Bytes> = TableDefinition::new("values");
/// When an entry was last used, what it takes, and when it expires: all that eviction asks for, without the records.
pub(super) const USES: TableDefinition<'_, KeyBytes, (u64, u64, u64)> =
    TableDefinition::new("uses");
pub(super) const TOTALS: TableDefinition<'_, &str, u64> = TableDefinition::new("totals");
pub(super) const BYTES: &str = "bytes";

/// What an entry takes beside its record and its value: three keys, and the room that pages leave empty.
const OVERHEAD: u64 = 200;
/// The tables of one transaction.
pub(super) struct Tables<'t> {
    pub(super) records: Table<'t, KeyBytes, Bytes>,
    pub(super) values: Table<'t, KeyBytes, Bytes>,
    pub(super) uses: Table<'t, KeyBytes, (u64, u64, u64)>,
    pub(super) bytes: u64,
    pub(super) applied: Applied,
}

impl Tables<'_> {
    pub(super) fn put(
        &mut self,
        key: &Key,
        record: &Record,
        value: Option<&[u8]>,
        now: SystemTime,
    ) -> Result<(), redb::Error> {
        self.remove(key)?;
        let encoded = record.encode(key);
        let charge = charge(record.size, encoded.len());
        let expires = record.metadata.expires.map_or(u64::MAX, to_nanos);
        self.records.insert(key.as_bytes(), encoded.as_slice())?;
        if let Some(value) = value {
            self.values.insert(key.as_bytes(), value)?;
        } else {
            // The same value may have been under this key before.
            let name = FileName::of(key, &record.digest);
            self.applied.unreferred.retain(|other| *other != name);
        }
        self.uses
            .insert(key.as_bytes(), (to_nanos(now), charge, expires))?;
        self.bytes += charge;
        Ok(())
    }

    pub(super) fn touch(&mut self, key: &Key, used: u64) -> Result<(), redb::Error> {
        let Some((before, charge, expires)) = self.uses.get(key.as_bytes())?.map(|row| row.value())
        else {
            return Ok(());
        };
        if used > before {
            self.uses.insert(key.as_bytes(), (used, charge, expires))?;
        }
        Ok(())
    }

    pub(super) fn discard(&mut self, key: &Key, seen: Option<&Digest>) -> Result<(), redb::Error> {
        let stale = match (self.records.get(key.as_bytes())?, seen) {
            (Some(bytes), Some(seen)) => {
                Record::decode(key, bytes.value()).is_none_or(|record| record.digest == *seen)
            }
            (Some(_), None) => true,
            (None, _) => false,
        };
        if stale {
            self.remove(key)?;
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, key: &Key) -> Result<(), redb::Error> {
        if let Some(bytes) = self.records.remove(key.as_bytes())? {
            let record = Record::decode(key, bytes.value()).filter(|record| !record.inline);
            self.applied
                .unreferred
                .extend(record.map(|record| FileName::of(key, &record.digest)));
        }
        self.values.remove(key.as_bytes())?;
        if let Some(row) = self.uses.remove(key.as_bytes())? {
            let (_, charge, _) = row.value();
            self.bytes = self.bytes.saturating_sub(charge);
        }
        Ok(())
    }

    /// Makes room: what has expired goes first, then what was not used for longest. A tenth is freed at once, so that a
    /// full cache does not look for the oldest entry with every put.
    pub(super) fn evict(&mut self, max_bytes: u64, now: SystemTime) -> Result<(), redb::Error> {
        if self.bytes <= max_bytes {
            return Ok(());
        }
        let now = to_nanos(now);
        let mut candidates = Vec::new();
        for row in self.uses.iter()? {
            let (key, row) = row?;
            let (used, _, expires) = row.value();
            candidates.push((expires > now, used, Key::from_bytes(*key.value())));
        }
        candidates.sort_unstable();
        for (_, _, key) in candidates {
            if self.bytes <= max_bytes - max_bytes / 10 {
                break;
            }
            self.remove(&key)?;
            self.applied.evicted += 1;
        }
        Ok(())
    }
}

/// What an entry takes.
pub(in crate::disk) fn charge(value: u64, record: usize) -> u64 {
    value + record as u64 + OVERHEAD
}
