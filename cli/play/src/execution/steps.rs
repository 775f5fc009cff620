//! Step mode: the user is asked before each task whether to run it.

use std::fmt;

/// The user's answer to the question whether to run a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepAnswer {
    /// The task runs.
    Yes,
    /// The task is skipped.
    No,
    /// The task runs, and so do all later ones, without a question.
    Continue,
}

/// Asks before each task, by its name.
pub(super) struct Steps(pub(super) Box<dyn FnMut(&str) -> StepAnswer + Send>);

impl fmt::Debug for Steps {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Steps")
    }
}
