//! Jobs that are read one by one.

use std::sync::Arc;

use ratchet_runtime::{Job, Placement};

use super::repeated_jobs::EndedJobs;
use crate::error::CliError;

/// Jobs that are read one by one. They are read on a thread of their own, so reading may wait.
pub(crate) trait JobStream: Send {
    /// Reads the next job. Returns `None` after the last one.
    fn next(&mut self) -> Option<Result<Job, CliError>>;

    /// Whether reading the next job may wait for the writer of the stream.
    fn may_wait(&self) -> bool;

    /// Returns how many jobs there are, if that is known before they are read.
    fn total(&self) -> Option<u64> {
        None
    }

    /// Returns where all jobs run, if that is known before they are read.
    fn placement(&self) -> Option<Placement> {
        None
    }

    /// Whether a job may use the cache, as far as that is known before they are read.
    fn may_use_cache(&self) -> bool {
        true
    }

    /// Returns the counter of ended jobs, if the jobs of a file are run again and again.
    fn ended_jobs(&self) -> Option<Arc<EndedJobs>> {
        None
    }
}
