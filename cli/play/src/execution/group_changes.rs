//! The hosts and groups that `add_host` and `group_by` add to the inventory.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::host_run::TaskRun;
use super::machine::Machine;
use crate::actions::names_of;
use crate::data::is_template;
use crate::result::TaskResult;

/// Marks the texts of a value that look like templates, so that nothing renders them as it does those of an inventory. The
/// arguments of `add_host` are rendered already, and may contain what a module has returned.
fn without_templates(value: &Json) -> Json {
    match value {
        Json::String(text) if is_template(text) => json!({ "__ansible_unsafe": text }),
        Json::Array(members) => members.iter().map(without_templates).collect(),
        Json::Object(entries) => {
            let entries = entries.iter();
            entries
                .map(|(name, value)| (name.clone(), without_templates(value)))
                .collect()
        }
        other => other.clone(),
    }
}

impl Machine {
    /// Adds the hosts and groups that a result of `add_host` or `group_by` defines.
    pub(super) fn change_groups(&mut self, task: &TaskRun, name: &str, result: &TaskResult) {
        if !task.node.task.is_action("add_host") && !task.node.task.is_action("group_by") {
            return;
        }
        let results: Vec<Json> = match result.result.get("results") {
            Some(Json::Array(results)) => results.clone(),
            _ => vec![Json::Object(result.result.clone())],
        };
        let mut has_changed = false;
        for result in &results {
            if task.node.task.is_action("add_host") {
                let Some(new) = result.get("add_host") else {
                    continue;
                };
                let Some(host) = new.get("host_name").and_then(Json::as_str) else {
                    continue;
                };
                let groups = names_of(new.get("groups"));
                let variables = new.get("host_vars").and_then(Json::as_object);
                let variables = variables.map(|variables| {
                    let variables = variables.iter();
                    variables
                        .map(|(name, value)| (name.clone(), without_templates(value)))
                        .collect()
                });
                Arc::make_mut(&mut self.inventory).add_host(
                    host,
                    &groups,
                    variables.unwrap_or_default(),
                );
                self.know(host);
                has_changed = true;
            } else if let Some(group) = result.get("add_group").and_then(Json::as_str) {
                let parents = names_of(result.get("parent_groups"));
                if self.is_in_group(name, group) {
                    continue;
                }
                Arc::make_mut(&mut self.inventory).add_host(name, &[group.to_owned()], Map::new());
                for parent in parents.iter().filter(|parent| *parent != "all") {
                    if let Err(reason) = Arc::make_mut(&mut self.inventory).add_group(parent, group)
                    {
                        self.warn(reason);
                    }
                }
                self.know(name);
                has_changed = true;
            }
        }
        if has_changed {
            self.hosts_have_new_variables();
            self.groups_changed();
        }
    }

    /// Whether a host is in a group, directly or by another group.
    fn is_in_group(&self, host: &str, group: &str) -> bool {
        let Some(host) = self.inventory.find_host(host) else {
            return false;
        };
        self.inventory
            .groups_of(host)
            .iter()
            .any(|known| known == group)
    }
}
