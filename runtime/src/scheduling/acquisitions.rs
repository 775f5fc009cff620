//! Debug events that report who acquires, holds and waits for the claims of a hint.
//!
//! All have the target `ratchet_runtime::parallelization`. No data is collected for them unless a subscriber listens to
//! it.

use tracing::Level;

/// The target of these events.
const TARGET: &str = "ratchet_runtime::parallelization";

/// An acquisition of the claims of a hint, as its events report it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acquisition<'a> {
    /// The name of the hint.
    pub(crate) hint: &'a str,
    /// The host for which it is acquired.
    pub(crate) host: Option<&'a str>,
    /// The name of the task.
    pub(crate) task: &'a str,
    /// The id of the job, if it is a job of a run.
    pub(crate) job: Option<&'a str>,
}

/// Whether a subscriber listens to these events.
pub(crate) fn are_traced() -> bool {
    tracing::enabled!(target: TARGET, Level::DEBUG)
}

/// What has happened to an acquisition.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AcquisitionChange {
    /// The claims were granted.
    Acquired,
    /// The claims were given back.
    Released,
    /// The claims are not free yet.
    Waits,
}

impl Acquisition<'_> {
    /// Emits the event for this change of the acquisition.
    pub(crate) fn tell(self, change: AcquisitionChange) {
        let Self {
            hint,
            host,
            task,
            job,
        } = self;
        match change {
            AcquisitionChange::Acquired => {
                tracing::debug!(target: TARGET, hint, host, task, job, "acquired");
            }
            AcquisitionChange::Released => {
                tracing::debug!(target: TARGET, hint, host, task, job, "released");
            }
            AcquisitionChange::Waits => {
                tracing::debug!(target: TARGET, hint, host, task, job, "waits for");
            }
        }
    }
}

/// An owned copy of an acquisition, for events that are emitted later.
#[derive(Debug)]
pub(crate) struct OwnedAcquisition {
    hint: &'static str,
    host: Option<String>,
    task: String,
}

impl OwnedAcquisition {
    /// Copies the fields that the events report.
    pub(crate) fn new(hint: &'static str, host: Option<&str>, task: &str) -> Self {
        Self {
            hint,
            host: host.map(str::to_owned),
            task: task.to_owned(),
        }
    }

    /// Borrows the acquisition, for its events.
    pub(crate) fn get(&self) -> Acquisition<'_> {
        Acquisition {
            hint: self.hint,
            host: self.host.as_deref(),
            task: &self.task,
            job: None,
        }
    }
}
