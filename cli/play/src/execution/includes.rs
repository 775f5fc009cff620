//! The tasks and roles that tasks include while a play runs.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::cursor::IncludedSteps;
use super::event::PlayEvent;
use super::frame::Include;
use super::host_run::{PendingInclude, TaskRun};
use super::included_variables::rendered_argument;
use super::items::item_variables;
use super::machine::Machine;
use super::play_run::Strategy;
use crate::language::{RoleParts, Settings, Step};
use crate::module_check::check_steps;
use crate::templates::{Variables, render, render_data, text_of, to_json};

/// The maximum depth of nested blocks and includes.
const DEEPEST: usize = 200;

impl Machine {
    /// Inserts the steps that the last tasks of hosts have included.
    pub(super) fn bring_in_includes(&mut self) {
        let Some(run) = &mut self.current else {
            return;
        };
        if run.strategy == Strategy::Linear
            && run
                .hosts
                .values()
                .any(|host| host.running.is_some() || host.is_starting)
        {
            return;
        }
        let is_linear = run.strategy == Strategy::Linear;
        let waiting: Vec<String> = run
            .batch
            .iter()
            .filter(|name| {
                run.hosts.get(*name).is_some_and(|host| {
                    !host.includes.is_empty() && host.running.is_none() && !host.is_starting
                })
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
            let value = rendered_argument(node, name, variables)?;
            let text = value.map(|value| text_of(&value));
            Ok(text.filter(|text| !text.is_empty()))
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
