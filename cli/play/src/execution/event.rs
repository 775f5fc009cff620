//! The events of running playbooks, for the display.

use std::time::Duration;

use crate::result::TaskResult;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PlayEvent {
    /// A play has begun.
    Play {
        /// The name of the play.
        name: String,
    },
    /// A play selects no hosts, or only hosts that earlier plays have lost.
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
        /// How long it waited for each lock or limit, by its name.
        waits: Vec<(String, Duration)>,
    },
    /// An item of a loop has ended on a host.
    Item(TaskResult),
    /// A task has ended on a host. The result of a loop contains those of its items.
    Ended {
        /// The result.
        result: TaskResult,
        /// Whether its items were reported before.
        has_items: bool,
    },
    /// Tasks were included.
    Included {
        /// The file or the role.
        what: String,
        /// The host for which it was included.
        host: String,
    },
    /// No host is left that could continue.
    NoHostsLeft,
    /// A warning for the user.
    Warning(String),
    /// An error in the playbook, which ends its plays for all hosts.
    Error(String),
}
