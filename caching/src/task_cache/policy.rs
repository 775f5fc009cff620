//! What may be stored, and for how long.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::cache::{EntryKind, Labels, Metadata};
use crate::fingerprint::{FileHasher, Fingerprint, InputFiles};

/// How a computation ended: the bytes of its result, or its failure.
pub type Outcome = Result<Arc<[u8]>, Failure>;

/// Why a computation has no result.
///
/// The description is whatever the caller wants to hand to everyone who waits: a message, or a serialised error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {}", String::from_utf8_lossy(description))]
pub struct Failure {
    /// What kind of failure, which decides whether it may be stored.
    pub kind: FailureKind,
    /// What is to be said about it.
    pub description: Arc<[u8]>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, description: impl Into<Arc<[u8]>>) -> Self {
        Self {
            kind,
            description: description.into(),
        }
    }
}

/// The kinds of failure that a cache tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Trying again would fail the same way. Stored only if asked for.
    Permanent,
    /// Trying again may help.
    Transient,
    /// It took too long.
    TimedOut,
    /// Nobody wanted it any more. Those who wait still do, so one of them computes instead.
    Cancelled,
    /// The worker died.
    Crashed,
    /// It was never tried: a circuit breaker or a limit refused it.
    Rejected,
}

impl std::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Permanent => "permanent failure",
            Self::Transient => "transient failure",
            Self::TimedOut => "timed out",
            Self::Cancelled => "cancelled",
            Self::Crashed => "crashed",
            Self::Rejected => "rejected",
        })
    }
}

/// Whether and how the result of a job may be used again.
///
/// ```
/// use ratchet_caching::{Labels, Policy};
/// use std::time::Duration;
///
/// let labels = Labels { task: "resize".into(), worker: "resize".into(), tags: vec![] };
/// let policy = Policy::cacheable(labels).time_to_live(Duration::from_secs(3600));
/// ```
#[derive(Debug, Clone)]
pub struct Policy {
    pub(super) cacheable: bool,
    pub(super) refresh: bool,
    pub(super) labels: Labels,
    pub(super) time_to_live: Option<Duration>,
    pub(super) failures: Option<Duration>,
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) inputs: Vec<(InputFiles, Arc<FileHasher>)>,
}

impl Policy {
    /// The task is declared to give the same result for the same key: it may be stored, and shared with whoever asks
    /// while it runs.
    pub fn cacheable(labels: Labels) -> Self {
        Self {
            cacheable: true,
            refresh: false,
            labels,
            time_to_live: None,
            failures: None,
            fingerprint: None,
            inputs: Vec::new(),
        }
    }

    /// Nothing is declared: every asker computes, nothing is looked up, shared or stored.
    pub fn never() -> Self {
        Self {
            cacheable: false,
            ..Self::cacheable(Labels::default())
        }
    }

    /// Drops results this long after they were stored, and uses none that is older.
    #[must_use]
    pub fn time_to_live(mut self, limit: Duration) -> Self {
        self.time_to_live = Some(limit);
        self
    }

    /// Stores permanent failures as well, this long. Choose it short: a failure that was permanent may have been fixed.
    #[must_use]
    pub fn store_permanent_failures(mut self, time_to_live: Duration) -> Self {
        self.failures = Some(time_to_live);
        self
    }

    /// Passes over what is stored, computes, and stores the new result.
    #[must_use]
    pub fn refresh(mut self) -> Self {
        self.refresh = true;
        self
    }

    /// Keeps with the result what its key was made of, for [`TaskCache::explain`](crate::TaskCache::explain).
    #[must_use]
    pub fn fingerprint(mut self, fingerprint: Fingerprint) -> Self {
        self.fingerprint = Some(fingerprint);
        self
    }

    /// Reads these inputs again once the result is there: if they changed while the job ran, it is neither stored nor
    /// shared. Asked for twice, both are read again.
    #[must_use]
    pub fn verify_inputs(mut self, inputs: InputFiles, hasher: Arc<FileHasher>) -> Self {
        self.inputs.push((inputs, hasher));
        self
    }

