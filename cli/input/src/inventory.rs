//! Inventories: hosts, their groups, and the variables of both, in the formats that Ansible reads.
//!
//! An [`Inventory`] is built from any number of sources: files in INI or YAML, folders of such files, programs that
//! print JSON, and lists such as `web1,web2`. A [`Pattern`](pattern::Pattern) selects hosts from it.

mod ini;
mod literal;
mod load;
mod loading;
pub mod pattern;
mod program;
mod range;
mod tree;
mod variables;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::diagnostic::{Diagnostic, Problems};
use crate::document::Node;

pub use load::{load, load_beside, load_with};
pub use loading::Decrypt;
pub use variables::files as files_of_variables;

/// The variables of a host or a group.
pub type Variables = Map<String, Json>;

/// The group that contains every host.
pub const ALL: &str = "all";

/// The group of the hosts that are in no other group.
pub const UNGROUPED: &str = "ungrouped";

/// Hosts and groups, in the order in which the sources name them.
#[derive(Debug, Clone)]
pub struct Inventory {
    hosts: Vec<Host>,
    groups: Vec<Group>,
    /// The index of each host by its name.
    host_names: HashMap<String, HostIndex>,
    /// The index of each group by its name.
    group_names: HashMap<String, GroupIndex>,
    /// The source that is being read.
    source: Option<HostSource>,
}

/// A host of an inventory.
#[derive(Debug, Clone)]
pub struct Host {
    /// The name of the host in sources and patterns.
    pub name: String,
    /// The variables that the sources set for this host alone.
    variables: Variables,
    /// The variables of the files in `host_vars`.
    from_files: Variables,
    /// The groups that the sources put the host into directly.
    groups: Vec<GroupIndex>,
    /// The first source that names the host; `None` for a host that was added later.
    source: Option<HostSource>,
}

/// A source that names hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostSource {
    /// A file, by its full path.
    File(Arc<Path>),
    /// A list of hosts, as it was written.
    List(Arc<str>),
}

/// A group of an inventory.
#[derive(Debug, Clone)]
pub struct Group {
    /// The name of the group in sources and patterns.
    pub name: String,
    /// The hosts that are directly in this group, in the order of the sources.
    pub hosts: Vec<HostIndex>,
    /// The groups that are directly in this one, in the order of the sources.
    pub children: Vec<GroupIndex>,
    /// The groups that directly contain this one. Each has this group among its children.
    parents: Vec<GroupIndex>,
    /// The variables that the sources set for the group.
    variables: Variables,
    /// The variables of the files in `group_vars`.
    from_files: Variables,
    /// The priority among groups of equal depth: the variables of the group with the highest priority win.
    priority: i64,
    /// The length of the longest path from `all` to this group; known once the inventory is closed.
    depth: usize,
}

impl Host {
    /// Returns the variables that the sources set for this host alone.
    pub fn own_variables(&self) -> &Variables {
        &self.variables
    }

    /// Returns the variables of the files in `host_vars` next to the sources.
    pub fn file_variables(&self) -> &Variables {
        &self.from_files
    }

    /// Returns the first source that names the host; `None` for a host that was added later.
    pub fn source(&self) -> Option<&HostSource> {
        self.source.as_ref()
    }
}

impl Group {
    /// Returns the variables that the sources set for the group.
    pub fn own_variables(&self) -> &Variables {
        &self.variables
    }

    /// Returns the variables of the files in `group_vars` next to the sources.
    pub fn file_variables(&self) -> &Variables {
        &self.from_files
    }
}

/// The index of a host in its inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostIndex(usize);

/// The index of a group in its inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupIndex(usize);

/// The variable of a host that sets the port of its connection.
const PORT: &str = "ansible_port";

/// The variable of a group that sets its priority.
const PRIORITY: &str = "ansible_group_priority";

impl Inventory {
    /// Makes an inventory with the groups `all` and `ungrouped`.
    fn new() -> Self {
        let mut inventory = Self {
            hosts: Vec::new(),
            groups: Vec::new(),
            host_names: HashMap::new(),
            group_names: HashMap::new(),
            source: None,
        };
        let (all, ungrouped) = (inventory.group(ALL), inventory.group(UNGROUPED));
        inventory.link(all, ungrouped);
        inventory
    }

