//! Stored values and their metadata.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::fingerprint::Fingerprint;
use crate::key::{Digest, Key};

/// A value and its metadata. Cloning it is cheap.
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
    /// The digest of the value, computed once when the entry is made.
    digest: Digest,
    metadata: Arc<Metadata>,
}

impl Entry {
    /// Makes an entry, and computes the digest of its value.
    pub fn new(value: impl Into<Arc<[u8]>>, metadata: Metadata) -> Self {
        let value = value.into();
        let digest = Digest::of(&value);
        Self {
            value,
            digest,
            metadata: Arc::new(metadata),
        }
    }

    /// Makes an entry whose digest has been checked against the value.
    #[cfg(feature = "disk")]
    pub(crate) fn verified(value: Arc<[u8]>, digest: Digest, metadata: Metadata) -> Self {
        Self {
            value,
            digest,
            metadata: Arc::new(metadata),
        }
    }

    /// Returns the bytes of the value.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// Returns the bytes of the value, shared with the entry.
    pub fn shared_value(&self) -> Arc<[u8]> {
        Arc::clone(&self.value)
    }

    /// Returns the digest of the value.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the number of bytes of the value.
    pub fn size(&self) -> u64 {
        self.value.len() as u64
    }

    /// Returns the metadata of the value.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

/// The metadata of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Whether the value is a result or a failure.
    pub kind: EntryKind,
    /// The time at which the entry was made.
    pub created: SystemTime,
    /// The time at which the entry expires; `None` for never.
    pub expires: Option<SystemTime>,
    /// The texts by which the entry can be selected.
    pub labels: Labels,
    /// The time that it took to compute the value.
    pub cost: Duration,
    /// The parts of the key, to explain why another key differs.
    pub fingerprint: Option<Fingerprint>,
}

impl Metadata {
    /// Returns the metadata of a result without labels that was made at this time and never expires.
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

/// The texts by which an entry can be selected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// The task that made the result.
    pub task: String,
    /// The worker that performed the task.
    pub worker: String,
    /// Tags that the caller chooses, by which entries can be selected.
    pub tags: Vec<String>,
}

/// Whether a stored value is a result or a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// The value is the result of a job that succeeded.
    Success,
    /// The value describes a failure that would occur again on another try.
    PermanentFailure,
}

/// One entry, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The key of the entry.
    pub key: Key,
    /// The digest of the value.
    pub digest: Digest,
    /// The number of bytes of the value.
    pub size: u64,
    /// The metadata of the value.
    pub metadata: Metadata,
}
