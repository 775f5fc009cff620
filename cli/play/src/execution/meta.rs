//! The tasks of `meta`, which steer the play.

use super::frame::TaskNode;
use super::host_run::HostState;
use super::known_hosts::KnownHost;
use super::machine::{Machine, meta_word};
use crate::call::hold;

impl Machine {
    /// Whether the conditions of a task of `meta` hold for a host.
    pub(super) fn is_meant(&mut self, node: &TaskNode, name: &str) -> bool {
        let variables = self.variables_of(node, name);
        match hold(&node.when(), &variables) {
            Ok(holds) => holds,
            Err(error) => {
                let what = meta_word(&node.task);
                self.warn(format!(
                    "{name}: `meta: {what}` is left out: its condition fails: {error}"
                ));
                false
            }
        }
    }

    /// Performs a task of `meta` on a host.
    pub(super) fn meta(&mut self, node: &TaskNode, name: &str) {
        let what = meta_word(&node.task).to_owned();
        let holds = self.is_meant(node, name);
        if holds && what == "flush_handlers" {
            // The handlers run before the task that follows.
            self.flush_handlers(name);
            return;
        }
        let Some(run) = &mut self.current else { return };
        let Some(host) = run.hosts.get_mut(name) else {
            return;
        };
        if !holds {
            host.cursor.pass();
            return;
        }
        match what.as_str() {
            "end_host" => {
                host.state = HostState::Ended;
                host.has_left = true;
                self.hosts_changed();
            }
            "end_play" => run.is_ended = true,
            "end_batch" => {
                for host in run
                    .hosts
                    .values_mut()
                    .filter(|host| host.state == HostState::Going)
                {
                    host.state = HostState::Ended;
                }
            }
            "end_role" => host.cursor.leave_role(),
            "clear_facts" => {
                host.cursor.pass();
                self.known.update(name, KnownHost::forget_facts);
            }
            "clear_host_errors" => {
                host.cursor.pass();
                self.clear_host_errors();
            }
            // `noop` does nothing, and `refresh_inventory` was done once for all hosts.
            _ => host.cursor.pass(),
        }
    }
}
