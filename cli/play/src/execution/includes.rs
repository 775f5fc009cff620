//! What tasks add while a play runs: tasks, roles, variables, hosts and groups.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::cursor::IncludedSteps;
use super::event::PlayEvent;
use super::frame::{Include, TaskNode};
use super::host_run::{HostState, PendingInclude, TaskRun};
use super::items::item_variables;
use super::machine::{Machine, is_action, meta_word};
use super::play_run::Strategy;
use crate::actions::{find_file, names_of};
use crate::call::hold;
use crate::data::{Data, Entry};
use crate::language::{RoleParts, Settings, Step};
use crate::module_check::check_steps;
use crate::programs;
use crate::result::TaskResult;
use crate::templates::{Layer, Variables, render, render_data, text_of, to_json};

/// The maximum depth of nested blocks and includes.
const DEEPEST: usize = 200;

impl Machine {
    /// Inserts the steps that the last tasks of hosts have included.
    pub(super) fn bring_in_includes(&mut self) {
        let Some(run) = &mut self.current else {
            return;
        };
        if run.strategy == Strategy::Linear && run.hosts.values().any(|host| host.running.is_some())
        {
            return;
        }
        let is_linear = run.strategy == Strategy::Linear;
        let waiting: Vec<String> = run
            .batch
            .iter()
            .filter(|name| {
                run.hosts
                    .get(*name)
                    .is_some_and(|host| !host.includes.is_empty() && host.running.is_none())
            })
            .cloned()
            .collect();
        let sets: Vec<Vec<String>> = if is_linear {
            vec![waiting]
        } else {
            waiting.into_iter().map(|name| vec![name]).collect()
        };
        for set in sets.into_iter().filter(|set| !set.is_empty()) {
            let mut all: Vec<(String, Arc<IncludedSteps>)> = Vec::new();
            for name in &set {
                let Some(host) = run.hosts.get(name) else {
                    continue;
                };
                for include in &host.includes {
                    if !all.iter().any(|(key, _)| *key == include.key) {
                        all.push((include.key.clone(), Arc::clone(&include.steps)));
                    }
                }
            }
            let list: Arc<[Arc<IncludedSteps>]> =
                all.iter().map(|(_, steps)| Arc::clone(steps)).collect();
            for name in &set {
                let Some(host) = run.hosts.get_mut(name) else {
                    continue;
                };
                let mine = all
                    .iter()
                    .map(|(key, _)| host.includes.iter().any(|include| include.key == *key))
                    .collect();
                host.includes.clear();
                host.cursor.include(&list, mine);
            }
        }
    }

    /// Performs an include for an item. Returns its result.
    pub(super) fn include(
        &mut self,
        what: &str,
        task: &TaskRun,
        name: &str,
        index: usize,
        variables: &Variables,
    ) -> Result<Map<String, Json>, String> {
        match what {
            "include_vars" => self.include_vars(task, name, variables),
            "include_role" => self.include_role(task, name, index, variables),
            _ => self.include_tasks(task, name, index, variables),
        }
    }

    fn include_tasks(
        &mut self,
        task: &TaskRun,
        name: &str,
        index: usize,
        variables: &Variables,
    ) -> Result<Map<String, Json>, String> {
        let node = &task.node;
        let written = node.task.arguments.get("file").map(|entry| &entry.data);
        let written = written.or(node.task.arguments.free.as_ref());
        let file = match written {
            Some(data) => render_data(data, variables).map_err(|error| error.to_string())?,
            None => return Err("`include_tasks` names no file".to_owned()),
        };
        let file = text_of(&file).trim().to_owned();
        let included = self
            .reader
            .include_tasks(&node.task, &file, task.handler.is_some())?;
        let include = include_of(task, index, &mut self.reader)?;
        let shown = included.path.display().to_string();
        self.bring_in(task, name, index, included.steps, &include, &shown)?;
        Ok(included_result(&shown))
    }

    fn include_role(
        &mut self,
        task: &TaskRun,
        name: &str,
        index: usize,
        variables: &Variables,
    ) -> Result<Map<String, Json>, String> {
        let node = &task.node;
        let text = |name: &str| -> Result<Option<String>, String> {
            let Some(entry) = node.task.arguments.get(name) else {
                return Ok(None);
            };
            let value = render_data(&entry.data, variables)
                .map_err(|error| format!("`{name}`: {error}"))?;
            Ok(Some(text_of(&value)).filter(|text| !text.is_empty()))
        };
        let role = match text("name")? {
            Some(role) => role,
            None => text("role")?.ok_or("`include_role` needs `name`")?,
        };
        let parts = RoleParts {
            tasks: text("tasks_from")?,
            handlers: text("handlers_from")?,
            defaults: text("defaults_from")?,
            variables: text("vars_from")?,
        };
        let is_public = text("public")?.is_some_and(|word| is_true(&word));
        let block = self.reader.include_role(&node.task, &role, &parts)?;
        let include = include_of(task, index, &mut self.reader)?;
        if let Some(run) = &mut self.current {
            let frame = node.frame.of_include(&include);
            let title = |text: &str| {
                render(text, variables).map_or_else(|_| text.to_owned(), |text| text_of(&text))
            };
            run.handlers.add_role(&block, &frame, &title);
            if run.role_names.add(&block) {
                let magic = Arc::make_mut(&mut run.variables.magic);
                magic.extend(run.role_names.magic());
            }
            if is_public && let Some(role) = &block.role {
                run.variables.role_defaults.push(role.defaults.clone());
                run.variables.role_variables.push(role.variables.clone());
            }
        }
        self.bring_in(task, name, index, vec![Step::Block(block)], &include, &role)?;
        Ok(included_result(&role))
    }

