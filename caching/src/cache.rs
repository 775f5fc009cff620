//! What a cache is.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::error::CacheError;
use crate::fingerprint::Fingerprint;
use crate::invalidation::Selector;
use crate::key::{Digest, Key};

/// A store of results.
///
/// An implementation keeps four promises:
///
/// * `get` answers with exactly the bytes that were put under the key, or with nothing. What it cannot vouch for, it
///   does not have.
/// * An expired entry is not there.
/// * After `invalidate` has returned, no entry that was there before it and that it selects is ever answered again.
/// * Dropping a future is safe: the operation took place as a whole or not at all.
///
/// It may forget anything at any time. It may fail: [`TaskCache`](crate::TaskCache) makes misses of failures.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait Cache: Send + Sync {
    /// The entry under this key, if there is one that has not expired.
    async fn get(&self, key: &Key) -> Result<Option<Entry>, CacheError>;

    /// Keeps an entry, in place of what was under the key before.
    async fn put(&self, key: &Key, entry: Entry) -> Result<(), CacheError>;

    /// Drops the selected entries and says how many there were.
    async fn invalidate(&self, selector: &Selector) -> Result<u64, CacheError>;

    /// What is kept about the selected entries, without their values.
    async fn list(&self, selector: &Selector) -> Result<Vec<Listing>, CacheError>;

    /// How much is kept, and how the cache has fared since it was made.
    async fn stats(&self) -> Result<Stats, CacheError>;
}

/// A value and what is known about it. Cloning it is cheap.
///
/// ```
/// use ratchet_caching::{Entry, Metadata};
/// use std::time::SystemTime;
///
/// let entry = Entry::new(b"result".to_vec(), Metadata::new(SystemTime::UNIX_EPOCH));
/// assert_eq!(entry.value(), b"result");
/// assert_eq!(entry.size(), 6);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    value: Arc<[u8]>,
    digest: Digest,
    metadata: Arc<Metadata>,
}

impl Entry {
    /// An entry of this value, whose digest is computed here.
    pub fn new(value: impl Into<Arc<[u8]>>, metadata: Metadata) -> Self {
        let value = value.into();
        let digest = Digest::of(&value);
        Self {
            value,
            digest,
            metadata: Arc::new(metadata),
        }
    }

    /// An entry whose digest has been checked against the value.
    #[cfg(feature = "disk")]
    pub(crate) fn verified(value: Arc<[u8]>, digest: Digest, metadata: Metadata) -> Self {
        Self {
            value,
            digest,
            metadata: Arc::new(metadata),
        }
    }

    /// The bytes.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The bytes, shared.
    pub fn shared_value(&self) -> Arc<[u8]> {
        Arc::clone(&self.value)
    }

    /// The digest of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        self.value.len() as u64
    }

    /// What is known about the value.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

/// What is known about a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Whether the value is a result or a failure.
    pub kind: EntryKind,
    /// When the entry was made.
    pub created: SystemTime,
    /// From when on the entry is no longer there.
    pub expires: Option<SystemTime>,
    /// What the entry can be selected by.
    pub labels: Labels,
    /// How long it took to compute the value.
    pub cost: Duration,
    /// What the key was made of, for explaining why another key differs.
    pub fingerprint: Option<Fingerprint>,
}

impl Metadata {
    /// What is known about a result that was made now and never expires.
    pub fn new(created: SystemTime) -> Self {
        Self {
            kind: EntryKind::Success,
            created,
            expires: None,
            labels: Labels::default(),
            cost: Duration::ZERO,
            fingerprint: None,
        }
    }

    /// Whether the entry has expired at this time.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

/// What an entry can be selected by, beside its age.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// The task that made the result.
    pub task: String,
    /// The worker that ran the task.
    pub worker: String,
    /// Anything else.
    pub tags: Vec<String>,
}

/// Whether a stored value is a result or a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// The result of a job that succeeded.
    Success,
    /// The description of a failure that trying again would not change.
    PermanentFailure,
}

/// One entry, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The name of the entry.
    pub key: Key,
    /// The digest of its value.
    pub digest: Digest,
    /// How many bytes the value has.
    pub size: u64,
    /// What is known about it.
    pub metadata: Metadata,
}

/// How much a cache keeps and how it has fared.
///
/// `entries` and `bytes` are what is kept now, by whichever process it was put there. The others count what this
/// object has seen since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries kept, expired ones that have not been cleaned up included.
    pub entries: u64,
    /// Bytes kept: values, what is known about them, and what it takes to find them.
    pub bytes: u64,
    /// `get`s that found an entry.
    pub hits: u64,
    /// `get`s that found none, or an expired or a damaged one.
    pub misses: u64,
    /// Entries put.
    pub puts: u64,
    /// `get`s that found an expired entry.
    pub expired: u64,
    /// Entries dropped to make room.
    pub evicted: u64,
    /// Entries and indexes whose digest was wrong, and that were set aside.
    pub quarantined: u64,
}
