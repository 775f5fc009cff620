//! The tasks that the workers of a pool perform, as a user of the library declares them.

use ratchet_ipc::TaskName;

use crate::scheduling::ParallelizationHint;

/// A task that the workers of a pool perform, whether they declare it or not.
///
/// A field that is not set here has the value that the worker declares in its hello.
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
    /// The hint of its jobs that set none themselves.
    pub hint: Option<ParallelizationHint>,
    /// Whether results may be used again, for jobs whose terms do not say.
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