    /// Refuses included tasks whose modules do not exist.
    fn check_modules(&mut self, steps: &[Step]) -> Result<(), String> {
        let Some(modules) = self.options.modules.clone() else {
            return Ok(());
        };
        let playbook = self.current.as_ref().map(|run| run.play.folder.clone());
        check_steps(
            steps,
            &playbook.unwrap_or_default(),
            &modules,
            &mut self.reader,
        );
        self.reader.take_error_text()
    }

    /// Records the tasks that a host includes.
    fn bring_in(
        &mut self,
        task: &TaskRun,
        name: &str,
        index: usize,
        steps: Vec<Step>,
        include: &Arc<Include>,
        shown: &str,
    ) -> Result<(), String> {
        self.check_modules(&steps)?;
        let frame = task.node.frame.of_include(include);
        let key = format!("{shown}\n{}", Json::Object(include.item.as_ref().clone()));
        let Some(host) = self.host_mut(name) else {
            return Ok(());
        };
        if host.cursor.depth() > DEEPEST {
            return Err(format!("`{shown}` includes itself without an end"));
        }
        let key = match &task.items {
            // Two equal items include the same file twice, so the index tells them apart.
            Some(_) => format!("{index}\n{key}"),
            None => key,
        };
        let steps = Arc::new(IncludedSteps {
            steps: steps.into(),
            frame,
        });
        host.includes.push(PendingInclude { key, steps });
        self.events.push(PlayEvent::Included {
            what: shown.to_owned(),
            host: name.to_owned(),
        });
        Ok(())
    }

