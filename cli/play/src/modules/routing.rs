//! Where the modules of a collection have gone: its `meta/runtime.yml`.

use std::collections::HashMap;
use std::path::Path;

use ratchet_input::document;

use super::ModuleError;

/// What a collection says about names of modules.
#[derive(Debug, Clone, Default)]
pub(super) struct Routing {
    modules: HashMap<String, Route>,
}

/// What a collection says about one name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Route {
    /// The name that counts instead.
    pub(super) redirect: Option<String>,
    /// Why there is no such module any more.
    pub(super) removed: Option<String>,
    /// The action plugin that runs in place of the module.
    pub(super) action: Option<String>,
}

impl Routing {
    /// Reads a file of routes. One that is not there has none.
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
        let source = source.map_err(|_| unreadable("it is no text".to_owned()))?;
        let mut problems = Vec::new();
        let node = document::ansible_node(&source, &mut problems);
        let Some(node) = node.filter(|_| problems.is_empty()) else {
            return Err(unreadable("it is no YAML".to_owned()));
        };
        let payload = node
            .payload()
            .map_err(|error| unreadable(error.to_string()))?;
        let value: serde_json::Value = payload
            .read()
            .map_err(|error| unreadable(error.to_string()))?;
        let mut modules: HashMap<String, Route> = HashMap::new();
        let routing = &value["plugin_routing"];
        for (name, route) in routing["modules"].as_object().into_iter().flatten() {
            let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
            let tombstone = &route["tombstone"];
            let removed = tombstone.is_object().then(|| {
                let text = text(&tombstone["warning_text"]);
                text.unwrap_or_else(|| "its collection does not have it any more".to_owned())
            });
            let entry = modules.entry(name.clone()).or_default();
            entry.redirect = text(&route["redirect"]);
            entry.action = text(&route["action_plugin"]);
            entry.removed = removed;
        }
        Ok(Self { modules })
    }

    /// What is said about a name.
    pub(super) fn get(&self, name: &str) -> Option<&Route> {
        self.modules.get(name)
    }
}
