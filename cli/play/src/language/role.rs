//! Roles: where they are found, and the files in their folders.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::PlaybookReader;
use super::arguments::Arguments;
use super::keyword::{Keyword, Section};
use super::settings::Settings;
use super::steps::{Block, Role, Scope, Step, Task};
use crate::data::{Data, Entry, Value};
use crate::files::Place;
use crate::templates::Layer;

/// The file extensions that the files of roles may have.
const ENDS: [&str; 4] = [".yml", ".yaml", ".json", ""];

/// A use of a role in a play, a dependency, an import or an include.
struct RoleUse {
    name: String,
    place: Place,
    settings: Settings,
    /// The file of tasks, without its extension.
    tasks_from: String,
    handlers_from: String,
    defaults_from: String,
    variables_from: String,
    /// Whether the role runs again after an equal use, even if its authors do not allow duplicates.
    is_repeated: bool,
    /// The parameters of the role besides its keywords, and the variables under `vars`.
    parameters: Vec<Entry>,
    /// Whether a role names this one as a dependency.
    is_dependency: bool,
}

/// The files of a role that an include selects in place of the default ones.
#[derive(Debug, Default)]
pub(crate) struct RoleParts {
    pub(crate) tasks: Option<String>,
    pub(crate) handlers: Option<String>,
    pub(crate) defaults: Option<String>,
    pub(crate) variables: Option<String>,
}

impl PlaybookReader {
    /// Reads the list of roles of a play, or the dependencies of a role. Each becomes a block.
    pub(super) fn roles(&mut self, data: Data, scope: &Scope) -> Vec<Step> {
        let mut roles = Vec::new();
        let members = match data.value {
            Value::List(members) => members,
            Value::Null => return roles,
            _ => {
                let message = format!("expected a list of roles, found {}", data.kind());
                self.files.refuse(data.place, message);
                return roles;
            }
        };
        for member in members {
            let Some(mut asked) = self.role_use(member) else {
                continue;
            };
            asked.is_dependency = scope.role.is_some();
            roles.extend(self.role(asked, scope).map(Step::Block));
        }
        roles
    }

    /// Reads an entry of a list of roles.
    fn role_use(&mut self, data: Data) -> Option<RoleUse> {
        let place = data.place;
        let mut asked = RoleUse {
            name: String::new(),
            place,
            settings: Settings::default(),
            tasks_from: "main".to_owned(),
            handlers_from: "main".to_owned(),
            defaults_from: "main".to_owned(),
            variables_from: "main".to_owned(),
            is_repeated: false,
            parameters: Vec::new(),
            is_dependency: false,
        };
        match data.value {
            Value::Text(name) => asked.name = name,
            Value::Map(entries) => {
                // Next to `role`, a `name` is only a description.
                let is_named = entries.iter().any(|entry| entry.name == "role");
                for entry in entries {
                    match entry.name.as_str() {
                        "name" if is_named => {}
                        "role" | "name" => {
                            asked.name = entry.data.word().unwrap_or_default();
                            asked.place = entry.data.place;
                        }
                        "vars" => {
                            asked.parameters.extend(map(entry.data.clone()));
                            let _ = self.setting(entry, Section::Role, &mut asked.settings);
                        }
                        // A key that is not a keyword is a parameter of the role.
                        _ => {
                            let read = self.setting(entry, Section::Role, &mut asked.settings);
                            asked.parameters.extend(read.err());
                        }
                    }
                }
            }
            _ => {}
        }
        if asked.name.is_empty() {
            let message = "no role is named here";
            let help = "write `- role: NAME`, with keywords and variables below it";
            self.files.refuse_with_help(place, message, help);
            return None;
        }
        Some(asked)
    }

    /// Replaces `import_role` by the tasks of the role.
    pub(super) fn imported_role(&mut self, task: Task, scope: &Scope) -> Option<Step> {
        self.refuse_loop(&task, "import_role", "include_role");
        let arguments = &task.arguments;
        let text = |arguments: &Arguments, name: &str| {
            let found = arguments.get(name);
            found.and_then(|entry| entry.data.word())
        };
        let name = text(arguments, "name").or_else(|| text(arguments, "role"));
        let Some(name) = name else {
            self.files.refuse(task.place, "`import_role` needs `name`");
            return None;
        };
        let from = |name| text(arguments, name).unwrap_or_else(|| "main".to_owned());
        let asked = RoleUse {
            name,
            place: task.place,
            tasks_from: from("tasks_from"),
            handlers_from: from("handlers_from"),
            defaults_from: from("defaults_from"),
            variables_from: from("vars_from"),
            is_repeated: is_repeated(&task),
            parameters: Vec::new(),
            is_dependency: false,
            settings: task.settings,
        };
        self.role(asked, scope).map(Step::Block)
    }

