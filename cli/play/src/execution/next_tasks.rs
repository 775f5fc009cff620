//! Decides which hosts run which task next.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cursor::Next;
use super::frame::TaskNode;
use super::host_run::HostState;
use super::machine::Machine;
use super::play_run::Strategy;

/// A task, its index among the handlers if it is one, and the hosts that run it.
type Group = (TaskNode, Option<usize>, Vec<String>);

impl Machine {
    /// Returns the tasks that start now, each with its hosts.
    pub(super) fn next_groups(&mut self) -> Vec<Group> {
        let Some(run) = &self.current else {
            return Vec::new();
        };
        if run.is_ended {
            return Vec::new();
        }
        let strategy = run.strategy;
        let batch = run.batch.clone();
        if strategy == Strategy::Linear {
            if self.is_busy() {
                return Vec::new();
            }
            self.fail_other_hosts();
        }
        let mut places: BTreeMap<Vec<u32>, Group> = BTreeMap::new();
        let mut free = Vec::new();
        let mut active_hosts = 0;
        for name in &batch {
            let is_idle = self.host(name).is_some_and(|host| !host.is_busy());
            let is_going = self
                .host(name)
                .is_some_and(|host| host.state == HostState::Going);
            if is_going {
                active_hosts += 1;
            }
            if strategy == Strategy::Pinned && active_hosts > self.options.settings.forks() as usize
            {
                break;
            }
            if !is_idle {
                continue;
            }
            let Some((node, handler)) = self.next_task(name) else {
                continue;
            };
            if strategy == Strategy::Linear {
                let position = self
                    .host(name)
                    .map(|host| host.cursor.position())
                    .unwrap_or_default();
                let group = places
                    .entry(position)
                    .or_insert_with(|| (node, handler, Vec::new()));
                group.2.push(name.clone());
            } else {
                free.push((node, handler, vec![name.clone()]));
            }
        }
        match places.pop_first() {
            Some((_, group)) => vec![group],
            None => free,
        }
    }

    /// Returns the next task of a host. Steps that need no job are done on the way.
    pub(super) fn next_task(&mut self, name: &str) -> Option<(TaskNode, Option<usize>)> {
        loop {
            let run = self.current.as_mut()?;
            let is_forced = run.is_forced;
            let is_stopped = run.is_stopped;
            let host = run.hosts.get_mut(name)?;
            let is_going =
                host.state == HostState::Going || host.is_forced && host.state == HostState::Failed;
            if !is_going {
                return None;
            }
            if is_stopped && host.state == HostState::Going {
                // A host that has not failed itself ends when a failure on another one ends the play.
                host.state = HostState::Failed;
                host.is_forced = is_forced;
                if is_forced {
                    host.cursor.skip_to_handlers();
                    continue;
                }
                return None;
            }
            match host.cursor.next() {
                None => {
                    let after = host.cursor.fail();
                    self.after_failure(name, after);
                }
                Some(Next::End) => {
                    if host.state == HostState::Going {
                        host.state = HostState::Ended;
                    }
                    host.is_forced = false;
                    return None;
                }
                Some(Next::Flush) => {
                    if host.is_forced && !host.has_notified() {
                        host.cursor.pass();
                        host.cursor.skip_to_handlers();
                    } else {
                        self.flush_handlers(name);
                    }
                }
                Some(Next::Role(block)) => {
                    let Some(role) = &block.role else { continue };
                    let key = (role.folder.clone(), Arc::clone(&role.written_parameters));
                    if !role.allows_duplicates && host.finished_roles.contains(&key) {
                        host.cursor.skip_block();
                    }
                }
                Some(Next::RoleEnd(block)) => {
                    // A role whose tasks were passed over on the way to the start has not run.
                    if host.start_at.is_none()
                        && let Some(role) = &block.role
                    {
                        let key = (role.folder.clone(), Arc::clone(&role.written_parameters));
                        if !host.finished_roles.contains(&key) {
                            host.finished_roles.push(key);
                        }
                    }
                }
                Some(Next::Handler(index, node)) => {
                    if host.notified.contains(&index) {
                        return Some((node, Some(index)));
                    }
                    host.cursor.pass();
                }
                Some(Next::Task(node)) => {
                    let tags = node.frame.tags_of(&node.task);
                    if self.tags.select(&tags) && self.has_started(name, &node) {
                        return Some((node, None));
                    }
                    if let Some(host) = self.host_mut(name) {
                        host.cursor.pass();
                    }
                }
            }
        }
    }

    /// Whether a host has reached the task at which the call starts.
    fn has_started(&mut self, name: &str, node: &TaskNode) -> bool {
        let Some(host) = self.host_mut(name) else {
            return true;
        };
        match &host.start_at {
            None => true,
            // The play gathers its facts in any case, because later tasks may use them.
            Some(_) if host.cursor.is_gathering() => true,
            Some(start) if start.is_meant(node) => {
                host.start_at = None;
                true
            }
            Some(_) => false,
        }
    }
}
