//! Starts tasks on their hosts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::event::PlayEvent;
use super::frame::TaskNode;
use super::host_run::{LoopControl, Planning, TaskRun};
use super::machine::{Machine, meta_word};
use super::purpose::Start;
use crate::actions;
use crate::data::Value as DataValue;
use crate::language::{Keyword, builtin};
use crate::programs;
use crate::templates::{SearchPath, Variables, is_truthy, render_data};

impl Machine {
    /// Starts a task on hosts. `runs_once` says whether the first one runs it for all.
    pub(super) fn begin_task(&mut self, start: &Start, runs_once: bool) {
        let (node, handler, hosts) = (&start.node, start.handler, &start.hosts);
        let answers = &start.planning.answers;
        let name = builtin(&node.task.module).to_owned();
        let resets = meta_word(&node.task) == "reset_connection";
        if name == "meta" && !resets {
            // The inventory is read once for all hosts of the task.
            if meta_word(&node.task) == "refresh_inventory"
                && programs::evaluate_with_known(answers, || self.is_meant(node, &hosts[0]))
            {
                self.refresh_inventory();
            }
            programs::evaluate_with_known(answers, || {
                for host in hosts {
                    self.meta(node, host);
                }
            });
            return;
        }
        if runs_once {
            let (first, followers) = (hosts[0].clone(), hosts[1..].to_vec());
            for host in &followers {
                self.begin_on_host(node, handler, host, None);
            }
            self.begin_on_host(node, handler, &first, Some(followers));
        } else {
            for host in hosts {
                self.begin_on_host(node, handler, host, Some(Vec::new()));
            }
        }
        self.fill();
    }

    /// Returns a keyword that is true or false, for a host; `None` if it cannot be rendered.
    pub(super) fn flag_of(&self, node: &TaskNode, keyword: Keyword, host: &str) -> Option<bool> {
        let data = node.nearest(keyword)?;
        if let DataValue::Bool(value) = data.value {
            return Some(value);
        }
        let value = render_data(data, &self.variables_of(node, host)).ok()?;
        Some(is_truthy(&value))
    }

    /// Returns the variables of a task on a host, without those of its loop.
    pub(super) fn variables_of(&self, node: &TaskNode, host: &str) -> Variables {
        let Some(run) = &self.current else {
            return Variables::default();
        };
        let known = self.known.get(host).unwrap_or_default();
        let files = run.hosts.get(host).map(|host| host.files.as_slice());
        let search = SearchPath {
            folders: actions::folders_of(&node.task, &run.play.folder),
            inventory: Some(Arc::clone(&self.inventory)),
            settings: Arc::clone(&self.controller_settings),
        };
        run.variables
            .of_task(node, &known, &self.known, files.unwrap_or_default())
            .with_search(Arc::new(search))
    }

    /// Starts a task on a host. Without `followers`, the host takes over the result of another one.
    pub(super) fn begin_on_host(
        &mut self,
        node: &TaskNode,
        handler: Option<usize>,
        name: &str,
        followers: Option<Vec<String>>,
    ) {
        self.read_files_of_facts(name);
        let path = self
            .host(name)
            .map(|host| host.cursor.path())
            .unwrap_or_default();
        let is_follower = followers.is_none();
        let task = TaskRun {
            node: node.clone(),
            title: node.title(),
            path,
            variables: self.variables_of(node, name),
            items: None,
            control: LoopControl::default(),
            results: Vec::new(),
            next: 0,
            under_way: usize::from(is_follower),
            is_broken: is_follower,
            followers: followers.unwrap_or_default(),
            decided: None,
            secrets: BTreeSet::new(),
            values: HashMap::new(),
            before: BTreeMap::new(),
            included_variables: HashMap::new(),
            is_prepared: is_follower,
            preparation: Planning::default(),
            plans: HashMap::new(),
            handler,
            throttle: None,
            ending: None,
            end: Planning::default(),
        };
        if let (Some(index), Some(host)) = (handler, self.host_mut(name)) {
            host.notified.remove(&index);
        }
        self.put(name, task);
        if !is_follower {
            self.prepare(name);
        }
    }

    /// Makes a task the running one of a host. It is the reverse of [`take_running`](Self::take_running).
    pub(super) fn put(&mut self, name: &str, task: TaskRun) {
        if let Some(host) = self.host_mut(name) {
            host.running = Some(task);
        }
    }

    /// Emits the event that a task begins, unless it was emitted last, for another host.
    pub(super) fn tell_task(&mut self, path: &str, title: &str, is_handler: bool) {
        let key = format!("{path}/{title}");
        if self.told_task.as_ref() != Some(&key) {
            self.told_task = Some(key);
            self.events.push(PlayEvent::Task {
                name: title.to_owned(),
                is_handler,
            });
        }
    }
}