    /// Whether a stored entry answers an asker with this policy. The limits count from when it was stored, whatever the
    /// policy was then: who shortens a limit does not mean only what is stored from now on.
    pub(super) fn accepts(&self, metadata: &Metadata, now: SystemTime) -> bool {
        let (may_answer, limit) = match metadata.kind {
            EntryKind::Success => (true, self.time_to_live),
            EntryKind::PermanentFailure => (self.failures.is_some(), self.failures),
        };
        let age = now.duration_since(metadata.created).unwrap_or_default();
        self.cacheable
            && !self.refresh
            && may_answer
            && limit.is_none_or(|limit| age < limit)
            && !metadata.is_expired(now)
    }

    /// As what an outcome is stored, and until when; or why it is not.
    pub(super) fn storable(
        &self,
        outcome: &Outcome,
        now: SystemTime,
    ) -> Result<(EntryKind, Option<SystemTime>), NotStored> {
        let (kind, limit) = match outcome {
            _ if !self.cacheable => return Err(NotStored::NotCacheable),
            Ok(_) => (EntryKind::Success, self.time_to_live),
            Err(Failure {
                kind: FailureKind::Permanent,
                ..
            }) => match self.failures {
                Some(limit) => (EntryKind::PermanentFailure, Some(limit)),
                None => return Err(NotStored::Failed(FailureKind::Permanent)),
            },
            Err(failure) => return Err(NotStored::Failed(failure.kind)),
        };
        // A time beyond what the clock can say is for ever.
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
    /// Failures of this kind are not stored.
    #[error("a failure of this kind is not stored ({0})")]
    Failed(FailureKind),
    /// An input changed while the job ran, so that nobody knows which content it read.
    #[error("the input {} changed while the job ran", .0.display())]
    InputsChanged(std::path::PathBuf),
    /// The inputs could not be read again, because the runtime is going down.
    #[error("the inputs could not be read again")]
    Unverified,
    /// The entries that it belongs to were dropped while the job ran.
    #[error("results like it were dropped while the job ran")]
    Invalidated,
    /// The store failed.
    #[error("the cache could not store it")]
    StoreFailed,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;
    const MINUTE: Duration = Duration::from_mins(1);

    fn failed(kind: FailureKind) -> Outcome {
        Err(Failure::new(kind, *b"x"))
    }

    #[test]
    fn successes_of_cacheable_tasks_are_stored() {
        let policy = Policy::cacheable(Labels::default());
        let success = Ok(Arc::from(*b"x"));
        assert_eq!(
            policy.storable(&success, NOW),
            Ok((EntryKind::Success, None))
        );
        let limited = policy.clone().time_to_live(MINUTE);
        assert_eq!(
            limited.storable(&success, NOW),
            Ok((EntryKind::Success, Some(NOW + MINUTE)))
        );
        let for_ever = policy.time_to_live(Duration::MAX);
        assert_eq!(
            for_ever.storable(&success, NOW),
            Ok((EntryKind::Success, None))
        );
        assert_eq!(
            Policy::never().storable(&success, NOW),
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
                plain.storable(&failed(kind), NOW),
                Err(NotStored::Failed(kind))
            );
            let expected = if kind == Permanent {
                Ok((EntryKind::PermanentFailure, Some(NOW + MINUTE)))
            } else {
                Err(NotStored::Failed(kind))
            };
            assert_eq!(asked.storable(&failed(kind), NOW), expected);
        }
    }

    #[test]
    fn a_stored_failure_answers_only_those_who_asked_for_failures() {
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
    fn a_limit_counts_for_what_was_stored_under_a_longer_one() {
        let stored = Metadata {
            expires: Some(NOW + MINUTE * 10),
            ..Metadata::new(NOW)
        };
        let plain = Policy::cacheable(Labels::default());
        let short = plain.clone().time_to_live(MINUTE);
        assert!(plain.accepts(&stored, NOW + MINUTE));
        assert!(!plain.accepts(&stored, NOW + MINUTE * 10));
        assert!(!short.accepts(&stored, NOW + MINUTE));
        // A clock that was set back makes an entry look young, never old.
        let earlier = Metadata::new(NOW + MINUTE * 5);
        assert!(short.accepts(&earlier, NOW));
    }
}
