//! `ratchet inventory`: shows hosts, groups and their variables.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;

use ratchet_play::{Configuration, Vault};
use serde_json::{Map, Value as Json, json};

use crate::args::inventory::InventoryArguments;
use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::escape::{plain, plain_json};
use crate::inventory::pattern::{self, Pattern};
use crate::inventory::{self, ALL, GroupIndex, HostIndex, Inventory, Variables};
use crate::output::Destination;
use crate::value::closest;

/// Prints the hosts, groups or variables that the arguments ask for.
pub(crate) fn run(arguments: &InventoryArguments) -> Result<(), CliError> {
    let configuration =
        Configuration::load(Path::new("."), &UserEnvironment::current()?.variables)?;
    let sources = match &arguments.inventory[..] {
        [] => configuration.inventory,
        named => named.to_vec(),
    };
    if sources.is_empty() {
        return Err(CliError::usage("no inventory is given").with_help(
            "name one with -i, with ANSIBLE_INVENTORY, or as `inventory` in ansible.cfg",
        ));
    }
    let vault = Vault::new(configuration.vault_passwords, None);
    let playbook = arguments.playbook_dir.as_deref();
    if let Some(folder) = playbook.filter(|folder| !folder.is_dir()) {
        let message = format!(
            "--playbook-dir {}: there is no such folder",
            folder.display()
        );
        return Err(CliError::usage(message));
    }
    let inventory = inventory::load_beside(&sources, playbook, &|text| {
        vault.decrypt(text).map(|plain| plain.to_string())
    })?;
    let selected = select(&inventory, arguments.limit.as_deref())?;
    let text = if arguments.list {
        as_json(&list(&inventory, &selected))
    } else if let Some(name) = &arguments.host {
        let host = inventory
            .find_host(name)
            .ok_or_else(|| unknown("host", name, host_names(&inventory).collect()))?;
        as_json(&Json::Object(inventory.variables_of(host)))
    } else {
        let name = arguments.graph.as_deref().unwrap_or(ALL);
        let name = name.strip_prefix('@').unwrap_or(name);
        let group = inventory
            .find_group(name)
            .ok_or_else(|| unknown("group", name, group_names(&inventory).collect()))?;
        let mut graph = Graph {
            inventory: &inventory,
            selected: &selected,
            has_variables: arguments.vars,
            text: String::new(),
            lines: 0,
        };
        graph.group(group, 0);
        if graph.lines > MAX_LINES {
            let message = format!("the tree has more than {MAX_LINES} lines");
            return Err(CliError::usage(message)
                .with_help("name a group, or use --list, which prints each group once"));
        }
        graph.text
    };
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Destination::Stdout.error(error).into())
}

/// Returns the group that contains all other groups.
#[expect(clippy::expect_used, reason = "every inventory begins with this group")]
fn root(inventory: &Inventory) -> GroupIndex {
    inventory
        .find_group(ALL)
        .expect("every inventory has the group `all`")
}

/// Returns the hosts that `--limit` selects; all without it.
fn select(inventory: &Inventory, limit: Option<&str>) -> Result<HashSet<HostIndex>, CliError> {
    let Some(limit) = limit else {
        return Ok(inventory.hosts_of(root(inventory)).into_iter().collect());
    };
    let refused = |reason| CliError::usage(format!("--limit {limit}: {reason}"));
    let patterns = pattern::with_files(limit).map_err(refused)?;
    let pattern = Pattern::parse(&patterns).map_err(refused)?;
    let selected = pattern.select(inventory).map_err(|name| {
        let known = group_names(inventory).chain(host_names(inventory));
        unknown("host or group", &name, known.collect())
    })?;
    Ok(selected.into_iter().collect())
}

/// Returns the error for an unknown name, with the closest known one as a suggestion.
fn unknown(what: &str, name: &str, known: Vec<&str>) -> CliError {
    let error = CliError::usage(format!("no {what} `{name}` is in the inventory"));
    match closest(name, known) {
        Some(meant) => error.with_help(format!("did you mean `{meant}`?")),
        None => error,
    }
}

