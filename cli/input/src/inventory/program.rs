//! Inventories that a program prints as JSON.
//!
//! With the argument `--list` it prints all groups, and the variables of all hosts under `_meta`. A program that prints
//! no `_meta` is called once for each host, with `--host NAME`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::loading::Loading;
use super::{GroupIndex, HostIndex, Inventory, tree};
use crate::InputError;
use crate::diagnostic::{Diagnostic, Problems, Source};
use crate::document::{self, Node};

/// A program that prints an inventory.
pub(super) struct Program {
    /// The program itself.
    path: PathBuf,
    /// The arguments before `--list` or `--host`.
    args: Vec<String>,
}

/// Whether an executable file is a program, rather than a text file with the executable bit set.
pub(super) fn is_program(path: &Path) -> Result<bool, InputError> {
    let mut start = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read(&mut start));
    let count = read.map_err(|error| InputError::unreadable(path, error))?;
    let start = &start[..count];
    Ok(start.starts_with(b"#!") || start == b"\x7fELF" || start == [0xcf, 0xfa, 0xed, 0xfe])
}

impl Program {
    /// Makes a program with these first arguments.
    pub(super) fn new(path: PathBuf, args: Vec<String>) -> Self {
        Self { path, args }
    }

    /// Returns the user's own Ansible as a program, which has the plugins that a source needs.
    pub(super) fn of_ansible(source: &Path) -> Self {
        let args = vec!["-i".to_owned(), source.display().to_string()];
        Self::new("ansible-inventory".into(), args)
    }

    /// Adds the output of the program to an inventory.
    pub(super) fn read(&self, loading: &mut Loading<'_>) -> Result<(), InputError> {
        let source = self.call(&["--list"])?;
        let mut problems = Vec::new();
        let Some(node) = document::json_node(source.text(), &mut problems) else {
            if problems.is_empty() {
                return Err(InputError::new(format!(
                    "`{}` prints nothing",
                    source.name()
                )));
            }
            loading.refuse(source, problems);
            return Ok(());
        };
        let listed = Listing::read(node, &mut loading.inventory, &mut problems);
        loading.refuse(source, problems);
        if listed.has_variables {
            return Ok(());
        }
        for host in listed.hosts {
            let name = loading.inventory.get_host(host).name.clone();
            let source = self.call(&["--host", &name])?;
            let mut problems = Vec::new();
            if let Some(node) = document::json_node(source.text(), &mut problems) {
                set_variables(host, node, &mut loading.inventory, &mut problems);
            }
            loading.refuse(source, problems);
        }
        Ok(())
    }

    /// Runs the program with these arguments, and returns its output.
    fn call(&self, more: &[&str]) -> Result<Source, InputError> {
        let line = format!("{} {}", self.path.display(), more.join(" "));
        // A name without a slash would be searched in PATH, but a file of this name in the current folder is meant.
        let is_here = self.path.components().count() == 1 && self.path.exists();
        let path = if is_here {
            Path::new(".").join(&self.path)
        } else {
            self.path.clone()
        };
        let output = Command::new(&path)
            .args(&self.args)
            .args(more)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output();
        let output = output.map_err(|error| {
            let is_missing = error.kind() == io::ErrorKind::NotFound;
            let failed = InputError::new(format!("`{line}` cannot be started")).because(error);
            if is_missing && !is_here {
                failed.with_help("a plugin of Ansible is read through Ansible: install it")
            } else {
                failed
            }
        })?;
        if !output.status.success() {
            return Err(InputError::new(format!(
                "`{line}` failed: {}",
                output.status
            )));
        }
        document::source(&line, output.stdout).map_err(|refused| {
            InputError::new(refused.to_string()).with_diagnostics(vec![*refused])
        })
    }
}

/// The hosts that a program has listed.
struct Listing {
    hosts: Vec<HostIndex>,
    /// Whether the program has also listed the variables of the hosts.
    has_variables: bool,
}

impl Listing {
    /// Reads the output of `--list` into an inventory.
    fn read(node: Node<'_>, inventory: &mut Inventory, problems: &mut Problems) -> Self {
        let mut listing = Self {
            hosts: Vec::new(),
            has_variables: false,
        };
        let mut variables = Vec::new();
        for entry in tree::map(node, "a map of groups", problems) {
            if entry.name == "_meta" {
                for part in tree::map(entry.node, "a map", problems) {
                    if part.name == "hostvars" {
                        listing.has_variables = true;
                        variables = tree::map(part.node, "a map of hosts", problems);
                    }
                }
                continue;
            }
            let group = inventory.group(&entry.name);
            if entry.node.is_list() {
                listing.add(entry.node, group, inventory, problems);
                continue;
            }
            let parts = tree::map(entry.node, "a map or a list of hosts", problems);
            let is_usual = |name: &str| matches!(name, "hosts" | "children" | "vars");
            if !parts.is_empty() && !parts.iter().any(|part| is_usual(&part.name)) {
                // An old format: a host with the name of its group, and its variables.
                let host = inventory.host(&entry.name, group);
                listing.hosts.push(host);
                for part in parts {
                    if let Some(value) = super::json(&part.node, problems) {
                        inventory.set_host_variable(host, &part.name, value);
                    }
                }
                continue;
            }
            for part in parts {
                match part.name.as_ref() {
                    "hosts" => listing.add(part.node, group, inventory, problems),
                    "children" => {
                        for (name, span) in texts(part.node, problems) {
                            let child = inventory.group(&name);
                            if let Err(message) = inventory.add_child(group, child) {
                                problems.push(Diagnostic::error(span, message));
                            }
                        }
                    }
                    "vars" => {
                        for variable in tree::map(part.node, "a map of variables", problems) {
                            let Some(value) = super::json(&variable.node, problems) else {
                                continue;
                            };
                            let set = inventory.set_group_variable(group, &variable.name, value);
                            if let Err(message) = set {
                                problems.push(Diagnostic::error(variable.node.span, message));
                            }
                        }
                    }
                    // Programs may print other keys, which are ignored, as in Ansible.
                    _ => {}
                }
            }
        }
        for entry in variables {
            if let Some(host) = inventory.find_host(&entry.name) {
                set_variables(host, entry.node, inventory, problems);
            }
        }
        listing
    }

    fn add(
        &mut self,
        node: Node<'_>,
        group: GroupIndex,
        inventory: &mut Inventory,
        problems: &mut Problems,
    ) {
        for (name, _) in texts(node, problems) {
            let host = inventory.host(&name, group);
            if !self.hosts.contains(&host) {
                self.hosts.push(host);
            }
        }
    }
}

fn set_variables(
    host: HostIndex,
    node: Node<'_>,
    inventory: &mut Inventory,
    problems: &mut Problems,
) {
    for variable in tree::map(node, "a map of variables", problems) {
        if let Some(value) = super::json(&variable.node, problems) {
            inventory.set_host_variable(host, &variable.name, value);
        }
    }
}

/// Returns the texts of a list, with their places.
fn texts(node: Node<'_>, problems: &mut Problems) -> Vec<(String, crate::diagnostic::Span)> {
    let members = match node.into_list() {
        Ok(members) => members,
        Err(node) => {
            let message = format!("expected a list of names, found {}", node.kind());
            problems.push(Diagnostic::error(node.span, message));
            return Vec::new();
        }
    };
    let mut texts = Vec::with_capacity(members.len());
    for member in members {
        if let Some(text) = member.text() {
            texts.push((text.to_owned(), member.span));
        } else {
            let message = format!("expected a name, found {}", member.kind());
            problems.push(Diagnostic::error(member.span, message));
        }
    }
    texts
}
