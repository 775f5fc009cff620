//! The file `meta/runtime.yml` of a collection: where modules have moved, and which groups they form.

use std::collections::HashMap;
use std::path::Path;

use ratchet_input::document;

use super::ModuleError;

/// The routing of a collection: its redirected and removed modules, and its action groups.
#[derive(Debug, Clone, Default)]
pub(super) struct Routing {
    modules: HashMap<String, Route>,
    groups: HashMap<String, ActionGroup>,
}

/// A group of modules that `module_defaults` can name together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ActionGroup {
    /// The names of the modules, as they are written.
    pub(super) modules: Vec<String>,
    /// The names of groups whose modules also belong to this one.
    pub(super) extends: Vec<String>,
}

/// The routing of one module name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Route {
    /// The name to use instead.
    pub(super) redirect: Option<String>,
    /// Why the module was removed.
    pub(super) removed: Option<String>,
    /// The action plugin that runs under this name instead.
    pub(super) successor: Option<String>,
    /// The action plugin that runs in place of the module.
    pub(super) action: Option<String>,
}

impl Routing {
    /// Reads a routing file. A file that does not exist has no routes.
    pub(super) fn read(path: &Path) -> Result<Self, ModuleError> {
        let unreadable = |reason: String| ModuleError::Unreadable {
            path: path.to_owned(),
            reason,
        };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let source = document::source(&path.display().to_string(), bytes);
        let source = source.map_err(|_| unreadable("it is not text".to_owned()))?;
        let mut problems = Vec::new();
        let node = document::ansible_node(&source, &mut problems);
        let Some(node) = node.filter(|_| problems.is_empty()) else {
            return Err(unreadable("it is not YAML".to_owned()));
        };
        let payload = node
            .payload()
            .map_err(|error| unreadable(error.to_string()))?;
        let value: serde_json::Value = payload
            .read()
            .map_err(|error| unreadable(error.to_string()))?;
        let mut modules: HashMap<String, Route> = HashMap::new();
        let routing = &value["plugin_routing"];
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        for (name, route) in routing["modules"].as_object().into_iter().flatten() {
            let tombstone = &route["tombstone"];
            let removed = tombstone.is_object().then(|| {
                let text = text(&tombstone["warning_text"]);
                text.unwrap_or_else(|| "its collection does not contain it any more".to_owned())
            });
            let entry = modules.entry(name.clone()).or_default();
            entry.redirect = text(&route["redirect"]);
            entry.action = text(&route["action_plugin"]);
            entry.removed = removed;
        }
        // ansible-core names the successors of some modules only here: that of `yum` is `dnf`.
        for (name, route) in routing["action"].as_object().into_iter().flatten() {
            let entry = modules.entry(name.clone()).or_default();
            entry.successor = text(&route["redirect"]);
        }
        let groups = value["action_groups"].as_object().into_iter().flatten();
        let groups = groups.map(|(name, members)| (name.clone(), ActionGroup::of(members)));
        Ok(Self {
            modules,
            groups: groups.collect(),
        })
    }

    /// Returns the group of this name.
    pub(super) fn group(&self, name: &str) -> Option<&ActionGroup> {
        self.groups.get(name)
    }

    /// Returns the route of a name.
    pub(super) fn get(&self, name: &str) -> Option<&Route> {
        self.modules.get(name)
    }
}

impl ActionGroup {
    /// Reads the members of a group: names, and a map that names other groups.
    fn of(members: &serde_json::Value) -> Self {
        let mut group = Self::default();
        let texts = |value: &serde_json::Value| {
            let members = value.as_array().into_iter().flatten();
            let texts: Vec<_> = members
                .filter_map(|member| member.as_str())
                .map(str::to_owned)
                .collect();
            texts
        };
        group.modules = texts(members);
        for member in members.as_array().into_iter().flatten() {
            group
                .extends
                .extend(texts(&member["metadata"]["extend_group"]));
        }
        group
    }
}
