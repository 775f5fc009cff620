//! Inventories in YAML or JSON that are written by hand: a tree of groups.
//!
//! ```text
//! all:
//!   hosts:
//!     lone: { ansible_port: 2222 }
//!   children:
//!     web:
//!       hosts: { "web[01:20]": { http_port: 80 } }
//!       vars: { tls: true }
//! ```

use super::{GroupIndex, Inventory, range};
use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::document::{Entry, Node, Value};

/// Adds the contents of a document to an inventory.
pub(super) fn read(document: Node<'_>, inventory: &mut Inventory, problems: &mut Problems) {
    for entry in map(document, "a map of groups", problems) {
        group(entry, None, inventory, problems);
    }
}

/// Adds a group, and makes it the child of another.
fn group(
    entry: Entry<'_>,
    parent: Option<GroupIndex>,
    inventory: &mut Inventory,
    problems: &mut Problems,
) {
    let index = inventory.group(&entry.name);
    if let Some(parent) = parent
        && let Err(message) = inventory.add_child(parent, index)
    {
        problems.push(Diagnostic::error(entry.place, message));
        return;
    }
    for part in map(
        entry.node,
        "a map of `hosts`, `children` and `vars`",
        problems,
    ) {
        match part.name.as_ref() {
            "hosts" => hosts(part.node, index, inventory, problems),
            "children" => {
                for child in map(part.node, "a map of groups", problems) {
                    group(child, Some(index), inventory, problems);
                }
            }
            "vars" => {
                for variable in map(part.node, "a map of variables", problems) {
                    let Some(value) = super::json(&variable.node, problems) else {
                        continue;
                    };
                    let set = inventory.set_group_variable(index, &variable.name, value);
                    if let Err(message) = set {
                        problems.push(Diagnostic::error(variable.node.span, message));
                    }
                }
            }
            other => {
                let message = format!("unknown key `{other}` in the group `{}`", entry.name);
                let known = ["hosts", "children", "vars"];
                let found = Diagnostic::error(part.place, message);
                problems.push(found.did_you_mean(other, known, "known keys"));
            }
        }
    }
}

/// Adds the hosts of a group, which are a map or a single name.
fn hosts(node: Node<'_>, group: GroupIndex, inventory: &mut Inventory, problems: &mut Problems) {
    if let Some(name) = node.text() {
        // A single host without variables may be written as text.
        let (name, span) = (name.to_owned(), node.span);
        add_hosts(&name, span, group, &[], inventory, problems);
        return;
    }
    for host in map(node, "a map of hosts", problems) {
        let (name, place) = (host.name.into_owned(), host.place);
        let variables = map(host.node, "a map of variables", problems);
        let values = variables.into_iter().filter_map(|variable| {
            let value = super::json(&variable.node, problems)?;
            Some((variable.name.into_owned(), value))
        });
        let values: Vec<_> = values.collect();
        add_hosts(&name, place, group, &values, inventory, problems);
    }
}

/// Adds the hosts to which a name expands.
fn add_hosts(
    name: &str,
    place: Span,
    group: GroupIndex,
    values: &[(String, serde_json::Value)],
    inventory: &mut Inventory,
    problems: &mut Problems,
) {
    let (name, port) = super::split_port(name);
    let names = match range::expand(name) {
        Ok(names) => names,
        Err(message) => {
            problems.push(Diagnostic::error(place, format!("`{name}`: {message}")));
            return;
        }
    };
    for name in names {
        let host = inventory.host(&name, group);
        if let Some(port) = port {
            inventory.set_host_variable(host, super::PORT, port.into());
        }
        for (name, value) in values {
            inventory.set_host_variable(host, name, value.clone());
        }
    }
}

/// Returns the entries of a map. Null counts as an empty map.
pub(super) fn map<'a>(node: Node<'a>, expected: &str, problems: &mut Problems) -> Vec<Entry<'a>> {
    if matches!(node.value, Value::Null) {
        return Vec::new();
    }
    node.into_map(problems).unwrap_or_else(|node| {
        let message = format!("expected {expected}, found {}", node.kind());
        problems.push(Diagnostic::error(node.span, message));
        Vec::new()
    })
}
