//! The arguments of a task, rendered for a host or an item.

use serde_json::{Map, Value as Json};

use super::frame::TaskNode;
use super::machine::is_action;
use crate::language::{Keyword, builtin};
use crate::templates::{Variables, is_omitted, render, render_data, text_of, to_json};

/// Renders the arguments of a task, with the defaults of its module below them.
pub(super) fn arguments(
    node: &TaskNode,
    variables: &Variables,
) -> Result<(Map<String, Json>, Option<String>), String> {
    let task = &node.task;
    let mut arguments = Map::new();
    for data in node.all(Keyword::ModuleDefaults) {
        let value =
            render_data(data, variables).map_err(|error| format!("`module_defaults`: {error}"))?;
        let maps = match to_json(&value) {
            Json::Array(maps) => maps,
            map => vec![map],
        };
        for (module, defaults) in maps.into_iter().filter_map(object).flatten() {
            if builtin(&module) == builtin(&task.module)
                && let Json::Object(defaults) = defaults
            {
                arguments.extend(defaults);
            }
        }
    }
    let is_assert = is_action(task, "assert");
    for entry in &task.arguments.named {
        // Conditions are expressions, and what is not defined in them is their own matter.
        if is_assert && entry.name == "that" || is_action(task, "debug") && entry.name == "var" {
            arguments.insert(
                entry.name.clone(),
                entry.data.word().unwrap_or_default().into(),
            );
            continue;
        }
        let value = render_data(&entry.data, variables)
            .map_err(|error| format!("the argument `{}`: {error}", entry.name))?;
        if is_omitted(&value) {
            arguments.remove(&entry.name);
            continue;
        }
        let name = render(&entry.name, variables).map_err(|error| error.to_string())?;
        arguments.insert(text_of(&name), to_json(&value));
    }
    if is_assert {
        arguments.remove("that");
        arguments.retain(|name, _| name != "that");
    }
    let free = match &task.arguments.free {
        None => None,
        Some(data) => {
            let value = render_data(data, variables).map_err(|error| error.to_string())?;
            match to_json(&value) {
                // A template may stand for all arguments.
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
    Ok((arguments, free))
}

fn object(value: Json) -> Option<Map<String, Json>> {
    match value {
        Json::Object(map) => Some(map),
        _ => None,
    }
}
