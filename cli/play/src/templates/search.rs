//! Where lookups look for files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ratchet_input::inventory::Inventory;

/// Where files are looked for that lookups and templates name, and which hosts there are.
#[derive(Debug, Clone, Default)]
pub(crate) struct SearchPath {
    /// The folders, those that count first in front: of the role, of the files with tasks, and of the playbook.
    pub(crate) folders: Vec<PathBuf>,
    /// The hosts and groups that patterns select among.
    pub(crate) inventory: Option<Arc<Inventory>>,
}

impl SearchPath {
    /// The file or folder of a name. In each folder, one within `kind` (`files`, `templates`, `vars`) comes first.
    pub(crate) fn find(&self, kind: &str, name: &str) -> Option<PathBuf> {
        self.candidates(kind, name)
            .into_iter()
            .find(|path| path.exists())
    }

    /// The paths that a name can mean, in the order in which they are looked at.
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

    /// The folders in which templates include others.
    pub(crate) fn template_folders(&self) -> Vec<PathBuf> {
        let folders = self.folders.iter();
        folders
            .flat_map(|folder| [folder.join("templates"), folder.clone()])
            .collect()
    }

    /// The folder against which relative paths are meant that need not exist.
    pub(super) fn base(&self) -> PathBuf {
        self.folders.last().cloned().unwrap_or_default()
    }
}
