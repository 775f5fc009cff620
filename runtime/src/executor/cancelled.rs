//! The failures of jobs that were cancelled while the run goes on.

use std::sync::Arc;

use ratchet_ipc::JobKey;

use crate::outcome::{Class, Failure};

/// Why a job was cancelled while the run goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CancelReason {
    /// A user has cancelled the job.
    Request,
    /// Another job of its group has failed.
    Group {
        /// The group.
        group: Arc<str>,
        /// The job that has failed.
        failed: JobKey,
    },
}

impl CancelReason {
    /// Returns the failure of a job that was cancelled while it waited, after this many attempts. A job of a failed group
    /// that never started has the class of a job that lacks a need, so it counts as skipped.
    pub(super) fn while_waiting(&self, attempts: u32) -> Failure {
        match self {
            Self::Request => {
                let waited = if attempts == 0 {
                    "before it started"
                } else {
                    "while it waited for another attempt"
                };
                Failure::new(Class::Cancelled, format!("somebody cancelled it {waited}"))
            }
            Self::Group { group, failed } => {
                let class = if attempts == 0 {
                    Class::Need
                } else {
                    Class::Cancelled
                };
                let why = format!("job `{failed}` of its group `{group}` did not succeed");
                Failure::new(class, why).code("group")
            }
        }
    }

    /// Returns the failure of a job that was cancelled while it ran, from the failure of its attempt.
    pub(super) fn while_running(&self, failure: Failure) -> Failure {
        let (code, why) = match self {
            Self::Request => (None, "somebody cancelled it".to_owned()),
            Self::Group { group, failed } => (
                Some("group".into()),
                format!("job `{failed}` of its group `{group}` did not succeed"),
            ),
        };
        Failure {
            class: Class::Cancelled,
            code,
            message: format!("{why}: {}", failure.message),
            retryable: false,
            ..failure
        }
    }
}
