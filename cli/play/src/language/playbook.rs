//! Playbooks and plays.

use std::path::{Path, PathBuf};

use minijinja::value::ValueKind;
use ratchet_input::inventory::pattern::Pattern;

use super::keyword::{Keyword, Section};
use super::settings::Settings;
use super::steps::{Scope, Step};
use super::{PlaybookReader, builtin};
use crate::data::{Data, Entry, Value};
use crate::files::Place;
use crate::templates::{Layer, Variables, render, text_of};

/// A file of plays. Imports of playbooks are replaced by the plays of those playbooks.
#[derive(Debug)]
pub(crate) struct Playbook {
    /// The path of the file as it was given.
    pub(crate) name: String,
    pub(crate) plays: Vec<Play>,
}

/// A play: hosts, and the tasks that run on them.
#[derive(Debug)]
pub(crate) struct Play {
    pub(crate) settings: Settings,
    /// The name of the play, or its host patterns if it has none.
    pub(crate) name: String,
    /// The patterns that select the hosts.
    pub(crate) hosts: Vec<String>,
    /// The tags of the imports through which the play was read.
    pub(crate) imported_tags: Vec<String>,
    /// The conditions of these imports, which apply to each task of the play; those of the outermost import come first.
    pub(crate) imported_conditions: Vec<Data>,
    pub(crate) pre_tasks: Vec<Step>,
    pub(crate) roles: Vec<Step>,
    pub(crate) tasks: Vec<Step>,
    pub(crate) post_tasks: Vec<Step>,
    /// The handlers of the play itself.
    pub(crate) handlers: Vec<Step>,
    /// The files of variables. Each has one or more candidate names, of which the first that exists is read.
    pub(crate) variable_files: Vec<VariableFile>,
    /// The folder of the playbook.
    pub(crate) folder: PathBuf,
    pub(crate) place: Place,
}

/// A file of variables of a play.
#[derive(Debug)]
pub(crate) enum VariableFile {
    /// The file was read before the run.
    Read(Layer),
    /// The file depends on the host. These are its candidate names.
    OfHost(Vec<Data>),
}

impl Play {
    /// Returns the tags of the play itself.
    pub(crate) fn tags(&self) -> Vec<String> {
        let mut tags = self.imported_tags.clone();
        tags.extend(self.settings.tags());
        tags
    }

    /// Returns all steps of the play in their order, without the handlers.
    pub(crate) fn sections(&self) -> [&[Step]; 4] {
        [&self.pre_tasks, &self.roles, &self.tasks, &self.post_tasks]
    }
}

/// What the imports through which a playbook is read add to its plays.
#[derive(Debug, Clone, Default)]
pub(super) struct Imported {
    tags: Vec<String>,
    /// The conditions of the imports. Those of the outermost import come first.
    conditions: Vec<Data>,
    /// The variables of the imports, which override those of a play. Those of the outermost import come first, and
    /// override the others.
    variables: Vec<Entry>,
}

impl Imported {
    /// Returns what a further import within these ones adds.
    fn and(&self, settings: &Settings, variables: Vec<Entry>) -> Self {
        let mut all = self.clone();
        all.tags.extend(settings.tags());
        all.conditions.extend(settings.get(Keyword::When).cloned());
        for entry in variables {
            if all.variables.iter().all(|known| known.name != entry.name) {
                all.variables.push(entry);
            }
        }
        all
    }

    /// Adds the variables to the entries of a play.
    fn put_variables(&self, entries: &mut Vec<Entry>, place: Place) {
        if self.variables.is_empty() {
            return;
        }
        let written = entries.iter_mut().find(|entry| entry.name == "vars");
        match written.map(|entry| &mut entry.data.value) {
            Some(Value::Map(own)) => {
                own.retain(|entry| self.variables.iter().all(|known| known.name != entry.name));
                own.extend(self.variables.iter().cloned());
            }
            Some(value @ Value::Null) => *value = Value::Map(self.variables.clone()),
            // It is refused where the play is read.
            Some(_) => {}
            None => {
                let value = Value::Map(self.variables.clone());
                entries.push(Entry::new("vars", place, Data { value, place }));
            }
        }
    }
}

/// The keys of a play whose values contain tasks, hosts or roles.
const STRUCTURE: [&str; 7] = [
    "hosts",
    "pre_tasks",
    "roles",
    "tasks",
    "post_tasks",
    "handlers",
    "import_playbook",
];

