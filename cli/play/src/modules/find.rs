//! Finds modules by their names, as Ansible does.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::ansible::Ansible;
use super::bundle::{BundleSource, Origin};
use super::collection::{Collection, mentioned, module_file};
use super::routing::{Route, Routing};
use super::{Module, ModuleError, ModuleKind, ModulePaths};

/// The names of this crate's own modules.
const OWN: [&str; 10] = [
    "command",
    "copy",
    "file",
    "lineinfile",
    "ping",
    "setup",
    "shell",
    "slurp",
    "stat",
    "tempfile",
];

/// How many times a name may be redirected.
const MAX_REDIRECTIONS: u32 = 16;

/// Finds modules, and caches what it has found.
#[derive(Debug)]
pub(crate) struct Modules {
    paths: ModulePaths,
    ansible: Result<Ansible, Option<String>>,
    core: Option<Arc<BundleSource>>,
    own: Arc<BundleSource>,
    /// The routes of ansible-core for modules that have moved to collections.
    builtin_routing: OnceLock<Result<Routing, ModuleError>>,
    collections: Mutex<HashMap<String, Option<Arc<Collection>>>>,
    found: Mutex<HashMap<Query, Result<Arc<Module>, ModuleError>>>,
}

/// A query: a name, and the folders and collections that are searched for it.
type Query = (String, Vec<PathBuf>, Vec<String>);

impl Modules {
    /// Finds the Ansible of this machine. This starts Python, and blocks until it has answered.
    pub(crate) fn find_ansible(paths: ModulePaths) -> Self {
        let ansible = Ansible::find(paths.programs.as_deref());
        let core = ansible.as_ref().ok();
        let core = core.map(|ansible| BundleSource::new(Origin::Core(ansible.root.clone())));
        Self {
            paths,
            ansible,
            core,
            own: BundleSource::new(Origin::Own),
            builtin_routing: OnceLock::new(),
            collections: Mutex::default(),
            found: Mutex::default(),
        }
    }

    /// Returns the version of ansible-core, if it is installed.
    pub(crate) fn version(&self) -> Option<&str> {
        self.ansible
            .as_ref()
            .ok()
            .map(|ansible| ansible.version.as_str())
    }

    /// Returns the Python in which ansible-core is installed, if there is one.
    pub(crate) fn python(&self) -> Option<&Path> {
        self.ansible
            .as_ref()
            .ok()
            .map(|ansible| ansible.python.as_path())
    }

