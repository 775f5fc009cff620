//! The orders that the handles of a run send to its loop.

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
    /// Enter this phase, unless the run is in it or in a later one already.
    Stop(Phase),
    /// Hold all starts back for this reason, or no longer if it is `None`.
    Hold(Option<String>),
    /// Hold starts at a place back for this reason, or no longer if it is `None`.
    HoldPlace(PlaceName, Option<String>),
    /// Emit the event that the machine runs short of something.
    Warn(Warning),
    /// Pause the run, or resume it.
    Pause(bool),
    /// Change the number of slots.
    SetSlots(u32, oneshot::Sender<Result<(), Error>>),
    /// Change a named limit.
    SetLimit(String, Limit, oneshot::Sender<Result<(), Error>>),
    /// Answer which locks and limits are held, and what is left of them.
    Parallelization(oneshot::Sender<ParallelizationStats>),
    /// Answer which jobs run, and what each waiting job waits for.
    Snapshot(oneshot::Sender<Snapshot>),
    /// Answer with the states of these jobs.
    Find(Vec<JobKey>, oneshot::Sender<Vec<Option<JobState>>>),
    /// Cancel these jobs, and answer what became of each.
    CancelJobs(Vec<JobKey>, oneshot::Sender<Vec<Cancellation>>),
    /// Answer with the output of a running job.
    Output(JobKey, oneshot::Sender<Option<JobOutput>>),
    /// Add jobs to the run.
    Add(Batch, oneshot::Sender<Result<(), Error>>),
}
