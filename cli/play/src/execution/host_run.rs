//! The state of a host during a play: its position, its running task, and how its play has ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::cursor::{Cursor, IncludedSteps};
use super::frame::TaskNode;
use super::known_hosts::SetVariables;
use super::start_at::StartAt;
use crate::programs::Answers;
use crate::result::TaskResult;
use crate::templates::{Layer, Variables};

/// A host in a play.
#[derive(Debug)]
pub(super) struct HostRun {
    pub(super) cursor: Cursor,
    pub(super) state: HostState,
    /// Whether the host has left the play by `end_host`.
    pub(super) has_left: bool,
    /// The task that the host runs now.
    pub(super) running: Option<TaskRun>,
    /// Whether the host waits for a lookup of a task that it is about to start.
    pub(super) is_starting: bool,
    /// The names that the host has notified since handlers ran last. The handlers behind them are found when handlers
    /// run, because a role that is used again replaces handlers of the same names.
    pub(super) notifications: Vec<String>,
    /// The handlers that run next on the host, or that handlers have notified after their turn.
    pub(super) notified: BTreeSet<usize>,
    /// The task at which the host starts, until it has reached that.
    pub(super) start_at: Option<Arc<StartAt>>,
    /// The folders of the roles that the host has completed, with the parameters of each use.
    pub(super) finished_roles: Vec<(PathBuf, Arc<Vec<crate::data::Entry>>)>,
    /// The variables of those `vars_files` whose names depend on facts.
    pub(super) files: Vec<Layer>,
    /// What the last task of the host includes.
    pub(super) includes: Vec<PendingInclude>,
    /// Whether the host goes only through handlers, because it has failed and `force_handlers` is set.
    pub(super) is_forced: bool,
}

impl HostRun {
    /// Whether the host runs a task, or is about to.
    pub(super) fn is_busy(&self) -> bool {
        self.running.is_some() || self.is_starting || !self.includes.is_empty()
    }

    /// Whether the host has notified a handler that has not run since.
    pub(super) fn has_notified(&self) -> bool {
        !self.notified.is_empty() || !self.notifications.is_empty()
    }
}

/// The state of a play for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostState {
    Going,
    /// A task has failed.
    Failed,
    /// The host could not be reached.
    Unreachable,
    /// The host has reached the end of the play, or a task ended it.
    Ended,
}

/// An include that one host or item requests. Hosts that request the same one continue together.
#[derive(Debug, Clone)]
pub(super) struct PendingInclude {
    /// The key by which two includes are the same: the file or role, and the variables.
    pub(super) key: String,
    pub(super) steps: Arc<IncludedSteps>,
}

/// A task in progress on a host.
#[derive(Debug)]
pub(super) struct TaskRun {
    pub(super) node: TaskNode,
    /// The name of the task, rendered for the host.
    pub(super) title: String,
    /// The place of the task, for ids.
    pub(super) path: String,
    /// The variables of the task without those of an item.
    pub(super) variables: Variables,
    /// The items of the loop, or `None` for a task without one.
    pub(super) items: Option<Vec<minijinja::Value>>,
    pub(super) control: LoopControl,
    /// The result of each item that has ended.
    pub(super) results: Vec<Option<TaskResult>>,
    /// The index of the item that starts next.
    pub(super) next: usize,
    /// How many items have started and not ended.
    pub(super) under_way: usize,
    /// Whether no further item starts, because of `break_when`.
    pub(super) is_broken: bool,
    /// The values of variables that `set_fact` sets, by the index of the item.
    pub(super) values: HashMap<usize, HashMap<String, minijinja::Value>>,
    /// The variables that `include_vars` has read, by the index of the item.
    pub(super) included_variables: HashMap<usize, Layer>,
    /// What the variables of hosts were before the items of the loop have set any. A loop that fails sets none.
    pub(super) before: BTreeMap<String, SetVariables>,
    /// The other hosts that share the result, because the task runs once.
    pub(super) followers: Vec<String>,
    /// The result of a task that runs no item, for example because its loop cannot be evaluated.
    pub(super) decided: Option<serde_json::Map<String, Value>>,
    /// The indices of the items whose results are not shown.
    pub(super) secrets: BTreeSet<usize>,
    /// Whether the title and the items of the loop are known.
    pub(super) is_prepared: bool,
    /// What was looked up for the title and the loop.
    pub(super) preparation: Planning,
    /// What was looked up for each item that is being planned.
    pub(super) plans: HashMap<usize, Planning>,
    /// The index of the task among the handlers, if it is one.
    pub(super) handler: Option<usize>,
    /// How many hosts and items may run the task at once.
    pub(super) throttle: Option<usize>,
    /// The result with which the task ends once its keywords are known, and whether it is that of a loop.
    pub(super) ending: Option<(TaskResult, bool)>,
    /// What was looked up for keywords that decide what follows from the result.
    pub(super) end: Planning,
}

/// What was looked up for a task or an item that is being planned.
#[derive(Debug, Default)]
pub(super) struct Planning {
    pub(super) answers: Answers,
    /// How long the lookups took.
    pub(super) spent: Duration,
}

/// What a lookup is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planned {
    /// The title and the loop of a task.
    Task,
    /// The item of this index.
    Item(usize),
    /// What follows from the result of a task, such as the handlers that it notifies.
    End,
}

/// The settings of a loop.
#[derive(Debug, Clone)]
pub(super) struct LoopControl {
    pub(super) variable: String,
    pub(super) index: Option<String>,
    pub(super) label: Option<String>,
    pub(super) pause: Option<Duration>,
    pub(super) is_extended: bool,
    pub(super) has_all_items: bool,
    /// How many items may run at once.
    pub(super) parallel: usize,
}

impl Default for LoopControl {
    fn default() -> Self {
        Self {
            variable: "item".to_owned(),
            index: None,
            label: None,
            pause: None,
            is_extended: false,
            has_all_items: true,
            parallel: 1,
        }
    }
}

impl TaskRun {
    /// Returns the number of items; one for a task without a loop.
    pub(super) fn count(&self) -> usize {
        self.items.as_ref().map_or(1, Vec::len)
    }

    /// Whether every item that has to run has ended.
    pub(super) fn is_done(&self) -> bool {
        self.under_way == 0 && (self.is_broken || self.next >= self.count())
    }
}