impl PlaybookReader {
    /// Reads the plays of a file.
    pub(super) fn plays(
        &mut self,
        path: &Path,
        imported: &Imported,
        open: &mut Vec<PathBuf>,
    ) -> Result<Vec<Play>, String> {
        let file = self.files.open(path)?;
        let Some(data) = self.parsed(file) else {
            if !self.files.is_refused(file) {
                let message = format!(
                    "`{}` is empty: a playbook is a list of plays",
                    path.display()
                );
                return Err(message);
            }
            return Ok(Vec::new());
        };
        let Value::List(members) = data.value else {
            let message = format!("expected a list of plays, found {}", data.kind());
            let help = "a playbook is a list: each play begins with `- hosts: ..`";
            self.files.refuse_with_help(data.place, message, help);
            return Ok(Vec::new());
        };
        open.push(path.to_path_buf());
        let mut plays = Vec::new();
        for member in members {
            let place = member.place;
            let Value::Map(mut entries) = member.value else {
                let message = format!("expected a play, found {}", member.kind());
                let help = "a play is a map with `hosts` and `tasks`";
                self.files.refuse_with_help(place, message, help);
                continue;
            };
            let import = entries
                .iter()
                .position(|entry| builtin(&entry.name) == "import_playbook");
            if let Some(at) = import {
                self.imported_playbook(entries, at, imported, open, &mut plays);
            } else {
                self.folder = folder_of(path);
                imported.put_variables(&mut entries, place);
                let play = self.play(entries, place, imported);
                plays.push(play);
            }
        }
        open.pop();
        Ok(plays)
    }

    /// Reads a playbook that another one imports.
    fn imported_playbook(
        &mut self,
        mut entries: Vec<Entry>,
        at: usize,
        imported: &Imported,
        open: &mut Vec<PathBuf>,
        plays: &mut Vec<Play>,
    ) {
        let import = entries.remove(at);
        let place = import.data.place;
        let mut settings = Settings::default();
        let mut variables = Vec::new();
        for entry in entries {
            if let ("vars", Value::Map(own)) = (entry.name.as_str(), &entry.data.value) {
                variables.clone_from(own);
            }
            if let Err(entry) = self.setting(entry, Section::ImportPlaybook, &mut settings) {
                self.unknown(&entry, Section::ImportPlaybook, &[]);
            }
        }
        let name = import.data.text().unwrap_or_default().trim().to_owned();
        if name.is_empty() {
            self.files
                .refuse(import.place, "`import_playbook` names no file");
            return;
        }
        let name = match render(&name, &Variables::new(self.extra.clone())) {
            Ok(value) => text_of(&value),
            Err(reason) => {
                let message =
                    format!("`{name}` has to be known before anything runs, but {reason}");
                let help = "set the variable with -e, or write the name of the playbook itself";
                self.files.refuse_with_help(place, message, help);
                return;
            }
        };
        let folder = open.last().map(|path| folder_of(path));
        let path = folder.unwrap_or_default().join(&name);
        if open.contains(&path) {
            let message = format!("`{name}` imports itself");
            self.files.refuse(place, message);
            return;
        }
        let imported = imported.and(&settings, variables);
        match self.plays(&path, &imported, open) {
            Ok(read) => plays.extend(read),
            Err(reason) => self.files.refuse(place, reason),
        }
    }

    /// Reads a play.
    fn play(&mut self, entries: Vec<Entry>, place: Place, imported: &Imported) -> Play {
        let head = entries.first().map_or(place, |entry| entry.place);
        let mut play = Play {
            settings: Settings::default(),
            name: String::new(),
            hosts: Vec::new(),
            imported_tags: imported.tags.clone(),
            imported_conditions: imported.conditions.clone(),
            pre_tasks: Vec::new(),
            roles: Vec::new(),
            tasks: Vec::new(),
            post_tasks: Vec::new(),
            handlers: Vec::new(),
            variable_files: Vec::new(),
            folder: self.folder.clone(),
            place: head,
        };
        let variables = self.variables_of_play(&entries, &mut play.variable_files);
        self.of_tags = variables.clone();
        let mut scope = Scope {
            folder: self.folder.clone(),
            role: None,
            open: Vec::new(),
            section: Section::Task,
            variables,
        };
        let mut has_hosts = false;
        let mut named_hosts = String::new();
        for entry in entries {
            let data = entry.data.clone();
            match entry.name.as_str() {
                "hosts" => {
                    has_hosts = true;
                    named_hosts = match &data.value {
                        Value::List(members) => {
                            let texts = members.iter().filter_map(Data::text);
                            texts.collect::<Vec<_>>().join(",")
                        }
                        _ => data.text().unwrap_or_default().to_owned(),
                    };
                    play.hosts = self.hosts(&entry, &scope.variables);
                }
                "roles" => play.roles = self.roles(data, &scope),
                "pre_tasks" => play.pre_tasks = self.steps(data, &scope),
                "tasks" => play.tasks = self.steps(data, &scope),
                "post_tasks" => play.post_tasks = self.steps(data, &scope),
                "handlers" => {
                    scope.section = Section::Handler;
                    play.handlers = self.steps(data, &scope);
                    scope.section = Section::Task;
                }
                _ => {
                    if let Err(entry) = self.setting(entry, Section::Play, &mut play.settings) {
                        self.unknown(&entry, Section::Play, &STRUCTURE);
                    }
                }
            }
        }
        let written = play.settings.text(Keyword::Name).unwrap_or(named_hosts);
        // The variables in the name may be known only on hosts.
        play.name = render(&written, &scope.variables).map_or(written, |name| text_of(&name));
        if !has_hosts {
            let message = "a play needs `hosts`";
            let help = "`hosts` is a pattern such as `all`, `web` or `web:!web3`";
            self.files.refuse_with_help(head, message, help);
        }
        play
    }