    /// Reads a role for a task that includes it.
    pub(super) fn role_to_include(
        &mut self,
        name: &str,
        parts: &RoleParts,
        task: &Task,
        scope: &Scope,
    ) -> Option<Arc<Block>> {
        let place = task.place;
        let from = |part: &Option<String>| part.clone().unwrap_or_else(|| "main".to_owned());
        let asked = RoleUse {
            name: name.to_owned(),
            place,
            settings: Settings::default(),
            tasks_from: from(&parts.tasks),
            handlers_from: from(&parts.handlers),
            defaults_from: from(&parts.defaults),
            variables_from: from(&parts.variables),
            is_repeated: is_repeated(task),
            parameters: Vec::new(),
            is_dependency: false,
        };
        self.role(asked, scope)
    }

    /// Reads a role and its dependencies.
    fn role(&mut self, asked: RoleUse, scope: &Scope) -> Option<Arc<Block>> {
        let place = &asked.place;
        let name = &self.fixed(&asked.name, *place, "include_role", &scope.variables)?;
        let folder = self.find_role(name, *place, scope)?;
        let title = folder.file_name().unwrap_or_default().to_string_lossy();
        let title = if name.contains('/') {
            title.into_owned()
        } else {
            name.clone()
        };
        if scope.open.contains(&folder) {
            let message = format!("the role `{name}` depends on itself");
            self.files.refuse(*place, message);
            return None;
        }
        let mut inner = scope.clone();
        inner.open.push(folder.clone());
        let defaults = self.variables(&folder, "defaults", &asked.defaults_from, &asked);
        let variables = self.variables(&folder, "vars", &asked.variables_from, &asked);
        let mut role = Role {
            name: title,
            folder: folder.clone(),
            defaults: Layer::default(),
            variables: Layer::default(),
            parameters: Layer::from(asked.parameters.clone()),
            written_parameters: Arc::new(asked.parameters.clone()),
            allows_duplicates: asked.is_repeated,
            is_dependency: asked.is_dependency,
            parent: scope.role.clone(),
        };
        let mut needed = Vec::new();
        if let Some(meta) = self.part(&folder, "meta", "main", *place) {
            for entry in map(meta) {
                match entry.name.as_str() {
                    "dependencies" => {
                        inner.role = Some(Arc::new(role.clone()));
                        needed = self.roles(entry.data, &inner);
                    }
                    "allow_duplicates" => {
                        let word = entry.data.word().unwrap_or_default().to_lowercase();
                        role.allows_duplicates |=
                            matches!(word.as_str(), "true" | "yes" | "on" | "1");
                    }
                    _ => {}
                }
            }
        }
        inner.variables.put_behind(defaults.clone());
        inner.variables.put_before(variables.clone());
        inner.variables.put_before(asked.parameters.clone());
        role.defaults = Layer::from(defaults).above(needed.iter().filter_map(defaults_of));
        role.variables = Layer::from(variables).above(needed.iter().filter_map(variables_of));
        let role = Arc::new(role);
        inner.role = Some(Arc::clone(&role));
        let outer = std::mem::replace(&mut self.of_tags, inner.variables.clone());
        let mut steps = needed;
        steps.extend(self.argument_check(&folder, &asked, &role));
        steps.extend(self.role_part(&folder, "tasks", &asked.tasks_from, &asked, &inner));
        inner.section = Section::Handler;
        let handlers = self.role_part(&folder, "handlers", &asked.handlers_from, &asked, &inner);
        self.of_tags = outer;
        Some(Arc::new(Block {
            settings: asked.settings,
            steps,
            role: Some(role),
            handlers,
            ..Block::default()
        }))
    }

    /// Reads a file of the tasks or the handlers of a role.
    fn role_part(
        &mut self,
        folder: &Path,
        part: &str,
        from: &str,
        asked: &RoleUse,
        scope: &Scope,
    ) -> Vec<Step> {
        let Some(path) = find_part(folder, part, from) else {
            if from != "main" {
                let message = format!("the role `{}` has no `{part}/{from}.yml`", asked.name);
                self.files.refuse(asked.place, message);
            }
            return Vec::new();
        };
        let mut inner = scope.clone();
        inner.folder = folder.join(part);
        self.steps_of_file(&path, asked.place, &inner)
            .unwrap_or_default()
    }

