//! The result of a command that succeeded.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The result of a command that succeeded, as in its job's result line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandResult<'a> {
    /// The exit code of the command; `None` if a signal ended it.
    pub exit_code: Option<i32>,
    /// What the command printed to stdout, as far as it was kept.
    pub stdout: Cow<'a, str>,
    /// How many bytes after that were dropped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stdout_dropped: u64,
    /// What the command printed to stderr, as far as it was kept.
    pub stderr: Cow<'a, str>,
    /// How many bytes after that were dropped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stderr_dropped: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde requires this signature"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
