//! The ids of jobs, workers and slots inside a run. The ids that go over the wire are those of `ratchet_ipc`.

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

/// The name of a worker: its kind and a number, as in `resize/2`.
#[cfg(feature = "pool")]
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerName(SmolStr);

#[cfg(feature = "pool")]
impl WorkerName {
    /// Makes the name of the worker of this kind with this number.
    pub fn new(kind: &str, number: u64) -> Self {
        Self(format_smolstr!("{kind}/{number}"))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(feature = "pool")]
impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a place where jobs run: a host as the user calls it, or [`LOCAL`](Self::LOCAL).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlaceName(SmolStr);

impl PlaceName {
    /// The name of the machine on which the executor itself runs.
    pub const LOCAL: Self = Self(SmolStr::new_static("local"));

    /// Makes the name of a place.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PlaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number within a run of a kind of worker, or of what performs jobs in this process.
///
/// The scheduler has kinds of its own, one for each route of such a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KindId(pub(crate) u16);

/// The number of a place within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PlaceId(pub(crate) u16);

impl PlaceId {
    /// The machine on which the executor itself runs. Every run has this place.
    pub(crate) const LOCAL: Self = Self(0);

    /// Returns the number as an index.
    pub(crate) fn index(self) -> usize {
        self.0.into()
    }
}

/// The number of a slot: from 1 to the number of slots, and never held by two attempts at once.
///
/// An attempt gets the lowest number that is free when it begins. An attempt that was sent ahead gets the number of the
/// attempt in whose place it begins. An attempt that fills several slots holds several numbers, and is identified by
/// the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotNumber(NonZeroU32);

impl SlotNumber {
    /// Makes the number of a slot. There is no slot 0.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// Returns the number as an integer.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for SlotNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The scheduler's id of a job, from its push to its end.
///
/// No ticket is given twice, so the ticket of a job that has ended is never mistaken for another job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// The place of the job in the scheduler's table, which is reused.
    pub(crate) index: u32,
    /// The number of earlier jobs at this place, which tells a ticket from that of an earlier job.
    pub(crate) generation: u32,
}

impl Ticket {
    /// Returns a small number that no other job in the scheduler has. Callers can use it as an index for their own data
    /// about the job.
    pub fn index(&self) -> usize {
        self.index as usize
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ticket {}.{}", self.index, self.generation)
    }
}
