//! How a computation ended.

use std::fmt;
use std::sync::Arc;

use crate::entry::{Entry, EntryKind};

/// How a computation ended: the bytes of its result, or its failure.
pub type ComputeResult = Result<Arc<[u8]>, ComputeFailure>;

/// Why a computation has no result.
///
/// The description is anything that the caller wants to pass to every waiting caller: a message, or a serialised error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {}", String::from_utf8_lossy(description))]
pub struct ComputeFailure {
    /// The kind of the failure, which decides whether it may be stored.
    pub kind: FailureKind,
    /// The description of the failure.
    pub description: Arc<[u8]>,
}

impl ComputeFailure {
    /// Makes a failure of this kind.
    pub fn new(kind: FailureKind, description: impl Into<Arc<[u8]>>) -> Self {
        Self {
            kind,
            description: description.into(),
        }
    }
}

/// The kinds of failures that a cache distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Another try would fail in the same way. Such a failure is stored only if the policy asks for it.
    Permanent,
    /// Another try may succeed.
    Transient,
    /// The computation took too long.
    TimedOut,
    /// The leader was cancelled. The waiting callers were not, so one of them computes instead.
    Cancelled,
    /// The worker died.
    Crashed,
    /// A circuit breaker or a limit refused the computation, which never started.
    Rejected,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// A stored outcome with its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The entry as it is stored.
    pub entry: Entry,
}

impl Hit {
    /// Returns the outcome that was stored.
    pub fn outcome(&self) -> ComputeResult {
        let value = self.entry.shared_value();
        match self.entry.metadata().kind {
            EntryKind::Success => Ok(value),
            EntryKind::PermanentFailure => Err(ComputeFailure::new(FailureKind::Permanent, value)),
        }
    }
}