    /// Returns the group of this name, and adds it if it does not exist.
    fn group(&mut self, name: &str) -> GroupIndex {
        if let Some(known) = self.group_names.get(name) {
            return *known;
        }
        let index = GroupIndex(self.groups.len());
        self.groups.push(Group {
            name: name.to_owned(),
            hosts: Vec::new(),
            children: Vec::new(),
            parents: Vec::new(),
            variables: Variables::new(),
            from_files: Variables::new(),
            priority: 1,
            depth: 0,
        });
        self.group_names.insert(name.to_owned(), index);
        index
    }

    /// Adds a host to a group, and to the inventory if it does not exist yet.
    fn host(&mut self, name: &str, group: GroupIndex) -> HostIndex {
        let host = if let Some(known) = self.host_names.get(name) {
            *known
        } else {
            let index = HostIndex(self.hosts.len());
            self.hosts.push(Host {
                name: name.to_owned(),
                variables: Variables::new(),
                from_files: Variables::new(),
                groups: Vec::new(),
                source: self.source.clone(),
            });
            self.host_names.insert(name.to_owned(), index);
            index
        };
        if !self.hosts[host.0].groups.contains(&group) {
            self.hosts[host.0].groups.push(group);
            self.groups[group.0].hosts.push(host);
        }
        host
    }

    /// Makes a group the child of another, or returns why it cannot be.
    fn add_child(&mut self, parent: GroupIndex, child: GroupIndex) -> Result<(), String> {
        if self.walk([parent], |group| &group.parents).contains(&child) {
            let (parent, child) = (&self.groups[parent.0].name, &self.groups[child.0].name);
            return Err(format!(
                "group `{child}` cannot be in `{parent}`, which is in `{child}` itself"
            ));
        }
        self.link(parent, child);
        Ok(())
    }

    fn link(&mut self, parent: GroupIndex, child: GroupIndex) {
        // The two lists mirror each other. A group has few parents but may have thousands of children, so the parents
        // are searched.
        if !self.groups[child.0].parents.contains(&parent) {
            self.groups[parent.0].children.push(child);
            self.groups[child.0].parents.push(parent);
        }
    }

    /// Sets a variable of a group, or returns why its value is refused.
    fn set_group_variable(
        &mut self,
        group: GroupIndex,
        name: &str,
        value: Json,
    ) -> Result<(), String> {
        let group = &mut self.groups[group.0];
        if name != PRIORITY {
            group.variables.insert(name.to_owned(), value);
            return Ok(());
        }
        let written = value.as_str().and_then(|text| text.parse().ok());
        match value.as_i64().or(written) {
            Some(priority) => group.priority = priority,
            None => return Err(format!("`{PRIORITY}` has to be a whole number")),
        }
        Ok(())
    }

    fn set_host_variable(&mut self, host: HostIndex, name: &str, value: Json) {
        self.hosts[host.0].variables.insert(name.to_owned(), value);
    }

    /// Puts groups without a parent into `all`, and hosts that are in no other group into `ungrouped`.
    fn close(&mut self) {
        let (all, ungrouped) = (self.group(ALL), self.group(UNGROUPED));
        for index in 0..self.groups.len() {
            let index = GroupIndex(index);
            if index != all && self.groups[index.0].parents.is_empty() {
                self.link(all, index);
            }
        }
        self.measure();
        for index in 0..self.hosts.len() {
            let index = HostIndex(index);
            let groups = &mut self.hosts[index.0].groups;
            let is_grouped = groups
                .iter()
                .any(|group| *group != all && *group != ungrouped);
            if is_grouped {
                groups.retain(|group| *group != ungrouped);
            } else if !is_grouped && !groups.contains(&ungrouped) {
                groups.push(ungrouped);
                self.groups[ungrouped.0].hosts.push(index);
            }
        }
        let hosts = &self.hosts;
        let is_ungrouped = |host: &HostIndex| hosts[host.0].groups.contains(&ungrouped);
        self.groups[ungrouped.0].hosts.retain(is_ungrouped);
    }

