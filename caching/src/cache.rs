//! The trait of all caches.

use async_trait::async_trait;

use crate::entry::{Entry, Listing};
use crate::error::CacheError;
use crate::invalidation::Selector;
use crate::key::Key;

/// Stores results under keys, for a while or until they are dropped to make room.
///
/// An implementation makes four guarantees:
///
/// * `get` returns exactly the bytes that were put under the key, or `None`. Bytes that cannot be verified are a miss.
/// * An expired entry is a miss.
/// * After `invalidate` has returned, no selected entry that existed before is ever returned again.
/// * Dropping a future is safe: the operation takes place as a whole or not at all.
///
/// A cache may forget anything at any time. It may also fail: [`TaskCache`](crate::TaskCache) treats a failure as a
/// miss.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait Cache: Send + Sync {
    /// Returns the entry under this key, if there is one that has not expired.
    async fn get(&self, key: &Key) -> Result<Option<Entry>, CacheError>;

    /// Stores an entry, and replaces the previous one under the key.
    async fn put(&self, key: &Key, entry: Entry) -> Result<(), CacheError>;

    /// Drops the selected entries, and returns how many there were.
    async fn invalidate(&self, selector: &Selector) -> Result<u64, CacheError>;

    /// Lists the selected entries without their values.
    async fn list(&self, selector: &Selector) -> Result<Vec<Listing>, CacheError>;

    /// Returns the size of the cache and the counts of its operations.
    async fn stats(&self) -> Result<Stats, CacheError>;
}

/// The size of a cache and the counts of its operations.
///
/// `entries` and `bytes` describe what is stored now, by any process. The other fields count the operations of this
/// object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// The stored entries, including expired ones that have not been removed yet.
    pub entries: u64,
    /// The stored bytes: values, their metadata, and the index.
    pub bytes: u64,
    /// The `get`s that found an entry.
    pub hits: u64,
    /// The `get`s that found no entry, or an expired or damaged one.
    pub misses: u64,
    /// The entries that were put.
    pub puts: u64,
    /// The `get`s that found an expired entry.
    pub expired: u64,
    /// The entries that were dropped to make room.
    pub evicted: u64,
    /// The damaged entries and indexes that were set aside or dropped.
    pub quarantined: u64,
}
