//! The events of running playbooks, for the display.

use std::time::Duration;

use crate::result::TaskResult;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A play has begun.
    Play {
        /// The name of the play.
        name: String,
    },
    /// A play has no hosts.
    NoHosts,
    /// A task has begun on the first of its hosts.
    Task {
        /// The name of the task, with its role.
        name: String,
        /// Whether the task is a handler that was notified.
        is_handler: bool,
    },
    /// A job waited for locks or limits before it ran.
    Waited {
        /// The host that the job is for.
        host: String,
        /// How long it waited, by the word of each lock or limit.
        waits: Vec<(String, Duration)>,
    },
    /// An item of a loop has ended on a host.
    Item(TaskResult),
    /// A task has ended on a host. That of a loop has the results of its items in its own.
    Ended {
        /// The result.
        result: TaskResult,
        /// Whether its items were reported before.
        has_items: bool,
    },
    /// Tasks were brought in.
    Included {
        /// The file or the role.
        what: String,
        /// The host for which it was brought in.
        host: String,
    },
    /// No host is left that could go on.
    NoHostsLeft,
    /// Something that people should know.
    Warning(String),
    /// What is wrong with the playbook, so that its plays end for all hosts.
    Error(String),
}