    /// Returns these groups and all that can be reached from them by a step, each once, the nearest first.
    fn walk<'a>(
        &'a self,
        from: impl IntoIterator<Item = GroupIndex>,
        step: impl Fn(&'a Group) -> &'a [GroupIndex],
    ) -> Vec<GroupIndex> {
        let mut seen = HashSet::new();
        let mut found: Vec<_> = from
            .into_iter()
            .filter(|group| seen.insert(*group))
            .collect();
        let mut next = 0;
        while let Some(group) = found.get(next) {
            let reached = step(&self.groups[group.0]).iter().copied();
            found.extend(reached.filter(|group| seen.insert(*group)));
            next += 1;
        }
        found
    }

    /// Computes the depth of each group. Groups form no cycle, so each is visited once the depths of all its parents
    /// are known.
    fn measure(&mut self) {
        let mut unknown: Vec<usize> = self
            .groups
            .iter()
            .map(|group| group.parents.len())
            .collect();
        let mut ready: Vec<usize> = (0..self.groups.len())
            .filter(|at| unknown[*at] == 0)
            .collect();
        while let Some(parent) = ready.pop() {
            let depth = self.groups[parent].depth + 1;
            for child in self.groups[parent].children.clone() {
                let known = &mut self.groups[child.0];
                known.depth = known.depth.max(depth);
                unknown[child.0] -= 1;
                if unknown[child.0] == 0 {
                    ready.push(child.0);
                }
            }
        }
    }

    /// Adds a host to groups, which are created if necessary, and sets variables of the host. A host that already
    /// exists joins the groups.
    pub fn add_host(&mut self, name: &str, groups: &[String], variables: Variables) {
        let (all, ungrouped) = (self.group(ALL), self.group(UNGROUPED));
        let host = match self.find_host(name) {
            Some(known) if groups.is_empty() => known,
            None if groups.is_empty() => self.host(name, ungrouped),
            _ => {
                let mut host = None;
                for group in groups {
                    let index = self.group(group);
                    if index != all && self.groups[index.0].parents.is_empty() {
                        self.link(all, index);
                    }
                    host = Some(self.host(name, index));
                }
                self.leave_ungrouped(name, ungrouped);
                match host {
                    Some(host) => host,
                    None => return,
                }
            }
        };
        self.hosts[host.0].variables.extend(variables);
        self.measure();
    }

    /// Makes a group the child of another one. Groups that do not exist are added.
    pub fn add_group(&mut self, parent: &str, child: &str) -> Result<(), String> {
        let all = self.group(ALL);
        let (parent, child) = (self.group(parent), self.group(child));
        self.add_child(parent, child)?;
        if parent != all && self.groups[parent.0].parents.is_empty() {
            self.link(all, parent);
        }
        self.measure();
        Ok(())
    }

    /// Removes a host that has joined another group from `ungrouped`.
    fn leave_ungrouped(&mut self, name: &str, ungrouped: GroupIndex) {
        let Some(host) = self.find_host(name) else {
            return;
        };
        self.hosts[host.0]
            .groups
            .retain(|group| *group != ungrouped);
        self.groups[ungrouped.0]
            .hosts
            .retain(|known| *known != host);
    }

    /// Iterates over all hosts, in the order in which the sources name them.
    pub fn hosts(&self) -> impl Iterator<Item = (HostIndex, &Host)> {
        (0..).map(HostIndex).zip(&self.hosts)
    }

