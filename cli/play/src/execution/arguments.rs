//! The arguments of a task, rendered for a host or an item.

use std::collections::HashMap;

use minijinja::Value;
use serde_json::{Map, Value as Json};

use super::frame::TaskNode;
use crate::language::{Keyword, builtin};
use crate::modules::Modules;
use crate::templates::{Variables, as_document, is_omitted, render, render_data, text_of, to_json};

/// The prefix of the name of a module group in `module_defaults`.
const GROUP: &str = "group/";

/// The arguments of a task, rendered.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    /// The named arguments.
    pub(super) named: Map<String, Json>,
    /// The text without a name, such as the command.
    pub(super) free: Option<String>,
    /// The values that `set_fact` assigns to variables. Here numbers keep all their digits, which JSON values do not.
    pub(super) values: HashMap<String, Value>,
}

/// Renders the arguments of a task, with the defaults of its module below them.
pub(super) fn arguments(
    node: &TaskNode,
    variables: &Variables,
    modules: Option<&Modules>,
) -> Result<Rendered, String> {
    let task = &node.task;
    let mut arguments = Map::new();
    let mut values = HashMap::new();
    let is_set_fact = task.is_action("set_fact");
    for data in node.all(Keyword::ModuleDefaults) {
        let value =
            render_data(data, variables).map_err(|error| format!("`module_defaults`: {error}"))?;
        let maps = match to_json(&value) {
            Json::Array(maps) => maps,
            map => vec![map],
        };
        for (module, defaults) in maps.into_iter().filter_map(object).flatten() {
            let is_meant = match module.strip_prefix(GROUP) {
                None => builtin(&module) == builtin(&task.module),
                Some(group) => is_in_group(&task.module, group, modules)?,
            };
            if is_meant && let Json::Object(defaults) = defaults {
                arguments.extend(defaults);
            }
        }
    }
    let is_assert = task.is_action("assert");
    for entry in &task.arguments.named {
        // Conditions are expressions. They are evaluated later, and undefined names in them are handled there.
        if is_assert && entry.name == "that" || task.is_action("debug") && entry.name == "var" {
            arguments.insert(
                entry.name.clone(),
                entry.data.word().unwrap_or_default().into(),
            );
            continue;
        }
        let value = render_data(&entry.data, variables)
            .map_err(|error| format!("the argument `{}`: {error}", entry.name))?;
        if is_omitted(&value) {
            arguments.shift_remove(&entry.name);
            continue;
        }
        let name = render(&entry.name, variables).map_err(|error| error.to_string())?;
        let name = text_of(&name);
        if is_set_fact {
            values.insert(name.clone(), as_document(&value));
        }
        arguments.insert(name, to_json(&value));
    }
    if is_assert {
        arguments.shift_remove("that");
        arguments.retain(|name, _| name != "that");
    }
    let free = match &task.arguments.free {
        None => None,
        Some(data) => {
            let value = render_data(data, variables).map_err(|error| error.to_string())?;
            match to_json(&value) {
                // A template may evaluate to a map of all arguments.
                Json::Object(more) => {
                    for (name, value) in more {
                        arguments.entry(name).or_insert(value);
                    }
                    None
                }
                Json::String(text) => Some(text),
                other => Some(other.to_string()),
            }
        }
    };
    Ok(Rendered {
        named: arguments,
        free,
        values,
    })
}

/// Whether a module, as a task names it, is in a group that a collection declares.
fn is_in_group(module: &str, group: &str, modules: Option<&Modules>) -> Result<bool, String> {
    let Some(modules) = modules else {
        return Ok(false);
    };
    let names = modules
        .group(group)
        .map_err(|error| format!("`module_defaults`: {error}"))?;
    Ok(names.iter().any(|name| builtin(name) == builtin(module)))
}

fn object(value: Json) -> Option<Map<String, Json>> {
    match value {
        Json::Object(map) => Some(map),
        _ => None,
    }
}