    fn hosts(&mut self, entry: &Entry, variables: &Variables) -> Vec<String> {
        let members: Vec<&Data> = match &entry.data.value {
            Value::List(members) => members.iter().collect(),
            _ => vec![&entry.data],
        };
        let mut hosts = Vec::new();
        for member in members {
            let text = member.text().map(str::trim).filter(|text| !text.is_empty());
            let Some(text) = text else {
                let message = format!(
                    "`hosts` is a pattern, or a list of them, not {}",
                    member.kind()
                );
                self.files.refuse(member.place, message);
                continue;
            };
            for text in self.patterns(text, member.place, variables) {
                match Pattern::parse(&text) {
                    Ok(_) => hosts.push(text),
                    Err(reason) => self.files.refuse(member.place, reason),
                }
            }
        }
        if hosts.is_empty() && matches!(entry.data.value, Value::List(_)) {
            self.files.refuse(entry.place, "`hosts` names no host");
        }
        hosts
    }
}

impl PlaybookReader {
    /// Expands a text of `hosts` to patterns. A variable in it can be a list of them.
    fn patterns(&mut self, text: &str, place: Place, variables: &Variables) -> Vec<String> {
        if !crate::data::is_template(text) {
            return vec![text.to_owned()];
        }
        match render(text, variables) {
            Ok(value) if value.kind() == ValueKind::Seq => {
                let members = value.try_iter().into_iter().flatten();
                members.map(|member| text_of(&member)).collect()
            }
            Ok(value) => vec![text_of(&value)],
            Err(reason) => {
                self.files.refuse_with_help(
                    place,
                    format!("`hosts` has to be known before anything runs, but {reason}"),
                    "set the variable with -e or in the play, or name all hosts and choose among them with --limit",
                );
                Vec::new()
            }
        }
    }

    /// Returns the variables that a play sets itself. Those of its files override those that are written in it.
    fn variables_of_play(&mut self, entries: &[Entry], files: &mut Vec<VariableFile>) -> Variables {
        let mut variables = Variables::new(self.extra.clone());
        let folder = self.folder.display().to_string();
        let find = |name: &str| entries.iter().find(|entry| entry.name == name);
        if let Some(entry) = find("vars")
            && let Value::Map(own) = &entry.data.value
        {
            variables.put_before(own.clone());
        }
        if let Some(entry) = entries.first() {
            let text = if folder.is_empty() {
                ".".to_owned()
            } else {
                folder
            };
            let place = entry.place;
            let data = Data::of_text(text, place);
            variables.put_behind(vec![Entry::new("playbook_dir", place, data)]);
        }
        let Some(entry) = find("vars_files") else {
            return variables;
        };
        let groups = match &entry.data.value {
            Value::List(groups) => groups.iter().collect(),
            _ => vec![&entry.data],
        };
        for group in groups {
            let names = match &group.value {
                Value::List(names) => names.iter().collect(),
                _ => vec![group],
            };
            if let Some(path) = self.file_of_variables(&names, &variables) {
                let more = Layer::from(self.variables_of_file(&path, group.place));
                variables = variables.layered(more.clone());
                files.push(VariableFile::Read(more));
            } else {
                files.push(VariableFile::OfHost(names.into_iter().cloned().collect()));
            }
        }
        variables
    }

    /// Finds the first file of these names that exists. Returns `None` if a name depends on facts, which are known only
    /// on hosts, and if no file exists, which is refused.
    fn file_of_variables(&mut self, names: &[&Data], variables: &Variables) -> Option<PathBuf> {
        let mut known = Vec::new();
        for name in names {
            let text = name.text().unwrap_or_default();
            let name = text_of(&render(text, variables).ok()?);
            let path = self.folder.join(&name);
            if path.is_file() {
                return Some(path);
            }
            known.push(name);
        }
        let place = names.first()?.place;
        let message = format!("there is no file `{}`", known.join("` or `"));
        self.files.refuse(place, message);
        None
    }
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}
