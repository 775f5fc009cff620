//! The failures of jobs that were cancelled by themselves, while the run goes on.

use crate::outcome::{Class, Failure};

/// The failure of a job that somebody has cancelled before it started.
pub(super) fn cancelled_by_request() -> Failure {
    Failure::new(Class::Cancelled, "somebody cancelled it before it started")
}

/// The failure of a job that somebody has cancelled while it ran, from what its attempt came to.
pub(super) fn cancelled_while_running(failure: Failure) -> Failure {
    Failure {
        class: Class::Cancelled,
        code: None,
        message: format!("somebody cancelled it: {}", failure.message),
        retryable: false,
        ..failure
    }
}