/// Iterates over the names of all groups.
fn group_names(inventory: &Inventory) -> impl Iterator<Item = &str> {
    let groups = inventory.groups_below(root(inventory)).into_iter();
    groups.map(|group| inventory.get_group(group).name.as_str())
}

/// Iterates over the names of all hosts.
fn host_names(inventory: &Inventory) -> impl Iterator<Item = &str> {
    let hosts = inventory.hosts_of(root(inventory)).into_iter();
    hosts.map(|host| inventory.get_host(host).name.as_str())
}

fn as_json(value: &Json) -> String {
    let text = format!("{value:#}\n");
    String::from_utf8_lossy(&plain_json(text.as_bytes())).into_owned()
}

/// Returns all groups and the variables of hosts, in the form in which programs print an inventory.
fn list(inventory: &Inventory, selected: &HashSet<HostIndex>) -> Json {
    let mut all = Map::new();
    for index in inventory.groups_below(root(inventory)) {
        let group = inventory.get_group(index);
        let mut shown = Map::new();
        let hosts: Vec<&str> = group
            .hosts
            .iter()
            .filter(|host| group.name != ALL && selected.contains(host))
            .map(|host| inventory.get_host(*host).name.as_str())
            .collect();
        let children: Vec<&str> = group
            .children
            .iter()
            .map(|child| inventory.get_group(*child).name.as_str())
            .collect();
        if !hosts.is_empty() {
            shown.insert("hosts".to_owned(), json!(hosts));
        }
        if !children.is_empty() {
            shown.insert("children".to_owned(), json!(children));
        }
        if !shown.is_empty() {
            all.insert(group.name.clone(), Json::Object(shown));
        }
    }
    let mut variables = Map::new();
    for host in inventory.hosts_of(root(inventory)) {
        let of_host = inventory.variables_of(host);
        if selected.contains(&host) && !of_host.is_empty() {
            variables.insert(inventory.get_host(host).name.clone(), Json::Object(of_host));
        }
    }
    all.insert("_meta".to_owned(), json!({"hostvars": variables}));
    Json::Object(all)
}

/// How many lines a tree may have. A group is shown in each group that contains it, so a few groups can make billions
/// of lines.
const MAX_LINES: usize = 1_000_000;

/// Writes the groups as a tree of lines.
struct Graph<'a> {
    inventory: &'a Inventory,
    /// The hosts that are shown; the others are left out.
    selected: &'a HashSet<HostIndex>,
    /// Whether the variables are shown below each host and group.
    has_variables: bool,
    text: String,
    /// How many lines were written. Once they are too many, no further groups are added.
    lines: usize,
}

impl Graph<'_> {
    fn group(&mut self, index: GroupIndex, depth: usize) {
        let inventory = self.inventory;
        let group = inventory.get_group(index);
        if self.lines > MAX_LINES {
            return;
        }
        self.line(&format!("@{}:", group.name), depth);
        for child in &group.children {
            self.group(*child, depth + 1);
        }
        for host in &group.hosts {
            if group.name != ALL && self.selected.contains(host) {
                self.line(&inventory.get_host(*host).name, depth + 1);
                self.variables(|| inventory.variables_of(*host), depth + 2);
            }
        }
        self.variables(|| inventory.variables_of_group(index), depth + 1);
    }

    fn variables(&mut self, of: impl FnOnce() -> Variables, depth: usize) {
        if self.has_variables {
            for (name, value) in of() {
                self.line(&format!("{{{name} = {value}}}"), depth);
            }
        }
    }

    fn line(&mut self, text: &str, depth: usize) {
        self.lines += 1;
        if depth > 0 {
            self.text.push_str(&"  |".repeat(depth));
            self.text.push_str("--");
        }
        self.text.push_str(&plain(text));
        self.text.push('\n');
    }
}
