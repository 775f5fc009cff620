//! Tasks and blocks, and the files and roles that are imported between them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ratchet_input::diagnostic::Diagnostic;

use super::arguments::Arguments;
use super::keyword::{Keyword, Section};
use super::settings::Settings;
use super::{PlaybookReader, builtin};
use crate::data::{Data, Entry, Value};
use crate::files::Place;
use crate::known_modules::is_module;
use crate::templates::{Layer, Variables, render, text_of, unknown_lookup};

/// An entry of a list of tasks.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Task(Arc<Task>),
    Block(Arc<Block>),
}

/// A task: a module with its arguments and keywords.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) settings: Settings,
    /// The name of the module as it is written.
    pub(crate) module: String,
    pub(crate) arguments: Arguments,
    /// The lookup that the task loops over, such as `with_items`, with its terms.
    pub(crate) lookup: Option<Entry>,
    pub(crate) place: Place,
    /// The folder of the file that contains the task.
    pub(crate) folder: PathBuf,
    /// The role that the task is part of.
    pub(crate) role: Option<Arc<Role>>,
}

impl Task {
    /// Whether the task runs this builtin module.
    pub(crate) fn is_action(&self, name: &str) -> bool {
        builtin(&self.module) == name
    }
}

/// Tasks that share keywords: a block, or the tasks of an import or a role.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) settings: Settings,
    pub(crate) steps: Vec<Step>,
    /// The steps that run after one of the steps has failed.
    pub(crate) rescue: Vec<Step>,
    /// The steps that run at the end in any case.
    pub(crate) always: Vec<Step>,
    /// The role whose tasks the block contains, if it is one.
    pub(crate) role: Option<Arc<Role>>,
    /// The handlers of that role.
    pub(crate) handlers: Vec<Step>,
}

/// A use of a role in a play.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    /// The name of the role in messages.
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    /// The defaults of the role, before those of the roles that it depends on.
    pub(crate) defaults: Layer,
    /// The variables of the role, before those of the roles that it depends on.
    pub(crate) variables: Layer,
    /// The parameters that the use passes to the role.
    pub(crate) parameters: Layer,
    /// The parameters as they are written, which distinguish two uses of a role.
    pub(crate) written_parameters: Arc<Vec<Entry>>,
    /// Whether the role runs again when it is used again with the same parameters.
    pub(crate) allows_duplicates: bool,
    /// Whether the role around this one names it as a dependency.
    pub(crate) is_dependency: bool,
    /// The role that depends on this one, or in which this one is imported.
    pub(crate) parent: Option<Arc<Role>>,
}

impl Role {
    /// Splits the name of a role of a collection into the names of the collection and of the role in it. The former is
    /// empty if the role is not in a collection.
    pub(crate) fn split_name(&self) -> (&str, &str) {
        let mut folders = self.folder.components();
        let is_of_collection = folders.any(|part| part.as_os_str() == "ansible_collections");
        match self.name.rsplit_once('.') {
            Some((collection, name)) if is_of_collection => (collection, name),
            _ => ("", &self.name),
        }
    }
}

/// The context of the steps that are read.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    /// The folder of the file.
    pub(super) folder: PathBuf,
    pub(super) role: Option<Arc<Role>>,
    /// The files and roles that are being read, to detect cycles.
    pub(super) open: Vec<PathBuf>,
    pub(super) section: Section,
    /// The variables that are known before anything runs.
    pub(super) variables: Variables,
}

impl Scope {
    /// Returns the scope inside of something that has variables of its own.
    fn with(&self, entries: &[Entry]) -> Option<Self> {
        let own = entries.iter().find(|entry| entry.name == "vars")?;
        let Value::Map(variables) = &own.data.value else {
            return None;
        };
        let mut inner = self.clone();
        inner.variables.put_before(variables.clone());
        Some(inner)
    }
}

/// The maximum nesting depth of files and roles.
const DEEPEST: usize = 64;

impl PlaybookReader {
    /// Reads a list of tasks and blocks.
    pub(super) fn steps(&mut self, data: Data, scope: &Scope) -> Vec<Step> {
        let members = match data.value {
            Value::List(members) => members,
            Value::Null => return Vec::new(),
            _ => {
                let message = format!("expected a list of tasks, found {}", data.kind());
                let help = "each task begins with `- `";
                self.files.refuse_with_help(data.place, message, help);
                return Vec::new();
            }
        };
        members
            .into_iter()
            .filter(|member| !matches!(member.value, Value::Null))
            .filter_map(|member| self.step(member, scope))
            .collect()
    }

