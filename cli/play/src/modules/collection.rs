//! Collections: finds them in folders, and reads their modules, routes and dependencies.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::bundle::{BundleSource, Origin};
use super::routing::Routing;
use super::{ModuleError, ModulePaths};

/// An installed collection.
#[derive(Debug)]
pub(super) struct Collection {
    /// The full name, as in `community.general`.
    pub(super) name: String,
    pub(super) root: PathBuf,
    pub(super) bundle: Arc<BundleSource>,
    routing: OnceLock<Result<Routing, ModuleError>>,
    /// The collections that its module utilities import.
    imports: OnceLock<BTreeSet<String>>,
}

impl Collection {
    /// Finds a collection by its full name.
    pub(super) fn find(name: &str, paths: &ModulePaths, more: &[PathBuf]) -> Option<Self> {
        let (namespace, own_name) = name.split_once('.')?;
        let folders = paths.collections.iter().chain(more);
        let mut roots = folders.flat_map(|folder| {
            let inner = folder.join("ansible_collections");
            let is_inner = folder.ends_with("ansible_collections");
            [Some(inner), is_inner.then(|| folder.clone())]
                .into_iter()
                .flatten()
        });
        let root = roots.find_map(|root| {
            Some(root.join(namespace).join(own_name)).filter(|root| root.is_dir())
        })?;
        let origin = Origin::Collection {
            root: root.clone(),
            namespace: namespace.to_owned(),
            name: own_name.to_owned(),
        };
        Some(Self {
            name: name.to_owned(),
            root,
            bundle: BundleSource::new(origin),
            routing: OnceLock::new(),
            imports: OnceLock::new(),
        })
    }

    pub(super) fn routing(&self) -> Result<&Routing, ModuleError> {
        let read = || Routing::read(&self.root.join("meta/runtime.yml"));
        self.routing
            .get_or_init(read)
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Returns the file of one of its modules. A dot in the name stands for a folder.
    pub(super) fn module_file(&self, name: &str) -> Option<PathBuf> {
        let folder = self.root.join("plugins/modules");
        module_file(&folder, &name.replace('.', "/"))
    }

    /// Returns the file of the action plugin of this name, if it has one.
    pub(super) fn action_file(&self, name: &str) -> Option<PathBuf> {
        let path = self
            .root
            .join("plugins/action")
            .join(format!("{}.py", name.replace('.', "/")));
        path.is_file().then_some(path)
    }

    /// Returns the names of the collections that its module utilities import.
    pub(super) fn imports(&self) -> &BTreeSet<String> {
        self.imports.get_or_init(|| {
            let mut names = BTreeSet::new();
            scan(&self.root.join("plugins/module_utils"), &mut names);
            names.remove(&self.name);
            names
        })
    }
}

/// Finds the file of a module in a folder: Python code, or any other file that can be run.
pub(super) fn module_file(folder: &Path, name: &str) -> Option<PathBuf> {
    const OTHER: [&str; 6] = [".ps1", "", ".sh", ".pl", ".rb", ".bin"];
    let path = folder.join(name);
    let (parent, own_name) = (path.parent()?, path.file_name()?.to_str()?);
    // The file name of a deprecated module begins with `_`.
    let mut names = [own_name.to_owned(), format!("_{own_name}")]
        .into_iter()
        .flat_map(|name| {
            let extensions = [".py"].into_iter().chain(OTHER);
            extensions.map(move |extension| format!("{name}{extension}"))
        });
    names.find_map(|name| Some(parent.join(name)).filter(|file| file.is_file()))
}

/// Adds the collections that the Python files of a folder mention. A file that cannot be read is reported later, when
/// it is bundled.
fn scan(folder: &Path, names: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            scan(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "py")
            && let Ok(bytes) = fs::read(&path)
        {
            mentioned(&String::from_utf8_lossy(&bytes), names);
        }
    }
}

/// Adds the collections from which a text imports, as in `ansible_collections.a.b.plugins`.
pub(super) fn mentioned(text: &str, names: &mut BTreeSet<String>) {
    let parts = text.split("ansible_collections.").skip(1);
    for rest in parts {
        let mut words = rest.split('.');
        let is_word = |word: &&str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let (namespace, name) = (words.next().filter(is_word), words.next().filter(is_word));
        if let (Some(namespace), Some(name)) = (namespace, name)
            && words.next().is_some_and(|word| word.starts_with("plugins"))
        {
            names.insert(format!("{namespace}.{name}"));
        }
    }
}
