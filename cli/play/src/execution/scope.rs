//! The variables that are visible to a task on a host.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::Value;

use super::frame::TaskNode;
use super::known_hosts::{HostvarsVariable, KnownHost, KnownHosts, Values};
use crate::language::Role;
use crate::templates::{Layer, Variables, from_json};
use crate::vault::Vault;

/// The variables of a play, which are the same for all of its tasks.
#[derive(Debug, Clone, Default)]
pub(super) struct PlayVariables {
    /// The variables of the command line.
    pub(super) extra: Layer,
    /// Decrypts variables.
    pub(super) vault: Arc<Vault>,
    /// The defaults of the roles in the `roles` list of the play, those of later roles last.
    pub(super) role_defaults: Vec<Layer>,
    /// The variables under `vars`.
    pub(super) own: Layer,
    /// The answers to `vars_prompt`.
    pub(super) answers: Values,
    /// The variables of `vars_files` that are the same for all hosts.
    pub(super) files: Vec<Layer>,
    /// The variables of the roles in the `roles` list of the play.
    pub(super) role_variables: Vec<Layer>,
    /// The magic variables of the play.
    pub(super) magic: Values,
}

impl PlayVariables {
    /// Returns the variables of a play for a host, outside of any task. `files` are those of `vars_files` for the host.
    pub(super) fn of_host(
        &self,
        host: &KnownHost,
        known: &KnownHosts,
        files: &[Layer],
    ) -> Variables {
        let base = self.below_tasks(host, &[], files);
        self.with_magic(&host.results_above(base), host, known)
    }

    /// Returns the variables of a task on a host, without those of its loop.
    pub(super) fn of_task(
        &self,
        node: &TaskNode,
        host: &KnownHost,
        known: &KnownHosts,
        files: &[Layer],
    ) -> Variables {
        let mut roles: Vec<&Arc<Role>> = Vec::new();
        let mut next = node.task.role.as_ref();
        while let Some(role) = next {
            roles.push(role);
            next = role.parent.as_ref();
        }
        roles.reverse();
        let mut variables = self.below_tasks(host, &roles, files);
        let mut frames: Vec<_> = node.frame.chain().collect();
        frames.reverse();
        for frame in frames.iter().filter(|frame| !frame.is_play()) {
            variables = variables.layered(frame.settings().variables().clone());
        }
        variables = variables.layered(node.task.settings.variables().clone());
        variables = host.results_above(variables);
        for role in &roles {
            variables = variables.layered(role.parameters.clone());
        }
        let mut items = BTreeMap::new();
        for include in frames.iter().filter_map(|frame| frame.include()) {
            variables = variables.layered(include.variables.clone());
            for (name, value) in include.item.iter() {
                items.insert(name.clone(), from_json(value.clone()));
            }
        }
        if let Some(role) = &node.task.role {
            items.extend(magic_of_role(role));
        }
        let variables = self.with_magic(&variables, host, known);
        variables.with_magic(Arc::new(items))
    }

    /// Returns the variables that any variable of a task overrides.
    fn below_tasks(&self, host: &KnownHost, roles: &[&Arc<Role>], files: &[Layer]) -> Variables {
        let mut variables = Variables::new(self.extra.clone())
            .with_vault(Arc::clone(&self.vault))
            .with_values(Arc::clone(&host.usual));
        for layer in &self.role_defaults {
            variables = variables.layered(layer.clone());
        }
        for role in roles {
            variables = variables.layered(role.defaults.clone());
        }
        for layer in &host.inventory {
            variables = variables.layered(layer.clone());
        }
        variables = variables
            .with_values(Arc::clone(&host.facts))
            .layered(self.own.clone())
            .with_values(Arc::clone(&self.answers));
        for layer in self.files.iter().chain(files).chain(&self.role_variables) {
            variables = variables.layered(layer.clone());
        }
        for role in roles {
            variables = variables.layered(role.variables.clone());
        }
        variables
    }

    fn with_magic(&self, variables: &Variables, host: &KnownHost, known: &KnownHosts) -> Variables {
        variables
            .with_magic_object(Arc::new(HostvarsVariable(known.clone())))
            .with_magic(Arc::clone(&self.magic))
            .with_magic(Arc::clone(&host.magic))
    }
}

/// Returns the magic variables that describe a role to its tasks.
fn magic_of_role(role: &Role) -> Vec<(String, Value)> {
    let (collection, name) = role.split_name();
    let path = |role: &Role| {
        let path = std::path::absolute(&role.folder).unwrap_or_else(|_| role.folder.clone());
        Value::from(path.display().to_string())
    };
    let mut magic = vec![
        ("role_name", Value::from(name)),
        ("ansible_role_name", Value::from(role.name.as_str())),
        ("ansible_collection_name", Value::from(collection)),
        ("role_path", path(role)),
    ];
    let parents = std::iter::successors(role.parent.as_ref(), |parent| parent.parent.as_ref());
    let parents: Vec<_> = parents.collect();
    // A role that no other role has included does not have these variables, and templates test that.
    if !parents.is_empty() {
        let names = parents.iter().map(|parent| parent.name.clone());
        let paths = parents.iter().map(|parent| path(parent));
        magic.push(("ansible_parent_role_names", names.collect()));
        magic.push(("ansible_parent_role_paths", paths.collect()));
    }
    magic
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
