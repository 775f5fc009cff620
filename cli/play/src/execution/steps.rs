//! Questions before each task: whether it is to be done.

use std::fmt;

/// What people answer to the question whether a task is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepAnswer {
    /// The task is done.
    Yes,
    /// The task is left out.
    No,
    /// The task is done, and so are all that follow, without a question.
    Continue,
}

/// Asks before each task, by its name.
pub(super) struct Steps(pub(super) Box<dyn FnMut(&str) -> StepAnswer + Send>);

impl fmt::Debug for Steps {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Steps")
    }
}
