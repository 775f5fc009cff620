//! The search path of lookups.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minijinja::Value;
use ratchet_input::inventory::Inventory;

/// The folders in which lookups and templates search for files, and the inventory in which they search for hosts.
#[derive(Debug, Clone, Default)]
pub(crate) struct SearchPath {
    /// The folders in the order in which they are searched: of the role, of the files with tasks, and of the playbook.
    pub(crate) folders: Vec<PathBuf>,
    /// The hosts and groups that patterns can select.
    pub(crate) inventory: Option<Arc<Inventory>>,
    pub(crate) settings: Arc<ControllerSettings>,
}

/// The settings of the controller that templates can read.
#[derive(Debug, Default)]
pub(crate) struct ControllerSettings {
    /// The text of `ansible_managed`, with placeholders.
    pub(crate) managed: String,
    /// The settings that the lookup `config` knows, by the names that Ansible gives them.
    pub(crate) values: BTreeMap<&'static str, Value>,
}

impl SearchPath {
    /// Finds the file or folder of a name. In each folder, the subfolder `kind` (`files`, `templates`, `vars`) is
    /// searched first.
    pub(crate) fn find(&self, kind: &str, name: &str) -> Option<PathBuf> {
        self.candidates(kind, name)
            .into_iter()
            .find(|path| path.exists())
    }

    /// Returns the paths that a name can refer to, in the order in which they are searched.
    pub(crate) fn candidates(&self, kind: &str, name: &str) -> Vec<PathBuf> {
        let name = name.strip_prefix("./").unwrap_or(name);
        if Path::new(name).is_absolute() {
            return vec![PathBuf::from(name)];
        }
        let mut paths = Vec::new();
        for folder in &self.folders {
            if !kind.is_empty() {
                paths.push(folder.join(kind).join(name));
            }
            paths.push(folder.join(name));
        }
        paths
    }

    /// Returns the folders in which templates search for other templates.
    pub(crate) fn template_folders(&self) -> Vec<PathBuf> {
        let folders = self.folders.iter();
        folders
            .flat_map(|folder| [folder.join("templates"), folder.clone()])
            .collect()
    }

    /// Returns the folder to which relative paths refer that do not have to exist.
    pub(super) fn base(&self) -> PathBuf {
        self.folders.last().cloned().unwrap_or_default()
    }
}
