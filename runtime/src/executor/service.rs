//! The tasks that a pool's workers do, as a library user declares them.

use ratchet_ipc::TaskName;

use crate::scheduling::ParallelizationHint;

/// A task that a pool's workers do, whether they name it or not.
///
/// A field that is not set here is as the worker declares it in its hello.
///
/// ```
/// use ratchet_runtime::{ParallelizationHint, Service};
///
/// let service = Service {
///     hint: Some(ParallelizationHint::HostExclusive),
///     ..Service::new("resize")
/// };
/// assert_eq!(service.task.as_str(), "resize");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// The name of the task.
    pub task: TaskName,
    /// How parallel its jobs may be, where they do not say.
    pub hint: Option<ParallelizationHint>,
    /// Whether results may be used again, where jobs do not say.
    pub cacheable: Option<bool>,
}

impl Service {
    /// Makes a task of which only the name is known.
    pub fn new(task: impl Into<TaskName>) -> Self {
        Self {
            task: task.into(),
            hint: None,
            cacheable: None,
        }
    }
}
