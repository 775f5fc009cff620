//! The state machine of playbooks: decides which jobs follow from the end of each job.
//!
//! The machine does no work and waits for nothing. It gives out calls, receives the result of each, and gives out those
//! that follow, so all of its decisions are tested as values. With the strategy `linear` the hosts of a batch go
//! through the play together: the hosts that are furthest behind run their task, and the others wait for them. With
//! `free` and `host_pinned` each host proceeds on its own.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use ratchet_input::inventory::Inventory;

use super::Options;
use super::controller_settings::controller_settings;
use super::event::PlayEvent;
use super::frame::TaskNode;
use super::host_run::{HostRun, HostState, TaskRun};
use super::known_hosts::KnownHosts;
use super::play_run::PlayRun;
use super::purpose::{Purpose, Start};
use super::recap::Recap;
use super::steps::{StepAnswer, Steps};
use crate::call::Call;
use crate::data::Data;
use crate::hints::ModuleRegistry;
use crate::host_variables::HostVariables;
use crate::language::{Play, PlaybookReader, Task};
use crate::result::TaskResult;
use crate::selection::Tags;
use crate::templates::ControllerSettings;

/// The state of running playbooks, and the decisions that follow from it.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) options: Options,
    /// The settings that templates can read.
    pub(super) controller_settings: Arc<ControllerSettings>,
    /// The tags that select tasks.
    pub(super) tags: Tags,
    pub(super) inventory: Arc<Inventory>,
    /// The variables of hosts in the inventory, and in the files next to it and the playbook.
    pub(super) of_hosts: HostVariables,
    /// The folder of the playbook whose files of variables were read last.
    pub(super) folder: Option<PathBuf>,
    pub(super) reader: PlaybookReader,
    pub(super) registry: ModuleRegistry,
    pub(super) known: KnownHosts,
    pub(super) plays: VecDeque<Arc<Play>>,
    /// How many plays have begun.
    pub(super) play_number: usize,
    pub(super) current: Option<PlayRun>,
    /// Hosts that have failed or could not be reached, and which of both. Later plays leave them out.
    pub(super) lost: BTreeMap<String, HostState>,
    /// Calls that were created and not given out yet.
    pub(super) calls: Vec<Call>,
    /// The host and the item of each call that was given out, by its id.
    pub(super) under_way: HashMap<String, (String, usize)>,
    /// The purpose of each lookup that was given out, by its id.
    pub(super) lookups: HashMap<String, Purpose>,
    /// Whether a play waits for a lookup before it can begin.
    pub(super) is_opening: bool,
    pub(super) events: Vec<PlayEvent>,
    pub(super) recap: Recap,
    /// Whether an error in the playbook has ended all plays.
    pub(super) has_error: bool,
    /// Asks before each task, if the user wants that.
    pub(super) steps: Option<Steps>,
    /// Whether it was reported that no inventory is given.
    pub(super) has_told_no_inventory: bool,
    /// The key of the task that was reported last.
    pub(super) told_task: Option<String>,
}

impl Machine {
    pub(super) fn new(
        plays: Vec<Arc<Play>>,
        inventory: Inventory,
        reader: PlaybookReader,
        registry: ModuleRegistry,
        options: Options,
    ) -> Self {
        Self {
            controller_settings: Arc::new(controller_settings(&options.settings)),
            tags: Tags::of(&options.settings),
            options,
            known: KnownHosts::new(reader.extra(), reader.vault()),
            inventory: Arc::new(inventory),
            of_hosts: HostVariables::default(),
            folder: None,
            reader,
            registry,
            plays: plays.into(),
            play_number: 0,
            current: None,
            lost: BTreeMap::new(),
            calls: Vec::new(),
            under_way: HashMap::new(),
            lookups: HashMap::new(),
            is_opening: false,
            events: Vec::new(),
            recap: Recap::default(),
            has_error: false,
            steps: None,
            has_told_no_inventory: false,
            told_task: None,
        }
    }

    /// Whether all plays are over.
    pub(super) fn is_done(&self) -> bool {
        self.current.is_none() && self.plays.is_empty() && !self.is_opening
    }

