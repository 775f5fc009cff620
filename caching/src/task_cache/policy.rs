//! Decides which outcomes are stored and reused.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::entry::{EntryKind, Labels, Metadata};
use crate::fingerprint::{FileHasher, Fingerprint, InputFiles};
use crate::task_cache::outcome::{ComputeFailure, ComputeResult, FailureKind};

/// Whether the outcome of a job is stored, and which stored outcomes it may use.
///
/// ```
/// use ratchet_caching::{Labels, Policy};
/// use std::time::Duration;
///
/// let labels = Labels { task: "resize".into(), worker: "resize".into(), tags: vec![] };
/// let policy = Policy::cacheable(labels)
///     .time_to_live(Duration::from_secs(3600))
///     .store_permanent_failures(Duration::from_secs(60));
/// ```
#[derive(Debug, Clone)]
pub struct Policy {
    /// Whether the result may be stored and reused.
    pub(super) is_cacheable: bool,
    /// Whether an existing result is ignored and replaced.
    pub(super) is_refresh: bool,
    /// The labels of the entry.
    pub(super) labels: Labels,
    /// How long the result may be used; `None` for no limit.
    pub(super) time_to_live: Option<Duration>,
    /// The time to live of permanent failures, if they are stored at all.
    pub(super) failures: Option<Duration>,
    /// The parts of the key, which are stored to explain later misses.
    pub(super) fingerprint: Option<Fingerprint>,
    /// The declared files, each group with the hasher that read it, so that they can be read again.
    pub(super) inputs: Vec<(InputFiles, Arc<FileHasher>)>,
}

impl Policy {
    /// Returns the policy of a task that always gives the same result for the same key. Its result is stored, and
    /// shared with callers that ask while it is computed.
    pub fn cacheable(labels: Labels) -> Self {
        Self {
            is_cacheable: true,
            is_refresh: false,
            labels,
            time_to_live: None,
            failures: None,
            fingerprint: None,
            inputs: Vec::new(),
        }
    }

    /// Returns the policy of any other task: every caller computes, and nothing is looked up, shared or stored.
    pub fn never() -> Self {
        Self {
            is_cacheable: false,
            ..Self::cacheable(Labels::default())
        }
    }

    /// Drops results this long after they were stored, and does not use older ones.
    #[must_use]
    pub fn time_to_live(mut self, limit: Duration) -> Self {
        self.time_to_live = Some(limit);
        self
    }

    /// Stores permanent failures, too, for this time. Choose a short one, because the cause may be fixed.
    #[must_use]
    pub fn store_permanent_failures(mut self, time_to_live: Duration) -> Self {
        self.failures = Some(time_to_live);
        self
    }

    /// Ignores stored outcomes, computes the result, and stores the new one.
    #[must_use]
    pub fn refresh(mut self) -> Self {
        self.is_refresh = true;
        self
    }

    /// Stores the parts of the key with the result, for [`TaskCache::explain`](crate::TaskCache::explain).
    #[must_use]
    pub fn fingerprint(mut self, fingerprint: Fingerprint) -> Self {
        self.fingerprint = Some(fingerprint);
        self
    }

    /// Reads these inputs again after the computation. If they changed in the meantime, the result is neither stored
    /// nor shared. If this is called twice, both sets of inputs are read.
    #[must_use]
    pub fn verify_inputs(mut self, inputs: InputFiles, hasher: Arc<FileHasher>) -> Self {
        self.inputs.push((inputs, hasher));
        self
    }

    /// Whether a caller with this policy may use a stored entry.
    ///
    /// The limits of this policy apply, counted from the time at which the entry was stored. So a shorter limit also
    /// applies to entries that were stored under a longer one.
    pub(super) fn accepts(&self, metadata: &Metadata, now: SystemTime) -> bool {
        let (may_answer, limit) = match metadata.kind {
            EntryKind::Success => (true, self.time_to_live),
            EntryKind::PermanentFailure => (self.failures.is_some(), self.failures),
        };
        let age = now.duration_since(metadata.created).unwrap_or_default();
        self.is_cacheable
            && !self.is_refresh
            && may_answer
            && limit.is_none_or(|limit| age < limit)
            && !metadata.is_expired(now)
    }

