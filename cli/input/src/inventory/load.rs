//! Detects the kinds of the sources of an inventory, and reads them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::loading::{Decrypt, Loading, read_node};
use super::{HostSource, Inventory, UNGROUPED, ini, program, range, split_port, tree, variables};
use crate::InputError;
use crate::document::Node;

/// The suffixes of files in a folder of inventories that are not inventories.
const IGNORED_ENDS: [&str; 13] = [
    "~", ".bak", ".cfg", ".md", ".orig", ".pyc", ".pyo", ".retry", ".rpm", ".rst", ".swp", ".txt",
    ".rpmsave",
];

/// Reads the sources of an inventory, and the files of variables next to them.
///
/// All problems are reported at once. Later sources take precedence over earlier ones.
pub fn load(sources: &[String]) -> Result<Inventory, InputError> {
    load_with(sources, &|_| {
        Err("it is encrypted; decrypt it by `ansible-vault decrypt`, or leave it out".to_owned())
    })
}

/// Reads the sources of an inventory, and decrypts those files that are encrypted.
pub fn load_with(sources: &[String], decrypt: &Decrypt<'_>) -> Result<Inventory, InputError> {
    load_beside(sources, None, decrypt)
}

/// Reads the sources of an inventory, and the files of variables next to them and in the folder of a playbook. The
/// latter take precedence over those next to the sources.
pub fn load_beside(
    sources: &[String],
    playbook: Option<&Path>,
    decrypt: &Decrypt<'_>,
) -> Result<Inventory, InputError> {
    let mut loading = Loading {
        inventory: Inventory::new(),
        refused: Vec::new(),
        folders: Vec::new(),
        decrypt,
    };
    for source in sources {
        read_source(&mut loading, source)?;
    }
    loading.inventory.source = None;
    loading.inventory.close();
    if let Some(folder) = playbook {
        loading.folders.retain(|known| known != folder);
        loading.folders.push(folder.to_path_buf());
    }
    for folder in std::mem::take(&mut loading.folders) {
        variables::read(&folder, &mut loading)?;
    }
    if loading.refused.is_empty() {
        return Ok(loading.inventory);
    }
    let names: Vec<&str> = loading
        .refused
        .iter()
        .map(|found| found.source.name())
        .collect();
    let message = format!("the inventory cannot be used: {}", names.join(", "));
    Err(InputError::new(message).with_diagnostics(loading.refused))
}

fn read_source(loading: &mut Loading<'_>, source: &str) -> Result<(), InputError> {
    let path = Path::new(source);
    if source.contains(',') && !path.exists() {
        return list(loading, source);
    }
    let known = fs::metadata(path).map_err(|error| {
        let error = InputError::unreadable(path, error);
        if source.contains('/') {
            error
        } else {
            error.with_help(format!(
                "a list of hosts has to contain a comma: `{source},`"
            ))
        }
    })?;
    let folder = if known.is_dir() {
        path.to_path_buf()
    } else {
        path.parent().map(Path::to_path_buf).unwrap_or_default()
    };
    if !loading.folders.contains(&folder) {
        loading.folders.push(folder);
    }
    read_path(loading, path)
}

/// Adds the hosts of a comma-separated list.
fn list(loading: &mut Loading<'_>, source: &str) -> Result<(), InputError> {
    loading.inventory.source = Some(HostSource::List(source.into()));
    let group = loading.inventory.group(UNGROUPED);
    let names = source.split(',').map(str::trim);
    for name in names.filter(|name| !name.is_empty()) {
        let (host, port) = split_port(name);
        let hosts = range::expand(host)
            .map_err(|message| InputError::new(format!("`{name}`: {message}")))?;
        for host in hosts {
            let host = loading.inventory.host(&host, group);
            if let Some(port) = port {
                loading
                    .inventory
                    .set_host_variable(host, super::PORT, port.into());
            }
        }
    }
    Ok(())
}

fn read_path(loading: &mut Loading<'_>, path: &Path) -> Result<(), InputError> {
    let known = fs::metadata(path).map_err(|error| InputError::unreadable(path, error))?;
    if known.is_dir() {
        return read_folder(loading, path);
    }
    let full = std::path::absolute(path).map_err(|error| InputError::unreadable(path, error))?;
    loading.inventory.source = Some(HostSource::File(full.into()));
    let extension = path.extension().and_then(|extension| extension.to_str());
    let is_tree = matches!(extension, Some("yaml" | "yml" | "json"));
    if known.permissions().mode() & 0o111 != 0 && program::is_program(path)? {
        let run = program::Program::new(path.to_path_buf(), Vec::new());
        return run.read(loading);
    }
    if extension == Some("toml") {
        return Err(InputError::new(format!(
            "`{}` is an inventory in TOML, which is not read",
            path.display()
        ))
        .with_help("write it in YAML or INI"));
    }
    let Some(source) = loading.text(path)? else {
        return Ok(());
    };
    let mut problems = Vec::new();
    if is_tree || looks_like_a_tree(source.text()) {
        if let Some(node) = read_node(path, &source, &mut problems) {
            if is_for_a_plugin(&node) {
                return program::Program::of_ansible(path).read(loading);
            }
            tree::read(node, &mut loading.inventory, &mut problems);
        }
    } else {
        ini::read(&source, &mut loading.inventory, &mut problems);
    }
    loading.refuse(source, problems);
    Ok(())
}

/// Reads all inventories of a folder, in the order of their names.
fn read_folder(loading: &mut Loading<'_>, folder: &Path) -> Result<(), InputError> {
    let unreadable = |error| InputError::unreadable(folder, error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_ignored = name.starts_with('.')
            || matches!(&*name, "group_vars" | "host_vars" | "vars_plugins")
            || IGNORED_ENDS.iter().any(|end| name.ends_with(end));
        if !is_ignored {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    paths.iter().try_for_each(|path| read_path(loading, path))
}
/// Whether the first significant line is YAML. This is for files whose name does not show their format.
fn looks_like_a_tree(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    first.is_some_and(|line| line == "---" || line.ends_with(':') || line.starts_with('{'))
}

/// Whether a document is the configuration of one of Ansible's inventory plugins.
fn is_for_a_plugin(node: &Node<'_>) -> bool {
    let entries = node.clone().into_map(&mut Vec::new());
    entries.is_ok_and(|entries| {
        let mut plugins = entries.iter().filter(|entry| entry.name == "plugin");
        plugins.any(|plugin| plugin.node.text().is_some())
    })
}
