//! The orders that the loop of a run gets from its handles.

use ratchet_ipc::JobKey;
use ratchet_resilience::shutdown::Phase;
use tokio::sync::oneshot;

use super::snapshot::Snapshot;
use super::source::Batch;
use super::steering::{Cancellation, JobOutput, JobState};
use crate::Error;
use crate::ids::PlaceName;
use crate::monitor::Warning;
use crate::scheduling::{Limit, ParallelizationStats};

/// An order to the loop of a run.
#[derive(Debug)]
pub(super) enum RunOrder {
    /// Go over to this phase, unless the run is further already.
    Stop(Phase),
    /// Hold new jobs back for this reason, or no longer.
    Hold(Option<String>),
    /// Hold new jobs back at a place for this reason, or no longer.
    HoldPlace(PlaceName, Option<String>),
    /// Tell sinks that the machine runs short of something.
    Warn(Warning),
    /// Start nothing, or go on.
    Pause(bool),
    /// Change the number of slots.
    SetSlots(u32, oneshot::Sender<Result<(), Error>>),
    /// Change a named limit.
    SetLimit(String, Limit, oneshot::Sender<Result<(), Error>>),
    /// Tell what locks and limits are held, and what is left.
    Parallelization(oneshot::Sender<ParallelizationStats>),
    /// Tell what runs and what waits.
    Snapshot(oneshot::Sender<Snapshot>),
    /// Tell where these jobs stand.
    Find(Vec<JobKey>, oneshot::Sender<Vec<Option<JobState>>>),
    /// Cancel these jobs, and tell of each what became of that.
    CancelJobs(Vec<JobKey>, oneshot::Sender<Vec<Cancellation>>),
    /// Tell what a running job has printed so far.
    Output(JobKey, oneshot::Sender<Option<JobOutput>>),
    /// Take more jobs.
    Add(Batch, oneshot::Sender<Result<(), Error>>),
}