    /// Returns the kind and the expiry with which an outcome is stored, or why it is not stored.
    pub(super) fn storage_of(
        &self,
        outcome: &ComputeResult,
        now: SystemTime,
    ) -> Result<(EntryKind, Option<SystemTime>), NotStored> {
        let (kind, limit) = match outcome {
            _ if !self.is_cacheable => return Err(NotStored::NotCacheable),
            Ok(_) => (EntryKind::Success, self.time_to_live),
            Err(ComputeFailure {
                kind: FailureKind::Permanent,
                ..
            }) => match self.failures {
                Some(limit) => (EntryKind::PermanentFailure, Some(limit)),
                None => return Err(NotStored::Failed(FailureKind::Permanent)),
            },
            Err(failure) => return Err(NotStored::Failed(failure.kind)),
        };
        // An expiry beyond the range of the clock is never reached.
        Ok((kind, limit.and_then(|limit| now.checked_add(limit))))
    }
}

/// Why an outcome was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotStored {
    /// The task is not declared cacheable.
    #[error("the task is not declared cacheable")]
    NotCacheable,
    /// A failure of this kind is not stored.
    #[error("a failure of this kind is not stored ({0})")]
    Failed(FailureKind),
    /// An input changed while the job ran, so it is unknown which content the job read.
    #[error("the input {} changed while the job ran", .0.display())]
    InputsChanged(std::path::PathBuf),
    /// The inputs could not be read again, for example because the system can start no thread.
    #[error("the inputs could not be read again")]
    Unverified,
    /// An invalidation that selects the result took place while the job ran.
    #[error("an invalidation that selects the result came while the job ran")]
    Invalidated,
    /// The store returned an error.
    #[error("the cache could not store the result")]
    StoreFailed,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;
    const MINUTE: Duration = Duration::from_secs(60);

    fn failed(kind: FailureKind) -> ComputeResult {
        Err(ComputeFailure::new(kind, *b"x"))
    }

    #[test]
    fn successes_of_cacheable_tasks_are_stored() {
        let policy = Policy::cacheable(Labels::default());
        let success = Ok(Arc::from(*b"x"));
        assert_eq!(
            policy.storage_of(&success, NOW),
            Ok((EntryKind::Success, None))
        );
        let limited = policy.clone().time_to_live(MINUTE);
        assert_eq!(
            limited.storage_of(&success, NOW),
            Ok((EntryKind::Success, Some(NOW + MINUTE)))
        );
        let for_ever = policy.time_to_live(Duration::MAX);
        assert_eq!(
            for_ever.storage_of(&success, NOW),
            Ok((EntryKind::Success, None))
        );
        assert_eq!(
            Policy::never().storage_of(&success, NOW),
            Err(NotStored::NotCacheable)
        );
    }

    #[test]
    fn failures_are_not_stored_unless_permanent_and_asked_for() {
        use FailureKind::{Cancelled, Crashed, Permanent, Rejected, TimedOut, Transient};
        let plain = Policy::cacheable(Labels::default()).time_to_live(MINUTE * 2);
        let asked = plain.clone().store_permanent_failures(MINUTE);
        for kind in [Permanent, Transient, TimedOut, Cancelled, Crashed, Rejected] {
            assert_eq!(
                plain.storage_of(&failed(kind), NOW),
                Err(NotStored::Failed(kind))
            );
            let expected = if kind == Permanent {
                Ok((EntryKind::PermanentFailure, Some(NOW + MINUTE)))
            } else {
                Err(NotStored::Failed(kind))
            };
            assert_eq!(asked.storage_of(&failed(kind), NOW), expected);
        }
    }

    #[test]
    fn a_stored_failure_is_used_only_by_a_policy_that_stores_failures() {
        let success = Metadata::new(NOW);
        let failure = Metadata {
            kind: EntryKind::PermanentFailure,
            ..success.clone()
        };
        let plain = Policy::cacheable(Labels::default());
        assert!(plain.accepts(&success, NOW));
        assert!(!plain.accepts(&failure, NOW));
        let asked = plain.clone().store_permanent_failures(MINUTE);
        assert!(asked.accepts(&failure, NOW));
        assert!(!asked.accepts(&failure, NOW + MINUTE));
        assert!(!plain.refresh().accepts(&success, NOW));
        assert!(!Policy::never().accepts(&success, NOW));
    }

    #[test]
    fn a_limit_applies_to_entries_that_were_stored_under_a_longer_one() {
        let stored = Metadata {
            expires: Some(NOW + MINUTE * 10),
            ..Metadata::new(NOW)
        };
        let plain = Policy::cacheable(Labels::default());
        let short = plain.clone().time_to_live(MINUTE);
        assert!(plain.accepts(&stored, NOW + MINUTE));
        assert!(!plain.accepts(&stored, NOW + MINUTE * 10));
        assert!(!short.accepts(&stored, NOW + MINUTE));
        // If the clock was set back, an entry seems newer, but never older.
        let earlier = Metadata::new(NOW + MINUTE * 5);
        assert!(short.accepts(&earlier, NOW));
    }
}
