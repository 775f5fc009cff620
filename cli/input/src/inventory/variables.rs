//! Variables in files next to an inventory: `group_vars/NAME` and `host_vars/NAME`, each a file or a folder of files.

use std::fs;
use std::path::{Path, PathBuf};

use super::loading::{Loading, read_node};
use super::{GroupIndex, HostIndex, Variables, tree};
use crate::InputError;

/// The suffixes of the names of files of variables.
const ENDS: [&str; 4] = ["", ".yml", ".yaml", ".json"];

/// Reads the files of variables of a folder.
pub(super) fn read(folder: &Path, loading: &mut Loading<'_>) -> Result<(), InputError> {
    let groups = folder.join("group_vars");
    if groups.is_dir() {
        for index in 0..loading.inventory.groups.len() {
            let name = loading.inventory.get_group(GroupIndex(index)).name.clone();
            let variables = of(&groups, &name, loading)?;
            loading.inventory.groups[index].from_files.extend(variables);
        }
    }
    let hosts = folder.join("host_vars");
    if hosts.is_dir() {
        for index in 0..loading.inventory.hosts.len() {
            let name = loading.inventory.get_host(HostIndex(index)).name.clone();
            let variables = of(&hosts, &name, loading)?;
            loading.inventory.hosts[index].from_files.extend(variables);
        }
    }
    Ok(())
}

/// Reads the variables of one group or host.
fn of(folder: &Path, name: &str, loading: &mut Loading<'_>) -> Result<Variables, InputError> {
    let mut variables = Variables::new();
    for file in files(folder, name)? {
        let Some(source) = loading.text(&file)? else {
            continue;
        };
        let mut problems = Vec::new();
        if let Some(node) = read_node(&file, &source, &mut problems) {
            for variable in tree::map(node, "a map of variables", &mut problems) {
                if let Some(value) = super::json(&variable.node, &mut problems) {
                    variables.insert(variable.name.into_owned(), value);
                }
            }
        }
        loading.refuse(source, problems);
    }
    Ok(variables)
}

/// Returns the files of variables in a folder for a name: one file, or all files in a folder of that name and its
/// subfolders.
pub fn files(folder: &Path, name: &str) -> Result<Vec<PathBuf>, InputError> {
    // A name must not act as a path: files outside of the folder are never read, whatever names an inventory contains.
    if name.contains('/') || name.starts_with('.') {
        return Ok(Vec::new());
    }
    let candidates = ENDS.iter().map(|end| folder.join(format!("{name}{end}")));
    let mut files = Vec::new();
    match candidates.into_iter().find(|path| path.exists()) {
        Some(found) if found.is_dir() => collect(&found, &mut files)?,
        found => files.extend(found),
    }
    Ok(files)
}

/// Adds the files of a folder and its subfolders, in the order of their names.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), InputError> {
    let unreadable = |error| InputError::unreadable(folder, error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.sort_unstable();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let extension = path
            .extension()
            .map(|extension| extension.to_string_lossy());
        let is_of_variables = matches!(extension.as_deref(), None | Some("yml" | "yaml" | "json"));
        if path.is_dir() {
            collect(&path, files)?;
        } else if is_of_variables {
            files.push(path);
        }
    }
    Ok(())
}
