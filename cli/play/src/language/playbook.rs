//! Playbooks and plays.

use std::path::{Path, PathBuf};

use super::keyword::{Keyword, Section};
use super::settings::Settings;
use super::steps::{Scope, Step};
use super::{Reader, builtin};
use crate::data::{Data, Entry, Value};
use crate::files::Place;

/// A file of plays, with the plays of the playbooks that it imports in their places.
#[derive(Debug)]
pub(crate) struct Playbook {
    /// The file as it was named.
    pub(crate) name: String,
    pub(crate) plays: Vec<Play>,
}

/// A play: hosts, and what is done on them.
#[derive(Debug)]
pub(crate) struct Play {
    pub(crate) settings: Settings,
    /// The patterns that select the hosts.
    pub(crate) hosts: Vec<String>,
    /// Tags of the imports that the play came by.
    pub(crate) imported_tags: Vec<String>,
    pub(crate) pre_tasks: Vec<Step>,
    pub(crate) roles: Vec<Step>,
    pub(crate) tasks: Vec<Step>,
    pub(crate) post_tasks: Vec<Step>,
}

impl Play {
    /// The name of the play, which is that of its hosts if it has none.
    pub(crate) fn name(&self) -> String {
        let name = self.settings.text(Keyword::Name);
        name.unwrap_or_else(|| self.hosts.join(","))
    }

    /// The tags of the play itself.
    pub(crate) fn tags(&self) -> Vec<String> {
        let mut tags = self.imported_tags.clone();
        tags.extend(self.settings.tags());
        tags
    }

    /// All that is done in the play, in its order, without the handlers.
    pub(crate) fn sections(&self) -> [&[Step]; 4] {
        [&self.pre_tasks, &self.roles, &self.tasks, &self.post_tasks]
    }
}

/// The keys of a play that have tasks, hosts or roles below them.
const STRUCTURE: [&str; 7] = [
    "hosts",
    "pre_tasks",
    "roles",
    "tasks",
    "post_tasks",
    "handlers",
    "import_playbook",
];

impl Reader {
    /// Reads the plays of a file.
    pub(super) fn plays(
        &mut self,
        path: &Path,
        tags: &[String],
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
            let Value::Map(entries) = member.value else {
                let message = format!("expected a play, found {}", member.kind());
                let help = "a play is a map with `hosts` and `tasks`";
                self.files.refuse_with_help(place, message, help);
                continue;
            };
            let import = entries
                .iter()
                .position(|entry| builtin(&entry.name) == "import_playbook");
            if let Some(at) = import {
                self.imported_playbook(entries, at, tags, open, &mut plays);
            } else {
                self.folder = folder_of(path);
                let play = self.play(entries, place, tags);
                plays.push(play);
            }
        }
        open.pop();
        Ok(plays)
    }

    fn imported_playbook(
        &mut self,
        mut entries: Vec<Entry>,
        at: usize,
        tags: &[String],
        open: &mut Vec<PathBuf>,
        plays: &mut Vec<Play>,
    ) {
        let import = entries.remove(at);
        let place = import.data.place;
        let mut settings = Settings::default();
        for entry in entries {
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
        if crate::data::is_template(&name) {
            let message = format!("`{name}` has to be known before anything runs");
            let help = "write the name of the playbook itself";
            self.files.refuse_with_help(place, message, help);
            return;
        }
        let folder = open.last().map(|path| folder_of(path));
        let path = folder.unwrap_or_default().join(&name);
        if open.contains(&path) {
            let message = format!("`{name}` imports itself");
            self.files.refuse(place, message);
            return;
        }
        let mut all = tags.to_vec();
        all.extend(settings.tags());
        match self.plays(&path, &all, open) {
            Ok(read) => plays.extend(read),
            Err(reason) => self.files.refuse(place, reason),
        }
    }

    fn play(&mut self, entries: Vec<Entry>, place: Place, tags: &[String]) -> Play {
        let head = entries.first().map_or(place, |entry| entry.place);
        let mut play = Play {
            settings: Settings::default(),
            hosts: Vec::new(),
            imported_tags: tags.to_vec(),
            pre_tasks: Vec::new(),
            roles: Vec::new(),
            tasks: Vec::new(),
            post_tasks: Vec::new(),
        };
        let mut scope = Scope {
            folder: self.folder.clone(),
            role: None,
            open: Vec::new(),
            section: Section::Task,
        };
        let mut has_hosts = false;
        for entry in entries {
            let data = entry.data.clone();
            match entry.name.as_str() {
                "hosts" => {
                    has_hosts = true;
                    play.hosts = self.hosts(&entry);
                }
                "roles" => play.roles = self.roles(data, &scope),
                "pre_tasks" => play.pre_tasks = self.steps(data, &scope),
                "tasks" => play.tasks = self.steps(data, &scope),
                "post_tasks" => play.post_tasks = self.steps(data, &scope),
                "handlers" => {
                    scope.section = Section::Handler;
                    self.steps(data, &scope);
                    scope.section = Section::Task;
                }
                _ => {
                    if let Err(entry) = self.setting(entry, Section::Play, &mut play.settings) {
                        self.unknown(&entry, Section::Play, &STRUCTURE);
                    }
                }
            }
        }
        if !has_hosts {
            let message = "a play needs `hosts`";
            let help = "`hosts` is a pattern such as `all`, `web` or `web:!web3`";
            self.files.refuse_with_help(head, message, help);
        }
        play
    }

    fn hosts(&mut self, entry: &Entry) -> Vec<String> {
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
            if crate::data::is_template(text) {
                let message = format!("`{text}` has to be known before anything runs");
                let help = "name the hosts or a group, and choose among them by `--limit`";
                self.files.refuse_with_help(member.place, message, help);
                continue;
            }
            if let Err(reason) = ratchet_input::inventory::pattern::Pattern::parse(text) {
                self.files.refuse(member.place, reason);
                continue;
            }
            hosts.push(text.to_owned());
        }
        if hosts.is_empty() && matches!(entry.data.value, Value::List(_)) {
            self.files.refuse(entry.place, "`hosts` names no host");
        }
        hosts
    }
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}