    /// Advances as far as possible without the end of another call.
    pub(super) fn advance(&mut self) {
        loop {
            if self.is_opening {
                return;
            }
            if self.current.is_none() {
                let Some(play) = self.plays.pop_front() else {
                    self.tell_missing_start();
                    return;
                };
                self.begin_play(play);
                continue;
            }
            self.bring_in_includes();
            let groups = self.next_groups();
            if groups.is_empty() {
                if self.is_busy() {
                    return;
                }
                self.end_batch();
                continue;
            }
            for (node, handler, hosts) in groups {
                if self.is_wanted(&node) {
                    self.start(Start::new(node, handler, hosts));
                } else {
                    self.leave_out(handler, &hosts);
                }
            }
        }
    }

    /// Reports that no play with hosts had the task at which the call starts.
    fn tell_missing_start(&mut self) {
        if let Some(start) = self.options.start_at.take() {
            self.has_error = true;
            self.events.push(PlayEvent::Error(format!(
                "nothing was done: no play that has hosts has the task `{}`, which --start-at-task names",
                start.name()
            )));
        }
    }

    /// Whether a task has to run. In step mode the user is asked.
    fn is_wanted(&mut self, node: &TaskNode) -> bool {
        let Some(Steps(ask)) = &mut self.steps else {
            return true;
        };
        match ask(&node.title()) {
            StepAnswer::Yes => true,
            StepAnswer::No => false,
            StepAnswer::Continue => {
                self.steps = None;
                true
            }
        }
    }

    /// Moves hosts past a task or a handler that they do not run.
    fn leave_out(&mut self, handler: Option<usize>, hosts: &[String]) {
        for name in hosts {
            if let Some(host) = self.host_mut(name) {
                if let Some(handler) = handler {
                    host.notified.remove(&handler);
                }
                host.cursor.pass();
            }
        }
    }

    /// Whether a host of the batch is running a task.
    pub(super) fn is_busy(&self) -> bool {
        let mut hosts = self.current.iter().flat_map(|run| run.hosts.values());
        hosts.any(HostRun::is_busy)
    }

    pub(super) fn warn(&mut self, message: String) {
        self.events.push(PlayEvent::Warning(message));
    }

    pub(super) fn host(&self, name: &str) -> Option<&HostRun> {
        self.current.as_ref()?.hosts.get(name)
    }

    pub(super) fn host_mut(&mut self, name: &str) -> Option<&mut HostRun> {
        self.current.as_mut()?.hosts.get_mut(name)
    }

    /// Takes the running task out of a host. The caller puts it back if the task goes on.
    pub(super) fn take_running(&mut self, name: &str) -> Option<TaskRun> {
        self.host_mut(name)?.running.take()
    }

    /// Emits the event that a task has ended on a host.
    pub(super) fn tell_result(&mut self, result: TaskResult, has_items: bool) {
        self.recap
            .count(&result.host, result.status, result.changed);
        self.events.push(PlayEvent::Ended { result, has_items });
    }

    /// Returns how many hosts have failed, and how many could not be reached, without those whose errors were cleared.
    pub(super) fn lost_hosts(&self) -> (u64, u64) {
        let current = self.current.iter().flat_map(|run| run.hosts.values());
        let states = current.map(|host| host.state);
        let states = states.chain(self.lost.values().copied());
        states.fold((0, 0), |(failed, unreachable), state| match state {
            HostState::Failed => (failed + 1, unreachable),
            HostState::Unreachable => (failed, unreachable + 1),
            HostState::Going | HostState::Ended => (failed, unreachable),
        })
    }

    /// Clears the failures of hosts, so that they continue.
    pub(super) fn clear_host_errors(&mut self) {
        self.lost.clear();
        let hosts = self
            .current
            .iter_mut()
            .flat_map(|run| run.hosts.values_mut());
        for host in hosts {
            if matches!(host.state, HostState::Failed | HostState::Unreachable) {
                host.state = HostState::Ended;
            }
        }
    }
}

/// Returns the word that a task of `meta` names.
pub(super) fn meta_word(task: &Task) -> &str {
    let written = task.arguments.free.as_ref().and_then(Data::text);
    written.unwrap_or_default().trim()
}
