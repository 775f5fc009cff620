//! The result of a task on a host, or of one item of its loop.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How a task ended on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// The host was already in the requested state.
    Ok,
    /// The task has changed the host.
    Changed,
    /// The task failed, and the play is over for the host.
    Failed,
    /// The condition of the task did not hold, or the tags of the command line excluded it.
    Skipped,
    /// The host could not be reached.
    Unreachable,
    /// The task failed, and the `rescue` section of its block follows.
    Rescued,
    /// The task failed, and the play continues because of `ignore_errors` or `ignore_unreachable`.
    Ignored,
}

impl TaskStatus {
    /// Returns the status as results name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Changed => "changed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Unreachable => "unreachable",
            Self::Rescued => "rescued",
            Self::Ignored => "ignored",
        }
    }

    /// Whether the job of the task counts as failed.
    pub(crate) fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Unreachable)
    }
}

/// The result of a task on a host, with the output of its module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// How the task ended.
    pub status: TaskStatus,
    /// Whether the task has changed something.
    pub changed: bool,
    /// A message that summarizes what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msg: Option<String>,
    /// The name of the play.
    pub play: String,
    /// The name of the task, with its role.
    pub task: String,
    /// The module, as the task names it.
    pub module: String,
    /// The host that the task belongs to, as the inventory names it.
    pub host: String,
    /// The item of the loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Value>,
    /// Everything that the module returned.
    pub result: Map<String, Value>,
    /// The changes that the task made, if a difference was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<Value>,
}

/// The message that replaces a result with `no_log`.
const CENSORED: &str =
    "the output has been hidden because `no_log: true` was specified for this result";

impl TaskResult {
    /// Returns the result without anything that `no_log` keeps secret.
    #[must_use]
    pub(crate) fn censored(&self) -> Self {
        let mut result = Map::new();
        result.insert("censored".to_owned(), CENSORED.into());
        for key in ["changed", "failed", "skipped", "unreachable"] {
            if let Some(value) = self.result.get(key) {
                result.insert(key.to_owned(), value.clone());
            }
        }
        Self {
            msg: None,
            item: self
                .item
                .as_ref()
                .map(|_| "(censored due to no_log)".into()),
            result,
            diff: None,
            ..self.clone()
        }
    }
}

/// Whether a result has this key with the value `true`.
pub(crate) fn flag(result: &Map<String, Value>, key: &str) -> bool {
    match result.get(key) {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(text)) => {
            matches!(text.to_lowercase().as_str(), "true" | "yes" | "on" | "1")
        }
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        _ => false,
    }
}
