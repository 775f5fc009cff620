//! What tasks add to the variables of hosts while a play runs.

use std::path::{Path, PathBuf};

use minijinja::Value;
use serde_json::{Map, Value as Json, json};

use super::arguments::Rendered;
use super::frame::TaskNode;
use super::host_run::TaskRun;
use super::machine::Machine;
use crate::actions::{find_file, names_of};
use crate::data::{Data, Entry};
use crate::templates::{Layer, SearchPath, Variables, render_data, text_of, to_json};

impl Machine {
    /// Reads the variables that an item of `include_vars` names, which count once the item has ended without a failure.
    /// Returns its result.
    pub(super) fn include_vars(
        &mut self,
        task: &mut TaskRun,
        index: usize,
        variables: &Variables,
        rendered: Rendered,
    ) -> Result<Map<String, Json>, String> {
        let arguments = rendered.named;
        let files = included_files(&arguments, rendered.free.as_deref(), variables.search())?;
        let mut entries: Vec<Entry> = Vec::new();
        for file in &files {
            for entry in self.reader.include_variables(&task.node.task, file)? {
                entries.retain(|known| known.name != entry.name);
                entries.push(entry);
            }
        }
        if let Some(wrapped) = arguments.get("name").and_then(Json::as_str) {
            let place = task.node.task.place;
            let value = crate::data::Value::Map(entries);
            entries = vec![Entry::new(wrapped, place, Data { value, place })];
        }
        let mut facts = Map::new();
        let layer = Layer::from(entries.clone());
        let inner = variables.layered(layer.clone());
        for entry in &entries {
            // A value that cannot be rendered yet is missing in the result, but its variable exists and is rendered
            // when it is read.
            if let Ok(value) = render_data(&entry.data, &inner) {
                facts.insert(entry.name.clone(), to_json(&value));
            }
        }
        task.included_variables.insert(index, layer);
        let shown: Vec<_> = files
            .iter()
            .map(|file| {
                let path = std::path::absolute(file).unwrap_or_else(|_| file.clone());
                path.display().to_string()
            })
            .collect();
        let result = json!({
            "changed": false,
            "ansible_facts": facts,
            "ansible_included_var_files": shown,
        });
        match result {
            Json::Object(result) => Ok(result),
            other => Err(other.to_string()),
        }
    }

    /// Reads those `vars_files` whose names depend on variables of the host.
    pub(super) fn read_files_of_facts(&mut self, name: &str) {
        let Some(run) = &self.current else { return };
        let groups = run.play.files_of_hosts();
        if groups.is_empty() {
            return;
        }
        let known = self.known.get(name).unwrap_or_default();
        let variables = run.variables.of_host(&known, &self.known, &[]);
        let folder = run.play.folder.clone();
        let mut layers = Vec::new();
        for group in groups {
            for name in &group {
                let Ok(rendered) = render_data(name, &variables) else {
                    continue;
                };
                let path = folder.join(text_of(&rendered));
                if path.is_file() {
                    match self.reader.variables_at(&path, name.place) {
                        Ok(entries) => layers.push(Layer::from(entries)),
                        Err(reason) => self.warn(reason),
                    }
                    break;
                }
            }
        }
        if let Some(host) = self.host_mut(name) {
            host.files = layers;
        }
    }
}

/// Renders an argument of a task, if it has the argument.
pub(super) fn rendered_argument(
    node: &TaskNode,
    name: &str,
    variables: &Variables,
) -> Result<Option<Value>, String> {
    let Some(entry) = node.task.arguments.get(name) else {
        return Ok(None);
    };
    let value = render_data(&entry.data, variables);
    value
        .map(Some)
        .map_err(|error| format!("`{name}`: {error}"))
}

/// Returns the files that `include_vars` reads: one, or those of a folder.
fn included_files(
    arguments: &Map<String, Json>,
    free: Option<&str>,
    search: &SearchPath,
) -> Result<Vec<PathBuf>, String> {
    let text = |name: &str| arguments.get(name).and_then(Json::as_str);
    match (text("file").or(free), text("dir")) {
        (Some(file), None) => Ok(vec![find_file(search, "vars", file.trim())?]),
        (None, Some(folder)) => {
            let folder = find_file(search, "vars", folder.trim())?;
            let depth = arguments.get("depth").and_then(Json::as_u64).unwrap_or(0);
            let ignored = names_of(arguments.get("ignore_files"));
            let ends = arguments.get("extensions").map_or_else(
                || ["yaml", "yml", "json"].map(str::to_owned).to_vec(),
                |ends| names_of(Some(ends)),
            );
            files_below(&folder, depth, text("files_matching"), &ignored, &ends)
        }
        (Some(_), Some(_)) => Err("`file` and `dir` exclude each other".to_owned()),
        (None, None) => Err("`include_vars` names no file".to_owned()),
    }
}

/// Lists the files of variables in a folder, in the order of their names.
fn files_below(
    folder: &Path,
    depth: u64,
    pattern: Option<&str>,
    ignored: &[String],
    ends: &[String],
) -> Result<Vec<PathBuf>, String> {
    if !folder.is_dir() {
        return Err(format!("`{}` is not a folder", folder.display()));
    }
    let pattern = pattern
        .map(fancy_regex::Regex::new)
        .transpose()
        .map_err(|error| format!("`files_matching`: {error}"))?;
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_path_buf(), 1)];
    while let Some((folder, level)) = folders.pop() {
        let unreadable = |error| format!("`{}` cannot be read: {error}", folder.display());
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
            paths.push(entry.map_err(unreadable)?.path());
        }
        paths.sort_unstable();
        for path in paths {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                if depth == 0 || level < depth {
                    folders.push((path, level + 1));
                }
                continue;
            }
            let end = path.extension().unwrap_or_default().to_string_lossy();
            let matches = match &pattern {
                Some(pattern) => pattern.is_match(&name).map_err(|error| error.to_string())?,
                None => true,
            };
            if matches && !ignored.contains(&name) && ends.iter().any(|known| *known == end) {
                found.push(path);
            }
        }
    }
    Ok(found)
}