    /// Reads a task or a block.
    fn step(&mut self, data: Data, scope: &Scope) -> Option<Step> {
        let place = data.place;
        let Value::Map(entries) = data.value else {
            let message = format!("expected a task, found {}", data.kind());
            let help = "a task is a map with the name of a module, such as `- debug: {msg: hello}`";
            self.files.refuse_with_help(place, message, help);
            return None;
        };
        let head = entries.first().map_or(place, |entry| entry.place);
        let own = scope.with(&entries);
        let scope = own.as_ref().unwrap_or(scope);
        let mut names = entries.iter().map(|entry| entry.name.as_str());
        if names.any(|name| matches!(name, "block" | "rescue" | "always")) {
            return Some(Step::Block(Arc::new(self.block(entries, head, scope))));
        }
        self.task(entries, head, scope)
    }

    fn block(&mut self, entries: Vec<Entry>, head: Place, scope: &Scope) -> Block {
        let mut block = Block::default();
        if scope.section == Section::Handler {
            let message = "a block cannot be a handler";
            let help = "write each of its tasks as a handler with the same `listen`";
            self.files.refuse_with_help(head, message, help);
        }
        let mut has_tasks = false;
        for entry in entries {
            match entry.name.as_str() {
                "block" => {
                    has_tasks = true;
                    block.steps = self.steps(entry.data, scope);
                }
                "rescue" => block.rescue = self.steps(entry.data, scope),
                "always" => block.always = self.steps(entry.data, scope),
                _ => {
                    if let Err(entry) = self.setting(entry, Section::Block, &mut block.settings) {
                        self.unknown(&entry, Section::Block, &["block", "rescue", "always"]);
                    }
                }
            }
        }
        if !has_tasks {
            let message = "`rescue` and `always` belong to a `block`, which is missing";
            self.files.refuse(head, message);
        }
        block
    }

    fn task(&mut self, entries: Vec<Entry>, head: Place, scope: &Scope) -> Option<Step> {
        let mut settings = Settings::default();
        let mut modules = Vec::new();
        let mut lookup: Option<Entry> = None;
        for entry in entries {
            match entry.name.as_str() {
                "action" | "local_action" => {
                    let is_local = entry.name == "local_action";
                    let place = entry.place;
                    modules.extend(self.action(entry));
                    if is_local {
                        let host = Data::of_text("localhost", place);
                        settings.set_implied(Keyword::DelegateTo, host);
                    }
                }
                name if name.starts_with("with_") => {
                    self.lookup(&entry);
                    let place = entry.place;
                    if let Some(first) = lookup.replace(entry) {
                        self.two_loops(place, first.place);
                    }
                }
                _ => {
                    let keyword = self.setting(entry, scope.section, &mut settings);
                    modules.extend(keyword.err());
                }
            }
        }
        if let (Some(lookup), Some(data)) = (&lookup, settings.get(Keyword::Loop)) {
            let place = data.place;
            self.two_loops(lookup.place, place);
        }
        let module = self.the_module(modules, head, scope.section)?;
        let name = builtin(&module.name).to_owned();
        let more = settings.get(Keyword::Args).cloned();
        let arguments = self.arguments(&name, module.data, more);
        let task = Task {
            settings,
            module: module.name,
            arguments,
            lookup,
            place: module.place,
            folder: scope.folder.clone(),
            role: scope.role.clone(),
        };
        match name.as_str() {
            "import_tasks" => self.imported_tasks(task, scope),
            "import_role" => self.imported_role(task, scope),
            "include" | "import_playbook" => {
                let help = match name.as_str() {
                    "include" => "write `include_tasks` or `import_tasks`",
                    _ => "write it beside the plays, at the top level of a playbook",
                };
                let message = format!("`{name}` cannot be a task");
                self.files.refuse_with_help(task.place, message, help);
                None
            }
            _ => {
                self.check_task(&task, &name);
                Some(Step::Task(Arc::new(task)))
            }
        }
    }

    fn two_loops(&mut self, place: Place, first: Place) {
        self.files.add(place, |span| {
            Diagnostic::error(span, "a task can have only one loop")
                .other(first.span, "the other loop")
                .help("move one of them to an `include_tasks`")
        });
    }

    /// Checks the name of a loop over a lookup.
    fn lookup(&mut self, entry: &Entry) {
        let name = entry.name.strip_prefix("with_").unwrap_or(&entry.name);
        if let Some(unknown) = unknown_lookup(name) {
            let message = format!("unknown loop `{}`", entry.name);
            self.files.add(entry.place, |span| {
                let error = Diagnostic::error(span, message);
                if let Some(help) = unknown.help {
                    return error.help(help);
                }
                let known: Vec<_> = unknown
                    .known()
                    .into_iter()
                    .map(|name| format!("with_{name}"))
                    .collect();
                let known = known.iter().map(String::as_str);
                match error.did_you_mean(&entry.name, known, "loops") {
                    error if error.help.is_some() => error,
                    error => error.help("write `loop` with a list"),
                }
            });
        }
    }