    fn include_vars(
        &mut self,
        task: &TaskRun,
        name: &str,
        variables: &Variables,
    ) -> Result<Map<String, Json>, String> {
        let node = &task.node;
        let argument = |wanted: &str| -> Result<Option<Json>, String> {
            let Some(entry) = node.task.arguments.get(wanted) else {
                return Ok(None);
            };
            let value = render_data(&entry.data, variables)
                .map_err(|error| format!("`{wanted}`: {error}"))?;
            Ok(Some(to_json(&value)))
        };
        let text = |value: Option<Json>| value.and_then(|value| value.as_str().map(str::to_owned));
        let free = match &node.task.arguments.free {
            Some(data) => Some(to_json(
                &render_data(data, variables).map_err(|error| error.to_string())?,
            )),
            None => None,
        };
        let search = variables.search();
        let files = match (
            text(argument("file")?).or(text(free)),
            text(argument("dir")?),
        ) {
            (Some(file), None) => vec![find_file(search, "vars", file.trim())?],
            (None, Some(folder)) => {
                let folder = find_file(search, "vars", folder.trim())?;
                let depth = argument("depth")?
                    .and_then(|depth| depth.as_u64())
                    .unwrap_or(0);
                let pattern = text(argument("files_matching")?);
                let ignored = names_of(argument("ignore_files")?.as_ref());
                let ends = argument("extensions")?;
                let ends = ends.map_or_else(
                    || ["yaml", "yml", "json"].map(str::to_owned).to_vec(),
                    |ends| names_of(Some(&ends)),
                );
                files_below(&folder, depth, pattern.as_deref(), &ignored, &ends)?
            }
            (Some(_), Some(_)) => return Err("`file` and `dir` exclude each other".to_owned()),
            (None, None) => return Err("`include_vars` names no file".to_owned()),
        };
        let mut entries: Vec<Entry> = Vec::new();
        for file in &files {
            for entry in self.reader.include_variables(&node.task, file)? {
                entries.retain(|known| known.name != entry.name);
                entries.push(entry);
            }
        }
        if let Some(wrapped) = text(argument("name")?) {
            let place = node.task.place;
            entries = vec![Entry {
                name: wrapped,
                place,
                data: Data {
                    value: crate::data::Value::Map(entries),
                    place,
                },
            }];
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
        if programs::is_broken_off() {
            return Err("a value has to be looked up first".to_owned());
        }
        self.known.update(name, |known| known.included.push(layer));
        let shown: Vec<_> = files
            .iter()
            .map(|file| file.display().to_string())
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

    /// Adds the hosts and groups that `add_host` and `group_by` define. Returns whether anything is new.
    pub(super) fn change_groups(
        &mut self,
        task: &TaskRun,
        name: &str,
        result: &TaskResult,
    ) -> bool {
        let results: Vec<Json> = match result.result.get("results") {
            Some(Json::Array(results)) => results.clone(),
            _ => vec![Json::Object(result.result.clone())],
        };
        let mut has_changed = false;
        for result in &results {
            if is_action(&task.node.task, "add_host") {
                let Some(new) = result.get("add_host") else {
                    continue;
                };
                let Some(host) = new.get("host_name").and_then(Json::as_str) else {
                    continue;
                };
                let groups = names_of(new.get("groups"));
                let variables = new.get("host_vars").and_then(Json::as_object).cloned();
                Arc::make_mut(&mut self.inventory).add_host(
                    host,
                    &groups,
                    variables.unwrap_or_default(),
                );
                self.know(host);
                has_changed = true;
            } else if let Some(group) = result.get("add_group").and_then(Json::as_str) {
                let parents = names_of(result.get("parent_groups"));
                if self.is_in_group(name, group) {
                    continue;
                }
                Arc::make_mut(&mut self.inventory).add_host(name, &[group.to_owned()], Map::new());
                for parent in parents.iter().filter(|parent| *parent != "all") {
                    if let Err(reason) = Arc::make_mut(&mut self.inventory).add_group(parent, group)
                    {
                        self.warn(reason);
                    }
                }
                self.know(name);
                has_changed = true;
            }
        }
        if has_changed {
            self.hosts_have_new_variables();
            self.groups_changed();
        }
        has_changed
    }

    fn is_in_group(&self, host: &str, group: &str) -> bool {
        let Some(host) = self.inventory.find_host(host) else {
            return false;
        };
        self.inventory
            .groups_of(host)
            .iter()
            .any(|known| known == group)
    }

    /// Whether the conditions of a task of `meta` hold for a host.
    pub(super) fn is_meant(&mut self, node: &TaskNode, name: &str) -> bool {
        let variables = self.variables_of(node, name);
        match hold(&node.when(), &variables) {
            Ok(holds) => holds,
            Err(error) => {
                let what = meta_word(&node.task);
                self.warn(format!(
                    "{name}: `meta: {what}` is left out: its condition fails: {error}"
                ));
                false
            }
        }
    }

    /// Performs a task of `meta` on a host.
    pub(super) fn meta(&mut self, node: &TaskNode, name: &str) {
        let what = meta_word(&node.task).to_owned();
        let holds = self.is_meant(node, name);
        if holds && what == "flush_handlers" {
            // The handlers run before the task that follows.
            self.flush_handlers(name);
            return;
        }
        let Some(run) = &mut self.current else { return };
        let Some(host) = run.hosts.get_mut(name) else {
            return;
        };
        if !holds {
            host.cursor.pass();
            return;
        }
        match what.as_str() {
            "end_host" => {
                host.state = HostState::Ended;
                host.has_left = true;
                self.hosts_changed();
            }
            "end_play" => run.is_ended = true,
            "end_batch" => {
                for host in run
                    .hosts
                    .values_mut()
                    .filter(|host| host.state == HostState::Going)
                {
                    host.state = HostState::Ended;
                }
            }
            "end_role" => host.cursor.leave_role(),
            "clear_facts" => {
                host.cursor.pass();
                self.known
                    .update(name, super::known_hosts::KnownHost::forget_facts);
            }
            "clear_host_errors" => {
                host.cursor.pass();
                self.clear_host_errors();
            }
            // `noop` does nothing, and `refresh_inventory` was done once for all hosts.
            _ => host.cursor.pass(),
        }
    }
}

fn is_true(word: &str) -> bool {
    matches!(word.to_lowercase().as_str(), "true" | "yes" | "on" | "1")
}

fn included_result(what: &str) -> Map<String, Json> {
    let mut result = Map::new();
    result.insert("changed".to_owned(), false.into());
    result.insert("include".to_owned(), what.into());
    result
}

/// Returns the context that an include passes to its tasks.
fn include_of(
    task: &TaskRun,
    index: usize,
    reader: &mut crate::language::PlaybookReader,
) -> Result<Arc<Include>, String> {
    let node = &task.node;
    let apply = match node.task.arguments.get("apply") {
        Some(entry) => reader.applied(entry)?,
        None => Settings::default(),
    };
    let mut item = Map::new();
    if task.items.is_some() {
        let variables = item_variables(task, index);
        let mut names = vec![task.control.variable.as_str(), "ansible_loop_var"];
        if let Some(name) = &task.control.index {
            names.extend([name.as_str(), "ansible_index_var"]);
        }
        if task.control.is_extended {
            names.push("ansible_loop");
        }
        for name in names {
            if let Ok(Some(value)) = variables.get(name) {
                item.insert(name.to_owned(), to_json(&value));
            }
        }
    }
    Ok(Arc::new(Include {
        apply,
        variables: node.task.settings.variables().clone(),
        item: Arc::new(item),
    }))
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