    /// Returns the task that checks the arguments of a role, if its authors have described them.
    fn argument_check(&mut self, folder: &Path, asked: &RoleUse, role: &Arc<Role>) -> Option<Step> {
        let specs = self
            .part(folder, "meta", "argument_specs", asked.place)
            .or_else(|| {
                let meta = self.part(folder, "meta", "main", asked.place)?;
                let mut entries = map(meta).into_iter();
                let found = entries.find(|entry| entry.name == "argument_specs");
                found.map(|entry| entry.data)
            })?;
        let mut specs = map(specs);
        if let Some(at) = specs
            .iter()
            .position(|entry| entry.name == "argument_specs")
        {
            specs = map(specs.remove(at).data);
        }
        let of_tasks = specs
            .into_iter()
            .find(|entry| entry.name == asked.tasks_from)?;
        let place = asked.place;
        let of_tasks = map(of_tasks.data);
        let about = of_tasks
            .iter()
            .find(|entry| entry.name == "short_description")
            .and_then(|entry| entry.data.word())
            .map(|about| format!(" - {about}"))
            .unwrap_or_default();
        let options = of_tasks.into_iter().find(|entry| entry.name == "options");
        let options = options.map(|entry| Entry {
            name: "argument_spec".to_owned(),
            ..entry
        });
        let mut settings = Settings::default();
        let name = format!(
            "Validating arguments against arg spec '{}'{about}",
            asked.tasks_from
        );
        settings.set_implied(Keyword::Name, Data::of_text(name, place));
        settings.set_implied(Keyword::Tags, Data::of_text("always", place));
        Some(Step::Task(Arc::new(Task {
            settings,
            module: "ansible.builtin.validate_argument_spec".to_owned(),
            arguments: Arguments {
                free: None,
                named: options.into_iter().collect(),
            },
            lookup: None,
            place,
            folder: folder.join("tasks"),
            role: Some(Arc::clone(role)),
        })))
    }

    /// Reads the variables of a role, which may be a file or a folder of files.
    fn variables(&mut self, folder: &Path, part: &str, from: &str, asked: &RoleUse) -> Vec<Entry> {
        let place = asked.place;
        let main = folder.join(part).join(from);
        let mut files = Vec::new();
        if main.is_dir() {
            if let Ok(entries) = std::fs::read_dir(&main) {
                files.extend(entries.flatten().map(|entry| entry.path()));
            }
            files.sort_unstable();
            files.retain(|path| {
                path.extension()
                    .is_some_and(|end| end == "yml" || end == "yaml" || end == "json")
            });
        } else {
            let found = find_part(folder, part, from);
            if found.is_none() && from != "main" {
                let message = format!("the role `{}` has no `{part}/{from}.yml`", asked.name);
                self.files.refuse(place, message);
            }
            files.extend(found);
        }
        let mut variables = Vec::new();
        for path in files {
            variables.extend(self.variables_of_file(&path, place));
        }
        variables
    }

    /// Reads a file of variables that is named at a place.
    pub(super) fn variables_of_file(&mut self, path: &Path, place: Place) -> Vec<Entry> {
        match self.document(path, place) {
            Some(Data {
                value: Value::Map(entries),
                ..
            }) => entries,
            Some(data) if !matches!(data.value, Value::Null) => {
                let message = format!("expected a map of variables, found {}", data.kind());
                self.files.refuse(data.place, message);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn part(&mut self, folder: &Path, part: &str, file: &str, place: Place) -> Option<Data> {
        let path = find_part(folder, part, file)?;
        self.document(&path, place)
    }

    /// Finds the folder of a role.
    fn find_role(&mut self, name: &str, place: Place, scope: &Scope) -> Option<PathBuf> {
        let mut folders = vec![self.folder.join("roles")];
        folders.extend(self.roles_path.iter().cloned());
        if let Some(beside) = scope.role.as_ref().and_then(|role| role.folder.parent()) {
            folders.push(beside.to_path_buf());
        }
        folders.push(self.folder.clone());
        let mut candidates: Vec<_> = folders.iter().map(|folder| folder.join(name)).collect();
        if let [space, collection, role] = name.split('.').collect::<Vec<_>>()[..] {
            let inside = Path::new("ansible_collections")
                .join(space)
                .join(collection)
                .join("roles")
                .join(role);
            let paths = self.collections_path.iter();
            candidates.extend(paths.map(|path| path.join(&inside)));
        }
        let found = candidates.into_iter().find(|path| path.is_dir());
        if found.is_none() {
            let looked: Vec<_> = folders
                .iter()
                .map(|folder| folder.display().to_string())
                .collect();
            self.files.refuse_with_help(
                place,
                format!("there is no role `{name}`"),
                format!("roles are looked for in {}", looked.join(", ")),
            );
        }
        found
    }
}

fn find_part(folder: &Path, part: &str, file: &str) -> Option<PathBuf> {
    let folder = folder.join(part);
    let candidates = ENDS.iter().map(|end| folder.join(format!("{file}{end}")));
    candidates.into_iter().find(|path| path.is_file())
}

/// Whether a task that imports or includes a role lets it run again, which is the default.
fn is_repeated(task: &Task) -> bool {
    let written = task.arguments.get("allow_duplicates");
    let word = written
        .and_then(|entry| entry.data.word())
        .map(|word| word.to_lowercase());
    !matches!(word.as_deref(), Some("false" | "no" | "off" | "0"))
}

fn role_of(step: &Step) -> Option<&Role> {
    match step {
        Step::Block(block) => block.role.as_deref(),
        Step::Task(_) => None,
    }
}

fn defaults_of(step: &Step) -> Option<&Layer> {
    role_of(step).map(|role| &role.defaults)
}

fn variables_of(step: &Step) -> Option<&Layer> {
    role_of(step).map(|role| &role.variables)
}

fn map(data: Data) -> Vec<Entry> {
    match data.value {
        Value::Map(entries) => entries,
        _ => Vec::new(),
    }
}
