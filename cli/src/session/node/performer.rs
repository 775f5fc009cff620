//! Does one attempt of a job of the queue: gives it to the executor, and turns its outcome into what the queue is told.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ratchet_queue::{Attempt, AttemptEnd, Claim, FinalStatus, Performer};
use ratchet_resilience::Rng;
use ratchet_resilience::retry::{BackoffPolicy, RetryDecision, RetryHistory};
use ratchet_runtime::{Class, Failure, JobState, Outcome, PlaceName, RunHandle, Status};
use tokio::sync::watch;
use tokio::time::Instant;

use super::progress::ProgressReports;
use super::runs::NodeRuns;
use super::{NodeStage, reached};
use crate::queue::{Handover, NodeJob, QueuedWork, encode};

/// How long a job is kept that the executor does not take.
const UNABLE_PAUSE: Duration = Duration::from_secs(1);

/// Does the attempts of a node.
pub(super) struct NodePerformer {
    runs: Arc<NodeRuns>,
    progress: ProgressReports,
    name: String,
    stages: watch::Receiver<NodeStage>,
    counts: Arc<NodeCounts>,
}

/// What a node has done.
#[derive(Debug, Default)]
pub(super) struct NodeCounts {
    succeeded: AtomicU64,
    unsuccessful: AtomicU64,
    retried: AtomicU64,
    given_back: AtomicU64,
}

impl fmt::Display for NodeCounts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [succeeded, unsuccessful, retried, given_back] = self.all().map(|(_, count)| count);
        write!(
            out,
            "{succeeded} jobs succeeded, {unsuccessful} did not, {retried} attempts failed and are retried, {given_back} were given back"
        )
    }
}

