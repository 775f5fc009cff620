//! Includes: files of tasks, roles and variables that are read only while a play runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ratchet_input::InputError;
use ratchet_input::diagnostic::Diagnostic;
use ratchet_input::style::Style;
use serde_json::Map;

use super::keyword::{Keyword, Section};
use super::playbook::{Play, VariableFile};
use super::role::RoleParts;
use super::settings::Settings;
use super::steps::{Block, Scope, Step, Task};
use super::{PlaybookReader, arguments::Arguments};
use crate::data::{Data, Entry, Value};
use crate::files::Place;
use crate::templates::{Layer, Variables};
use crate::vault::Vault;

/// The tasks of an included file.
#[derive(Debug)]
pub(crate) struct IncludedTasks {
    pub(crate) path: PathBuf,
    pub(crate) steps: Vec<Step>,
}

impl PlaybookReader {
    /// Returns the variables of the command line.
    pub(crate) fn extra(&self) -> Layer {
        self.extra.clone()
    }

    /// Sets the variables that tags of included tasks can refer to: those of the play in progress.
    pub(crate) fn set_variables_of_tags(&mut self, variables: Variables) {
        self.of_tags = variables;
    }

    /// Reads the tasks of a file that a task includes. `is_handler` is set if that task is a handler.
    pub(crate) fn include_tasks(
        &mut self,
        task: &Task,
        file: &str,
        is_handler: bool,
    ) -> Result<IncludedTasks, String> {
        let scope = Self::scope_of(task, is_handler);
        let Some(path) = self.find_tasks(file, &scope) else {
            return Err(format!(
                "there is no file `{file}`; it is looked for in `{}`",
                task.folder.display()
            ));
        };
        let steps = self.steps_of_file(&path, task.place, &scope);
        self.take_error_text()?;
        Ok(IncludedTasks {
            path,
            steps: steps.unwrap_or_default(),
        })
    }

    /// Reads a role that a task includes.
    pub(crate) fn include_role(
        &mut self,
        task: &Task,
        name: &str,
        parts: &RoleParts,
    ) -> Result<Arc<Block>, String> {
        let scope = Self::scope_of(task, false);
        let block = self.role_to_include(name, parts, task, &scope);
        self.take_error_text()?;
        block.ok_or_else(|| format!("the role `{name}` cannot be read"))
    }

    /// Reads a file of variables that a task includes.
    pub(crate) fn include_variables(
        &mut self,
        task: &Task,
        path: &Path,
    ) -> Result<Vec<Entry>, String> {
        self.variables_at(path, task.place)
    }

    /// Reads a file of variables that is named at a place.
    pub(crate) fn variables_at(&mut self, path: &Path, place: Place) -> Result<Vec<Entry>, String> {
        let entries = self.variables_of_file(path, place);
        self.take_error_text()?;
        Ok(entries)
    }

    /// Reads the keywords under `apply`.
    pub(crate) fn applied(&mut self, entry: &Entry) -> Result<Settings, String> {
        let mut settings = Settings::default();
        let Value::Map(entries) = &entry.data.value else {
            return Err(format!(
                "`apply` has to be a map, not {}",
                entry.data.kind()
            ));
        };
        for entry in entries {
            if let Err(entry) = self.setting(entry.clone(), Section::Block, &mut settings) {
                self.unknown(&entry, Section::Block, &[]);
            }
        }
        self.take_error_text()?;
        Ok(settings)
    }

    fn scope_of(task: &Task, is_handler: bool) -> Scope {
        Scope {
            folder: task.folder.clone(),
            role: task.role.clone(),
            open: Vec::new(),
            section: if is_handler {
                Section::Handler
            } else {
                Section::Task
            },
            variables: Variables::default(),
        }
    }

    /// Returns the folders of collections.
    pub(crate) fn collections_path(&self) -> &[PathBuf] {
        &self.collections_path
    }

    /// Records a problem, with advice on how to solve it.
    pub(crate) fn refuse(
        &mut self,
        place: Place,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.files.add(place, |span| {
            let error = Diagnostic::error(span, message);
            match help {
                Some(help) => error.help(help),
                None => error,
            }
        });
    }

    /// Takes all problems of what was read as one error.
    pub(crate) fn take_error(&mut self) -> Result<(), InputError> {
        self.files.take_error()
    }

    /// Takes the problems of what was read last as one text.
    pub(crate) fn take_error_text(&mut self) -> Result<(), String> {
        self.files.take_error().map_err(|mut error| {
            let mut text = error.to_string();
            for diagnostics in error.take_diagnostics() {
                text.push('\n');
                text.push_str(diagnostics.render(Style::PLAIN).trim_end());
            }
            text
        })
    }

    /// Returns the vault that decrypts files and variables.
    pub(crate) fn vault(&self) -> Arc<Vault> {
        self.files.vault()
    }

    /// Reads a file that is not named anywhere. Returns `None` if it is blank, or if it was refused.
    pub(crate) fn data_of(&mut self, path: &Path) -> Result<Option<Data>, String> {
        let file = self.files.open(path)?;
        Ok(self.parsed(file))
    }

    /// Reads a file that is named at a place.
    pub(crate) fn data_at(&mut self, path: &Path, place: Place) -> Option<Data> {
        self.document(path, place)
    }
}

/// Returns the variables of the controller, for the case that it is not in the inventory.
pub(crate) fn layer_of_localhost() -> Layer {
    let mut variables = Map::new();
    variables.insert("ansible_connection".to_owned(), "local".into());
    Layer::from(&variables)
}

/// Returns the variables of a host that is not in the inventory, but that a task is delegated to.
pub(crate) fn layer_of_unknown_host(name: &str) -> Layer {
    if matches!(name, "localhost" | "127.0.0.1" | "::1") {
        return layer_of_localhost();
    }
    let mut variables = Map::new();
    variables.insert("inventory_hostname".to_owned(), name.into());
    Layer::from(&variables)
}

impl Play {
    /// Returns the task that gathers facts at the beginning of the play.
    pub(crate) fn gathering_task(&self) -> Arc<Task> {
        let place = self.place;
        let named = [
            (Keyword::GatherSubset, "gather_subset"),
            (Keyword::GatherTimeout, "gather_timeout"),
            (Keyword::FactPath, "fact_path"),
        ];
        let named = named.into_iter().filter_map(|(keyword, name)| {
            let data = self.settings.get(keyword)?.clone();
            Some(Entry::new(name, place, data))
        });
        let mut settings = Settings::default();
        settings.set_implied(Keyword::Name, Data::of_text("Gathering Facts", place));
        settings.set_implied(Keyword::Tags, Data::of_text("always", place));
        Arc::new(Task {
            settings,
            module: "ansible.builtin.gather_facts".to_owned(),
            arguments: Arguments {
                free: None,
                named: named.collect(),
            },
            lookup: None,
            place,
            folder: self.folder.clone(),
            role: None,
        })
    }

    /// Returns the variables of those files that are the same for all hosts.
    pub(crate) fn files(&self) -> Vec<Layer> {
        let files = self.variable_files.iter();
        let read = files.filter_map(|file| match file {
            VariableFile::Read(layer) => Some(layer.clone()),
            VariableFile::OfHost(_) => None,
        });
        read.collect()
    }

    /// Returns the candidate names of those files that differ from host to host.
    pub(crate) fn files_of_hosts(&self) -> Vec<Vec<Data>> {
        let files = self.variable_files.iter();
        let names = files.filter_map(|file| match file {
            VariableFile::OfHost(names) => Some(names.clone()),
            VariableFile::Read(_) => None,
        });
        names.collect()
    }
}
