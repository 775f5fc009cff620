//! A job before it is queued.

use std::sync::Arc;
use std::time::Instant;

use super::times::JobTimes;
use crate::job::Job;
use crate::outcome::Failure;

/// A job that has come and is not queued yet.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) job: Arc<Job>,
    /// Its place in the order of submission.
    pub(super) place: u64,
    pub(super) since: Instant,
    pub(super) times: JobTimes,
}

/// A job that ends without ever being queued.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) arrival: Arrival,
    pub(super) failure: Box<Failure>,
    /// Its name is none, or another's.
    pub(super) is_nameless: bool,
}

impl Refused {
    pub(super) fn new(arrival: Arrival, failure: Failure) -> Self {
        Self {
            arrival,
            failure: Box::new(failure),
            is_nameless: false,
        }
    }
}