    /// Finds a module by its name in a playbook.
    ///
    /// `libraries` are the `library` folders of the role and the playbook, the nearest first, and `collections` is the
    /// value of that keyword. A short name is looked up in these collections, then in these folders, then in
    /// ansible-core.
    pub(crate) fn find(
        &self,
        name: &str,
        libraries: &[PathBuf],
        collections: &[String],
    ) -> Result<Arc<Module>, ModuleError> {
        let query = (name.to_owned(), libraries.to_vec(), collections.to_vec());
        let known = self
            .found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&query)
            .cloned();
        if let Some(known) = known {
            return known;
        }
        let found = self.look(name, libraries, collections, 0).map(Arc::new);
        self.found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(query, found.clone());
        found
    }

    /// Returns the full names of the modules in a group, which the metadata of its collection defines. The error names
    /// what is missing.
    pub(crate) fn group(&self, name: &str) -> Result<BTreeSet<String>, ModuleError> {
        let mut names = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut open = vec![name.to_owned()];
        while let Some(name) = open.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            let (collection, own_name) = split_full(&name).unwrap_or(("ansible.builtin", &name));
            let missing = || ModuleError::NoGroup { name: name.clone() };
            let group = if matches!(collection, "ansible.builtin" | "ansible.legacy") {
                let routing = self.builtin_routing().ok_or_else(missing)?;
                routing?.group(own_name).cloned()
            } else {
                let collection = self.collection(collection).ok_or_else(missing)?;
                collection.routing()?.group(own_name).cloned()
            };
            let group = group.ok_or_else(missing)?;
            let full = |member: String| match split_full(&member) {
                Some(_) => member,
                None => format!("{collection}.{member}"),
            };
            names.extend(group.modules.into_iter().map(full));
            open.extend(group.extends.into_iter().map(full));
        }
        Ok(names)
    }

    /// Returns the routing metadata of ansible-core, if it is installed.
    fn builtin_routing(&self) -> Option<Result<&Routing, ModuleError>> {
        let ansible = self.ansible.as_ref().ok()?;
        let read = || Routing::read(&ansible.root.join("config/ansible_builtin_runtime.yml"));
        let routing = self.builtin_routing.get_or_init(read);
        Some(routing.as_ref().map_err(Clone::clone))
    }

    /// Finds a module without the cache.
    fn look(
        &self,
        name: &str,
        libraries: &[PathBuf],
        collections: &[String],
        redirections: u32,
    ) -> Result<Module, ModuleError> {
        if redirections > MAX_REDIRECTIONS {
            return Err(ModuleError::Circle {
                name: name.to_owned(),
            });
        }
        if let Some(own_name) = name.strip_prefix("ansible.builtin.") {
            return self.builtin(own_name, redirections);
        }
        if let Some(own_name) = name.strip_prefix("ansible.legacy.") {
            return self.legacy(own_name, libraries, redirections);
        }
        if let Some((collection, own_name)) = split_full(name) {
            let found = self.in_collection(name, collection, own_name, redirections)?;
            return found.ok_or_else(|| {
                let known = self.collection(collection);
                ModuleError::Missing {
                    name: name.to_owned(),
                    looked_in: known
                        .map(|known| known.root.join("plugins/modules"))
                        .into_iter()
                        .collect(),
                }
            });
        }
        for collection in collections {
            if collection == "ansible.builtin" || collection == "ansible.legacy" {
                continue;
            }
            let full = format!("{collection}.{name}");
            match self.in_collection(&full, collection, name, redirections) {
                Ok(Some(found)) => return Ok(found),
                // Another collection of the list may have the module.
                Ok(None) | Err(ModuleError::NoCollection { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.legacy(name, libraries, redirections)
    }

    /// Finds a module in a `library` folder, or in ansible-core.
    fn legacy(
        &self,
        name: &str,
        libraries: &[PathBuf],
        redirections: u32,
    ) -> Result<Module, ModuleError> {
        let folders = libraries.iter().chain(&self.paths.libraries);
        let folders: Vec<PathBuf> = folders.flat_map(|folder| with_subfolders(folder)).collect();
        for folder in &folders {
            let Some(file) = module_file(folder, name) else {
                continue;
            };
            let action = folder
                .parent()
                .map(|parent| parent.join("action_plugins").join(format!("{name}.py")));
            if let Some(action) = action.filter(|action| action.is_file()) {
                return Err(action_plugin(name, &action));
            }
            return self.of_library(name, &file, libraries);
        }
        let found = self.builtin(name, redirections);
        if let Err(ModuleError::Missing {
            name,
            mut looked_in,
        }) = found
        {
            looked_in.splice(0..0, folders);
            return Err(ModuleError::Missing { name, looked_in });
        }
        found
    }

    /// Finds a module in ansible-core, or among this crate's own if ansible-core is not installed.
    fn builtin(&self, name: &str, redirections: u32) -> Result<Module, ModuleError> {
        let full = format!("ansible.builtin.{name}");
        let (ansible, core) = match (&self.ansible, &self.core) {
            (Ok(ansible), Some(core)) => (ansible, core),
            _ if OWN.contains(&name) => {
                return Ok(Module {
                    name: full,
                    kind: ModuleKind::Own,
                    ansible_version: None,
                    bundles: vec![Arc::clone(&self.own)],
                });
            }
            (Err(reason), _) => {
                return Err(ModuleError::NoAnsible {
                    name: name.to_owned(),
                    reason: reason.clone(),
                });
            }
            (Ok(_), None) => unreachable!("every Ansible that was found has a bundle"),
        };
        let folder = ansible.root.join("modules");
        if let Some(file) = module_file(&folder, name) {
            let import = format!("ansible.modules.{}", stem(&file, name));
            return Ok(Module {
                name: full,
                kind: ModuleKind::Python {
                    import,
                    is_overlay: false,
                },
                ansible_version: self.version().map(str::to_owned),
                bundles: vec![Arc::clone(core)],
            });
        }
        let routing = self.builtin_routing().transpose()?;
        match routing.and_then(|routing| routing.get(name)) {
            Some(route) if route.removed.is_some() => Err(removed(&full, route.removed.as_deref())),
            Some(
                Route {
                    redirect: Some(name),
                    ..
                }
                | Route {
                    successor: Some(name),
                    ..
                },
            ) => self.look(name, &[], &[], redirections + 1),
            _ => Err(ModuleError::Missing {
                name: name.to_owned(),
                looked_in: vec![folder],
            }),
        }
    }

    /// Finds a module in a collection; `None` if the collection does not have it.
    fn in_collection(
        &self,
        full: &str,
        collection: &str,
        name: &str,
        redirections: u32,
    ) -> Result<Option<Module>, ModuleError> {
        let Some(found) = self.collection(collection) else {
            return Err(ModuleError::NoCollection {
                name: full.to_owned(),
                collection: collection.to_owned(),
            });
        };
        if let Some(route) = found.routing()?.get(name) {
            if route.removed.is_some() {
                return Err(removed(full, route.removed.as_deref()));
            }
            if let Some(redirect) = &route.redirect {
                let target = if redirect.contains('.') {
                    redirect.clone()
                } else {
                    format!("{collection}.{redirect}")
                };
                return self.look(&target, &[], &[], redirections + 1).map(Some);
            }
            if let Some(action) = &route.action {
                return Err(ModuleError::ActionPlugin {
                    name: full.to_owned(),
                    path: action.clone(),
                });
            }
        }
        if let Some(action) = found.action_file(name) {
            return Err(action_plugin(full, &action));
        }
        let Some(file) = found.module_file(name) else {
            return Ok(None);
        };
        let Some(text) = python_text(full, &file)? else {
            return self.program(full, &file).map(Some);
        };
        let Some(core) = &self.core else {
            return Err(ModuleError::NoAnsible {
                name: full.to_owned(),
                reason: self.ansible.as_ref().err().cloned().flatten(),
            });
        };
        let mut used = BTreeSet::new();
        mentioned(&text, &mut used);
        used.extend(found.imports().iter().cloned());
        let mut bundles = vec![Arc::clone(core)];
        bundles.extend(self.dependencies(used, collection));
        bundles.push(Arc::clone(&found.bundle));
        let (_, file_name) = name.rsplit_once('.').unwrap_or(("", name));
        let import = format!(
            "ansible_collections.{collection}.plugins.modules.{}{}",
            &name[..name.len() - file_name.len()],
            stem(&file, file_name)
        );
        Ok(Some(Module {
            name: full.to_owned(),
            kind: ModuleKind::Python {
                import,
                is_overlay: false,
            },
            ansible_version: self.version().map(str::to_owned),
            bundles,
        }))
    }

    /// Returns the bundles of the collections that code imports, directly or through others. Collections that are not
    /// installed are left out: the module itself reports what it cannot import.
    fn dependencies(&self, names: BTreeSet<String>, own: &str) -> Vec<Arc<BundleSource>> {
        let mut open: Vec<String> = names.into_iter().collect();
        let mut known = BTreeSet::from([own.to_owned()]);
        let mut bundles = Vec::new();
        while let Some(name) = open.pop() {
            if !known.insert(name.clone()) {
                continue;
            }
            if let Some(collection) = self.collection(&name) {
                open.extend(collection.imports().iter().cloned());
                bundles.push(Arc::clone(&collection.bundle));
            }
        }
        bundles
    }

    /// Returns a module of a `library` folder, from its file.
    fn of_library(
        &self,
        name: &str,
        file: &Path,
        libraries: &[PathBuf],
    ) -> Result<Module, ModuleError> {
        let full = format!("ansible.legacy.{name}");
        let Some(text) = python_text(name, file)? else {
            return self.program(&full, file);
        };
        let (Ok(ansible), Some(core)) = (&self.ansible, &self.core) else {
            return Err(ModuleError::NoAnsible {
                name: name.to_owned(),
                reason: self.ansible.as_ref().err().cloned().flatten(),
            });
        };
        let folders = libraries.iter().chain(&self.paths.libraries);
        let utilities = folders.filter_map(|folder| Some(folder.parent()?.join("module_utils")));
        let utilities: Vec<PathBuf> = utilities.filter(|folder| folder.is_dir()).collect();
        let is_overlay = !utilities.is_empty();
        let mut used = BTreeSet::new();
        mentioned(&text, &mut used);
        let mut bundles = vec![Arc::clone(core)];
        bundles.extend(self.dependencies(used, ""));
        bundles.push(BundleSource::new(Origin::Library {
            file: file.to_owned(),
            name: name.to_owned(),
            utilities,
            core: text
                .contains("respawn_module")
                .then(|| ansible.root.clone()),
        }));
        Ok(Module {
            name: full,
            kind: ModuleKind::Python {
                import: format!("ansible.modules.{name}"),
                is_overlay,
            },
            ansible_version: Some(ansible.version.clone()),
            bundles,
        })
    }

    /// Returns a module that is a program of its own.
    fn program(&self, full: &str, file: &Path) -> Result<Module, ModuleError> {
        let bytes = fs::read(file).map_err(|error| ModuleError::Unreadable {
            path: file.to_owned(),
            reason: error.to_string(),
        })?;
        let wants_json = bytes.windows(9).any(|window| window == b"WANT_JSON");
        let kind = if wants_json || !bytes.starts_with(b"#!") {
            ModuleKind::Program
        } else {
            ModuleKind::WordsProgram
        };
        Ok(Module {
            name: full.to_owned(),
            kind,
            ansible_version: self.version().map(str::to_owned),
            bundles: vec![BundleSource::new(Origin::Program(file.to_owned()))],
        })
    }

    fn collection(&self, name: &str) -> Option<Arc<Collection>> {
        let mut known = self
            .collections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let entry = known.entry(name.to_owned()).or_insert_with(|| {
            let more = self
                .ansible
                .as_ref()
                .map_or(&[][..], |ansible| &ansible.folders);
            Collection::find(name, &self.paths, more).map(Arc::new)
        });
        entry.clone()
    }
}

/// Splits a full name into that of the collection and that of the module.
fn split_full(name: &str) -> Option<(&str, &str)> {
    let (namespace, rest) = name.split_once('.')?;
    let (collection, own_name) = rest.split_once('.')?;
    let end = namespace.len() + 1 + collection.len();
    Some((&name[..end], own_name))
}

/// Returns a folder of modules and its subfolders, down to the second level.
fn with_subfolders(folder: &Path) -> Vec<PathBuf> {
    let inner = |folder: &Path| -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(folder) else {
            return Vec::new();
        };
        let folders = entries.filter_map(Result::ok).map(|entry| entry.path());
        let mut folders: Vec<PathBuf> = folders.filter(|path| path.is_dir()).collect();
        folders.sort();
        folders
    };
    let first = inner(folder);
    let second: Vec<PathBuf> = first.iter().flat_map(|folder| inner(folder)).collect();
    let mut all = vec![folder.to_owned()];
    all.extend(first);
    all.extend(second);
    all
}

fn stem(file: &Path, name: &str) -> String {
    let stem = file.file_stem().and_then(|stem| stem.to_str());
    stem.unwrap_or(name).to_owned()
}

/// Returns the text of a Python module that uses Ansible's code; `None` if the file is any other program.
fn python_text(name: &str, file: &Path) -> Result<Option<String>, ModuleError> {
    let bytes = fs::read(file).map_err(|error| ModuleError::Unreadable {
        path: file.to_owned(),
        reason: error.to_string(),
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let path = || file.display().to_string();
    if file.extension().is_some_and(|extension| extension == "ps1")
        || text.contains("#AnsibleRequires -")
    {
        return Err(ModuleError::Windows {
            name: name.to_owned(),
        });
    }
    for marker in [
        "<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>",
        "<<INCLUDE_ANSIBLE_MODULE_COMPLEX_ARGS>>",
    ] {
        if text.contains(marker) {
            return Err(ModuleError::ArgumentsInText {
                name: name.to_owned(),
                path: path(),
            });
        }
    }
    let uses = [
        "ansible.module_utils",
        "ansible_collections.",
        "#<<INCLUDE_ANSIBLE_MODULE_COMMON>>",
    ];
    let is_python =
        file.extension().is_some_and(|extension| extension == "py") || text.contains("python");
    let is_new = is_python && uses.iter().any(|word| text.contains(word));
    Ok(is_new.then(|| text.into_owned()))
}

fn removed(name: &str, reason: Option<&str>) -> ModuleError {
    ModuleError::Removed {
        name: name.to_owned(),
        reason: reason
            .unwrap_or("its collection does not contain it any more")
            .to_owned(),
    }
}

fn action_plugin(name: &str, path: &Path) -> ModuleError {
    ModuleError::ActionPlugin {
        name: name.to_owned(),
        path: path.display().to_string(),
    }
}
