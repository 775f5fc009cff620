//! A host while a play runs: where it is, what it does, and how its play has ended.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::cursor::{Cursor, IncludedSteps};
use super::frame::TaskNode;
use crate::result::TaskResult;
use crate::templates::{Layer, Variables};

/// A host in a play.
#[derive(Debug)]
pub(super) struct HostRun {
    pub(super) cursor: Cursor,
    pub(super) state: HostState,
    /// What the host does now.
    pub(super) running: Option<TaskRun>,
    /// The handlers that the host has notified and that have not run since.
    pub(super) notified: BTreeSet<usize>,
    /// The folders of the roles that the host has gone through, with what was given to them.
    pub(super) finished_roles: Vec<(PathBuf, Arc<Vec<crate::data::Entry>>)>,
    /// Variables of `vars_files` whose names are made of facts.
    pub(super) files: Vec<Layer>,
    /// What the includes of the last task bring in.
    pub(super) includes: Vec<PendingInclude>,
    /// Whether the host goes only through handlers, because it has failed and `force_handlers` is set.
    pub(super) is_forced: bool,
}

/// The state of a play for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostState {
    Going,
    /// A task has failed.
    Failed,
    /// The host could not be reached.
    Unreachable,
    /// The host has come to the end of the play, or was told to end it.
    Ended,
}

/// What one host or item asks to include. Hosts that ask for the same go on together.
#[derive(Debug, Clone)]
pub(super) struct PendingInclude {
    /// What makes two includes the same: the file or role, and the variables.
    pub(super) key: String,
    pub(super) steps: Arc<IncludedSteps>,
}

/// A task that a host does.
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
    /// The index of the item that is begun next.
    pub(super) next: usize,
    /// How many items have begun and not ended.
    pub(super) under_way: usize,
    /// Whether no further item begins, by `break_when`.
    pub(super) is_broken: bool,
    /// The values of variables that `set_fact` sets, by the index of the item.
    pub(super) values: HashMap<usize, HashMap<String, minijinja::Value>>,
    /// The other hosts that share the result, because the task runs once.
    pub(super) followers: Vec<String>,
    /// The result of a task whose loop cannot be gone through.
    pub(super) decided: Option<serde_json::Map<String, Value>>,
    /// The indices of the items whose results are not shown.
    pub(super) secrets: BTreeSet<usize>,
    /// The index of the task among the handlers, if it was notified.
    pub(super) handler: Option<usize>,
}

/// How a loop goes.
#[derive(Debug, Clone)]
pub(super) struct LoopControl {
    pub(super) variable: String,
    pub(super) index: Option<String>,
    pub(super) label: Option<String>,
    pub(super) pause: Option<std::time::Duration>,
    pub(super) is_extended: bool,
    pub(super) has_all_items: bool,
    /// How many items may be under way at once.
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
    /// How many items there are; one for a task without a loop.
    pub(super) fn count(&self) -> usize {
        self.items.as_ref().map_or(1, Vec::len)
    }

    /// Whether every item that is to be done has ended.
    pub(super) fn is_done(&self) -> bool {
        self.under_way == 0 && (self.is_broken || self.next >= self.count())
    }
}
