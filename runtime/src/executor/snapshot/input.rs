//! The state of a run from which a snapshot is made.

use std::sync::Arc;
use std::time::Instant;

use super::WaitCause;
use crate::executor::arrival::Arrival;
use crate::executor::control::RunControl;
use crate::executor::entry::JobEntry;
use crate::executor::kinds::Kinds;
use crate::executor::seated_queue::SeatedQueue;
use crate::job::Job;

/// The state of a run from which a snapshot is made.
pub(in crate::executor) struct SnapshotInput<'a> {
    /// The moment to which all waits and ages are computed.
    pub(in crate::executor) now: Instant,
    /// The jobs that are queued or running, with their performers and places.
    pub(in crate::executor) seated: &'a SeatedQueue,
    /// The kinds of worker, with their names and hints.
    pub(in crate::executor) kinds: &'a Kinds,
    /// The control of the run, which knows whether it is paused or held back.
    pub(in crate::executor) control: &'a RunControl,
}

/// A waiting job, with what decides its place in the snapshot.
pub(super) struct WaitingEntry {
    pub(super) since: Instant,
    pub(super) position: u64,
    pub(super) job: Arc<Job>,
    pub(super) cause: WaitCause,
}

impl WaitingEntry {
    /// Makes the entry of a job that is queued, or waits for a retry.
    pub(super) fn queued(entry: &JobEntry, cause: WaitCause) -> Self {
        Self {
            since: entry.since,
            position: entry.position,
            job: Arc::clone(&entry.job),
            cause,
        }
    }

    /// Makes the entry of a job that is not queued yet.
    pub(super) fn unqueued(arrival: &Arrival, cause: WaitCause) -> Self {
        Self {
            since: arrival.times.arrived,
            position: arrival.position,
            job: Arc::clone(&arrival.job),
            cause,
        }
    }
}
