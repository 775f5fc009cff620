//! The work folder of a process on another host, for the handle of the process.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::{ProcessError, WorkPath};

/// How long a process that has ended waits for its work folder to be removed. A host that takes longer goes on by itself.
pub(crate) const REMOVE_LIMIT: Duration = Duration::from_secs(5);

/// The work folder of a process on another host. Dropping it makes the host remove the folder, unless it is kept.
#[async_trait]
pub trait WorkFolder: Send + Sync + fmt::Debug {
    /// Pulls files. Each is complete when it appears here, and they appear only when all of them have come.
    async fn pull(&self, files: &[WorkPath]) -> Result<(), ProcessError>;

    /// Waits until the host has removed the folder, unless it is kept or the host is lost.
    async fn remove(&self);
}