    /// Returns the module and its arguments under `action` and `local_action`.
    fn action(&mut self, entry: Entry) -> Option<Entry> {
        let place = entry.data.place;
        let (name, data) = match entry.data.value {
            Value::Text(text) => {
                let text = text.trim();
                if text.starts_with("{{") {
                    self.files.refuse_with_help(
                        place,
                        "the module has to be known before anything runs",
                        "write a task for each module, with `when`",
                    );
                    return None;
                }
                let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
                let data = match rest.trim() {
                    "" => Data {
                        value: Value::Null,
                        place,
                    },
                    rest => Data::of_text(rest, place),
                };
                (name.to_owned(), data)
            }
            Value::Map(mut entries) => {
                let at = entries.iter().position(|entry| entry.name == "module");
                let module = at.map(|at| entries.remove(at));
                let text = module.and_then(|entry| entry.data.word());
                let text = text.unwrap_or_default();
                let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((&text, ""));
                if !rest.trim().is_empty() {
                    let message =
                        "arguments are written both beside the name of the module and below it";
                    self.files.refuse(place, message);
                }
                let value = Value::Map(entries);
                (name.to_owned(), Data { value, place })
            }
            _ => (String::new(), entry.data),
        };
        if name.is_empty() {
            let message = format!("`{}` names no module", entry.name);
            self.files.refuse(place, message);
            return None;
        }
        Some(Entry::new(name, entry.place, data))
    }

    /// Finds the one entry of a task that is its module. The entries that remain are all unknown as keywords.
    fn the_module(
        &mut self,
        mut entries: Vec<Entry>,
        head: Place,
        section: Section,
    ) -> Option<Entry> {
        if entries.is_empty() {
            let message = format!("{} names no module", section.title());
            let help = "add a module, such as `debug: {msg: hello}`";
            self.files.refuse_with_help(head, message, help);
            return None;
        }
        if entries.len() == 1 {
            // The name may resemble a keyword, as `timezone` resembles `timeout`. Whether the module exists is checked
            // later.
            return Some(entries.remove(0));
        }
        let at = entries
            .iter()
            .position(|entry| is_module(&entry.name))
            .or_else(|| {
                let is_strange = |entry: &Entry| nearest(&entry.name, section).is_none();
                entries.iter().position(is_strange)
            })
            .unwrap_or(0);
        let module = entries.remove(at);
        for entry in &entries {
            if is_module(&entry.name) {
                let first = module.place.span;
                let message = format!(
                    "a task has only one module, and this is a second one: `{}`",
                    entry.name
                );
                self.files.add(entry.place, |span| {
                    Diagnostic::error(span, message)
                        .other(first, "the first")
                        .help(
                            "write it as a separate task, or as an argument, further to the right",
                        )
                });
            } else {
                self.unknown(entry, section, &[]);
            }
        }
        Some(module)
    }

