//! What jobs and workers are called inside a run. The ids that go over the wire are those of `ratchet_ipc`.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

/// What a worker is called: its kind and a number, as in `resize/2`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerName(SmolStr);

impl WorkerName {
    /// The worker of this kind with this number.
    pub fn new(kind: &str, number: u64) -> Self {
        Self(format_smolstr!("{kind}/{number}"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The scheduler's id of a job, from its push to its end.
///
/// Tickets are never given twice, so one that has ended is known as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Ticket {
    /// A small number no other living job has: an index for what the caller keeps about it.
    pub fn index(&self) -> usize {
        self.index as usize
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ticket {}.{}", self.index, self.generation)
    }
}