impl NodeCounts {
    /// Returns all counts with their names.
    pub(super) fn all(&self) -> [(&'static str, u64); 4] {
        // Relaxed: nothing else is published with the numbers.
        [
            ("succeeded", &self.succeeded),
            ("unsuccessful", &self.unsuccessful),
            ("retried", &self.retried),
            ("given_back", &self.given_back),
        ]
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }

    fn count(&self, end: &AttemptEnd) {
        let count = match end {
            AttemptEnd::Over {
                status: FinalStatus::Succeeded,
                ..
            } => &self.succeeded,
            AttemptEnd::Over { .. } => &self.unsuccessful,
            AttemptEnd::Again { .. } => &self.retried,
            AttemptEnd::NotBegun => &self.given_back,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Has the run killed when the attempt is dropped before it has ended: its time is over.
struct KillOnDrop<'a> {
    runs: &'a NodeRuns,
    is_armed: bool,
}

impl Drop for KillOnDrop<'_> {
    fn drop(&mut self) {
        if self.is_armed {
            self.runs.order(RunHandle::kill);
        }
    }
}

impl NodePerformer {
    /// Makes the performer of a node of this name.
    pub(super) fn new(
        runs: Arc<NodeRuns>,
        progress: ProgressReports,
        name: &str,
        stages: watch::Receiver<NodeStage>,
    ) -> Self {
        Self {
            runs,
            progress,
            name: name.to_owned(),
            stages,
            counts: Arc::default(),
        }
    }

    /// Returns the counts, which go on.
    pub(super) fn counts(&self) -> Arc<NodeCounts> {
        Arc::clone(&self.counts)
    }

    async fn attempt(&self, mut attempt: Attempt) -> AttemptEnd {
        let claim = &attempt.claim;
        let earlier = claim.attempt.saturating_sub(1);
        let granted = (claim.slots, &*claim.shares);
        let work = QueuedWork::read(&claim.payload);
        let job =
            work.and_then(|work| work.into_job(claim.job.as_str(), earlier, granted, &self.name));
        let NodeJob {
            job,
            retry,
            has_worker,
        } = match job {
            Ok(job) => job,
            Err(message) => return self.refused(claim, message),
        };
        let key = job.id.clone();
        let mut progress = self.progress.watch(key.clone());
        let mut guard = KillOnDrop {
            runs: &self.runs,
            is_armed: true,
        };
        let Some(mut started) = self.runs.start(job).await else {
            guard.is_armed = false;
            // The executor takes no jobs. Others may have more luck, and this node asks for no more at once.
            tokio::time::sleep(UNABLE_PAUSE).await;
            return AttemptEnd::NotBegun;
        };
        let handle = started.handle;
        let mut is_cancelled = false;
        let mut is_draining = false;
        let outcome = loop {
            tokio::select! {
                outcome = &mut started.outcome => break outcome,
                report = progress.next() => attempt.progress(&report.encode()),
                () = attempt.cancelled(), if !is_cancelled => {
                    is_cancelled = true;
                    // An error means that the job has ended.
                    let _ = handle.cancel_jobs([key.clone()]).await;
                }
                () = reached(self.stages.clone(), NodeStage::Draining), if !is_draining => {
                    is_draining = true;
                    if has_not_begun(&handle, &key).await {
                        let _ = handle.cancel_jobs([key.clone()]).await;
                    }
                }
            }
        };
        guard.is_armed = false;
        match outcome {
            Ok(outcome) => {
                let retry = retry.as_ref().filter(|_| !is_cancelled);
                self.end(&attempt.claim, &outcome, (retry, has_worker), is_cancelled)
            }
            // The run was killed, and told nothing about this job.
            Err(_) => AttemptEnd::NotBegun,
        }
    }

    /// Returns what the queue is told of an outcome.
    fn end(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        (retry, has_worker): (Option<&BackoffPolicy>, bool),
        is_cancelled: bool,
    ) -> AttemptEnd {
        if let Err(failure) = &outcome.result {
            // Nobody has cancelled the job: this node stops, and another one does the job.
            if failure.class == Class::Cancelled && !is_cancelled {
                return AttemptEnd::NotBegun;
            }
        }
        let mut outcome = outcome.clone();
        outcome.place = Some(PlaceName::new(&self.name));
        // As in a local run, a job that is not tried again fails as what it is, and not as poison.
        let counts_crashes = has_worker && retry.is_some();
        let handover = Handover::after(Handover::read(&claim.handover), outcome, counts_crashes);
        if let (Some(policy), Err(failure)) = (retry, &handover.outcome.result)
            && let Some(delay) = delay(policy, failure, claim.attempt)
        {
            let handover = handover.encode().into();
            return AttemptEnd::Again { delay, handover };
        }
        let outcome = handover.outcome;
        AttemptEnd::Over {
            status: final_status(outcome.status()),
            result: encode(&outcome).into(),
        }
    }

    /// Returns the end of a job that this node cannot read.
    fn refused(&self, claim: &Claim, message: String) -> AttemptEnd {
        let failure = Failure::new(Class::Input, message);
        let mut outcome = Outcome::new(claim.job.as_str(), "unknown", Err(failure));
        outcome.attempts = claim.attempt;
        outcome.place = Some(PlaceName::new(&self.name));
        AttemptEnd::Over {
            status: FinalStatus::Failed,
            result: encode(&outcome).into(),
        }
    }
}

#[async_trait]
impl Performer for NodePerformer {
    async fn perform(&self, attempt: Attempt) -> AttemptEnd {
        let _running = self.runs.count();
        let end = self.attempt(attempt).await;
        self.counts.count(&end);
        end
    }
}

/// Whether a job of the executor has not begun.
async fn has_not_begun(handle: &RunHandle, key: &ratchet_runtime::JobKey) -> bool {
    let found = handle.find([key.clone()]).await;
    let state = found.ok().and_then(|states| states.into_iter().next());
    matches!(state, Some(Some(JobState::Pending | JobState::Waiting(_))))
}

/// Returns how long a failed job waits for its next attempt; `None` if there is none.
fn delay(policy: &BackoffPolicy, failure: &Failure, attempts: u32) -> Option<Duration> {
    let now = Instant::now().into_std();
    let mut history = RetryHistory::resumed(now, attempts.saturating_sub(1));
    match history.record_failure(policy, failure, now, &mut Rng::new()) {
        RetryDecision::Retry { at } => Some(at.saturating_duration_since(now)),
        RetryDecision::GiveUp { .. } => None,
    }
}

/// Returns the status of a job in the queue.
fn final_status(status: Status) -> FinalStatus {
    match status {
        Status::Succeeded => FinalStatus::Succeeded,
        Status::Failed => FinalStatus::Failed,
        Status::TimedOut => FinalStatus::TimedOut,
        Status::Crashed => FinalStatus::Crashed,
        Status::Cancelled => FinalStatus::Cancelled,
        Status::Skipped => FinalStatus::Skipped,
    }
}