    /// Refuses a key that is unknown in a section.
    pub(super) fn unknown(&mut self, entry: &Entry, section: Section, more: &[&'static str]) {
        let name = entry.name.as_str();
        let known = Keyword::of(section).chain(more.iter().copied());
        let elsewhere = [
            Section::Play,
            Section::Block,
            Section::Task,
            Section::Handler,
            Section::Role,
        ]
        .into_iter()
        .find(|other| *other != section && Keyword::find(name, *other).is_some());
        let message = match elsewhere {
            Some(_) => format!("`{name}` has no effect in {}", section.title()),
            None => format!("unknown keyword `{name}` in {}", section.title()),
        };
        self.files.add(entry.place, |span| {
            let error = Diagnostic::error(span, message);
            match elsewhere {
                Some(other) => error.help(format!("it is a keyword of {}", other.title())),
                None => error.did_you_mean(name, known.collect::<Vec<_>>(), "keywords"),
            }
        });
    }

    /// Checks a task as far as that is possible before anything runs.
    fn check_task(&mut self, task: &Task, name: &str) {
        if let Some(control) = task.settings.get(Keyword::LoopControl)
            && let Value::Map(entries) = &control.value
        {
            const KNOWN: [&str; 8] = [
                "loop_var",
                "index_var",
                "label",
                "pause",
                "extended",
                "extended_allitems",
                "break_when",
                "parallel",
            ];
            for entry in entries {
                if !KNOWN.contains(&entry.name.as_str()) {
                    let (place, name) = (entry.place, entry.name.clone());
                    self.files.add(place, |span| {
                        Diagnostic::error(span, format!("unknown key `{name}` in `loop_control`"))
                            .did_you_mean(&name, KNOWN, "keys")
                    });
                }
            }
        }
        if name == "meta" {
            const KNOWN: [&str; 9] = [
                "clear_facts",
                "clear_host_errors",
                "end_batch",
                "end_host",
                "end_play",
                "end_role",
                "flush_handlers",
                "noop",
                "refresh_inventory",
            ];
            let word = task.arguments.free.as_ref().and_then(Data::text);
            let word = word.unwrap_or_default().trim().to_owned();
            let is_known = KNOWN.contains(&&*word) || word == "reset_connection";
            if !is_known {
                self.files.add(task.place, |span| {
                    Diagnostic::error(span, format!("unknown action `{word}` of `meta`"))
                        .did_you_mean(&word, KNOWN, "actions")
                });
            }
        }
        if name == "include_tasks" && Self::included_file(task).is_none() {
            let message = "`include_tasks` names no file";
            self.files.refuse(task.place, message);
        }
        if name == "include_role" && task.arguments.get("name").is_none() {
            let message = "`include_role` needs `name`";
            self.files.refuse(task.place, message);
        }
    }

    fn included_file(task: &Task) -> Option<String> {
        let file = task.arguments.get("file").map(|entry| &entry.data);
        file.or(task.arguments.free.as_ref())
            .and_then(Data::text)
            .map(|text| text.trim().to_owned())
    }

    /// Replaces `import_tasks` by the tasks of its file.
    fn imported_tasks(&mut self, task: Task, scope: &Scope) -> Option<Step> {
        self.refuse_loop(&task, "import_tasks", "include_tasks");
        let Some(file) = Self::included_file(&task) else {
            self.files
                .refuse(task.place, "`import_tasks` names no file");
            return None;
        };
        let place = task.place;
        let file = self.fixed(&file, place, "include_tasks", &scope.variables)?;
        let Some(path) = self.find_tasks(&file, scope) else {
            self.files.refuse_with_help(
                place,
                format!("there is no file `{file}`"),
                format!("it is looked for in `{}`", scope.folder.display()),
            );
            return None;
        };
        let steps = self.steps_of_file(&path, place, scope)?;
        Some(Step::Block(Arc::new(Block {
            settings: task.settings,
            steps,
            ..Block::default()
        })))
    }

    /// Refuses a loop around an import, which is resolved before anything runs.
    pub(super) fn refuse_loop(&mut self, task: &Task, name: &str, instead: &str) {
        let written = task.settings.get(Keyword::Loop).map(|data| data.place);
        if let Some(place) = written.or(task.lookup.as_ref().map(|entry| entry.place)) {
            self.files.refuse_with_help(
                place,
                format!("`{name}` is read before anything runs, so it cannot be in a loop"),
                format!("write `{instead}`"),
            );
        }
    }

    /// Renders a name that has to be known before anything runs. It is refused if it depends on values that are known
    /// later.
    pub(super) fn fixed(
        &mut self,
        name: &str,
        place: Place,
        instead: &str,
        variables: &Variables,
    ) -> Option<String> {
        if !crate::data::is_template(name) {
            return Some(name.to_owned());
        }
        match render(name, variables) {
            Ok(value) => Some(text_of(&value)),
            Err(reason) => {
                self.files.refuse_with_help(
                    place,
                    format!("`{name}` has to be known before anything runs, but {reason}"),
                    format!("set the variable with -e or in the play, or write `{instead}`, which is evaluated later"),
                );
                None
            }
        }
    }

    /// Reads the tasks of a file that was found.
    pub(super) fn steps_of_file(
        &mut self,
        path: &Path,
        place: Place,
        scope: &Scope,
    ) -> Option<Vec<Step>> {
        if scope.open.iter().any(|open| open == path) || scope.open.len() >= DEEPEST {
            let message = format!("`{}` imports itself", path.display());
            self.files.refuse(place, message);
            return None;
        }
        let data = self.document(path, place)?;
        let mut inner = scope.clone();
        inner.folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        inner.open.push(path.to_path_buf());
        Some(self.steps(data, &inner))
    }

    /// Finds a file of tasks: next to the including file, in its role, or in the folder of the playbook.
    pub(super) fn find_tasks(&self, file: &str, scope: &Scope) -> Option<PathBuf> {
        let of_section = match scope.section {
            Section::Handler => "handlers",
            _ => "tasks",
        };
        let role = scope.role.as_ref().map(|role| &role.folder);
        let in_role = role.map(|role| role.join(of_section).join(file));
        let candidates = [
            Some(scope.folder.join(file)),
            in_role,
            role.map(|role| role.join(file)),
            Some(self.folder.join(file)),
            Some(self.folder.join(of_section).join(file)),
        ];
        candidates.into_iter().flatten().find(|path| path.is_file())
    }
}

/// Returns the keyword to which a misspelt word is close.
pub(crate) fn nearest(word: &str, section: Section) -> Option<&'static str> {
    ratchet_input::value::closest(word, Keyword::of(section).collect::<Vec<_>>())
}
