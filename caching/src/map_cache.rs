//! A cache for tests.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;

use crate::cache::{Cache, Stats};
use crate::entry::{Entry, Listing};
use crate::error::CacheError;
use crate::invalidation::Selector;
use crate::key::Key;

/// A cache that is a map behind a lock, without expiry and without limits.
#[derive(Default)]
pub(crate) struct MapCache {
    entries: Mutex<HashMap<Key, Entry>>,
}

#[async_trait]
impl Cache for MapCache {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, CacheError> {
        Ok(self.entries.lock().unwrap().get(key).cloned())
    }

    async fn put(&self, key: &Key, entry: Entry) -> Result<(), CacheError> {
        self.entries.lock().unwrap().insert(*key, entry);
        Ok(())
    }

    async fn invalidate(&self, selector: &Selector) -> Result<u64, CacheError> {
        let mut entries = self.entries.lock().unwrap();
        let before = entries.len();
        entries.retain(|key, entry| {
            !selector.matches(key, &entry.metadata().labels, entry.metadata().created)
        });
        Ok((before - entries.len()) as u64)
    }

    async fn list(&self, selector: &Selector) -> Result<Vec<Listing>, CacheError> {
        let entries = self.entries.lock().unwrap();
        let listing = |(key, entry): (&Key, &Entry)| Listing {
            key: *key,
            digest: entry.digest(),
            size: entry.size(),
            metadata: entry.metadata().clone(),
        };
        let selected = |key: &Key, entry: &Entry| {
            selector.matches(key, &entry.metadata().labels, entry.metadata().created)
        };
        Ok(entries
            .iter()
            .filter(|(key, entry)| selected(key, entry))
            .map(listing)
            .collect())
    }

    async fn stats(&self) -> Result<Stats, CacheError> {
        Ok(Stats {
            entries: self.entries.lock().unwrap().len() as u64,
            ..Stats::default()
        })
    }
}