    /// Iterates over all groups, in the order in which the sources name them.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter()
    }

    /// Returns the names of all groups that contain a host, directly or through other groups.
    pub fn groups_of(&self, host: HostIndex) -> Vec<String> {
        let direct = self.hosts[host.0].groups.iter();
        let all = self.group_names.get(ALL);
        let groups = self.walk(direct.chain(all).copied(), |group| &group.parents);
        let names = groups.iter().map(|group| self.groups[group.0].name.clone());
        names.collect()
    }

    /// Finds a group by its name.
    pub fn find_group(&self, name: &str) -> Option<GroupIndex> {
        self.group_names.get(name).copied()
    }

    /// Finds a host by its name.
    pub fn find_host(&self, name: &str) -> Option<HostIndex> {
        self.host_names.get(name).copied()
    }

    /// Returns the host at an index of this inventory.
    pub fn get_host(&self, host: HostIndex) -> &Host {
        &self.hosts[host.0]
    }

    /// Returns the group at an index of this inventory.
    pub fn get_group(&self, group: GroupIndex) -> &Group {
        &self.groups[group.0]
    }

    /// Returns a group and all groups in it, directly or not, each once.
    pub fn groups_below(&self, group: GroupIndex) -> Vec<GroupIndex> {
        self.walk([group], |group| &group.children)
    }

    /// Returns all hosts of a group and of the groups in it, each once, in the order in which the groups name them.
    pub fn hosts_of(&self, group: GroupIndex) -> Vec<HostIndex> {
        let mut seen = vec![false; self.hosts.len()];
        let groups = self.groups_below(group).into_iter();
        let hosts = groups.flat_map(|group| &self.groups[group.0].hosts);
        let new = hosts.filter(|host| !std::mem::replace(&mut seen[host.0], true));
        new.copied().collect()
    }

    /// Returns the groups that contain a host, directly or not, in ascending order of precedence: deeper groups and
    /// those with a higher priority come later.
    pub fn ranked_groups_of(&self, host: HostIndex) -> Vec<GroupIndex> {
        let direct = &self.hosts[host.0].groups;
        let all = self.group_names.get(ALL);
        let mut groups = self.walk(direct.iter().chain(all).copied(), |group| &group.parents);
        groups.sort_by_cached_key(|group| {
            let known = &self.groups[group.0];
            (known.depth, known.priority, known.name.clone())
        });
        groups
    }

    /// Returns the variables of a host, from its groups, the host itself, and the files next to the inventory.
    ///
    /// More specific variables take precedence: those of a group over those of the groups that contain it, those of
    /// files over those of the inventory, and those of the host over those of its groups.
    pub fn variables_of(&self, host: HostIndex) -> Variables {
        let groups = self.ranked_groups_of(host);
        let host = &self.hosts[host.0];
        let mut variables = Variables::new();
        let mut add = |more: &Variables| variables.extend(more.clone());
        for group in &groups {
            add(&self.groups[group.0].variables);
        }
        for group in &groups {
            add(&self.groups[group.0].from_files);
        }
        add(&host.variables);
        add(&host.from_files);
        variables
    }

    /// Returns the variables of a group itself, with its priority if that is not the default.
    pub fn variables_of_group(&self, group: GroupIndex) -> Variables {
        let group = &self.groups[group.0];
        let mut variables = group.variables.clone();
        variables.extend(group.from_files.clone());
        if group.priority != 1 {
            variables.insert(PRIORITY.to_owned(), group.priority.into());
        }
        variables
    }
}

/// Splits a name from the port that follows it, as in `web1:2222` and `[fe80::1]:22`.
fn split_port(name: &str) -> (&str, Option<u16>) {
    let Some((host, port)) = name.rsplit_once(':') else {
        return (name, None);
    };
    let Ok(port) = port.parse() else {
        return (name, None);
    };
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match inside {
        Some(address) if address.contains(':') && !address.contains('[') => (address, Some(port)),
        // The colons of an IPv6 address do not start a port, and those within brackets belong to a range.
        _ if outside_brackets(host).any(|character| character == ':') => (name, None),
        _ if outside_brackets(name).all(|character| character != ':') => (name, None),
        _ => (host, Some(port)),
    }
}

/// Iterates over the characters of a name that are not in a range.
fn outside_brackets(name: &str) -> impl Iterator<Item = char> {
    let mut is_inside = false;
    name.chars().filter(move |character| {
        let was_inside = is_inside;
        match character {
            '[' => is_inside = true,
            ']' => is_inside = false,
            _ => {}
        }
        !was_inside
    })
}

/// Converts a node to JSON. If it returns `None`, it has added to the problems what is wrong with the node.
fn json(node: &Node<'_>, problems: &mut Problems) -> Option<Json> {
    let read = node
        .payload()
        .and_then(|payload| serde_json::from_str(payload.as_str()));
    match read {
        Ok(json) => Some(json),
        Err(error) => {
            let message = format!("this cannot be a variable: {error}");
            problems.push(Diagnostic::error(node.span, message));
            None
        }
    }
}

#[cfg(test)]
mod tests;
