//! Modules: which there are, where their code is, and what of it a host needs to run them.
//!
//! The code is that of the user's own Ansible, collections and `library` folders. Nothing of it is part of this program.
//! A host gets it in [bundles](Bundle), each at most once. Where there is no Ansible, a few modules of this crate's own
//! stand in for its most common ones.

mod ansible;
mod bundle;
mod collection;
mod find;
mod privilege;
mod routing;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

pub(crate) use bundle::{Bundle, BundleSource};
pub(crate) use find::Modules;
pub(crate) use privilege::{Become, Secret};

/// Where modules are looked for, beside the folders that a role or a playbook has.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModulePaths {
    /// The folders that contain `ansible_collections`, or are folders of that name.
    pub(crate) collections: Vec<PathBuf>,
    /// The folders of modules for every playbook, as `library` in ansible.cfg names them.
    pub(crate) libraries: Vec<PathBuf>,
    /// The folders in which `python3` and `ansible` are looked for: the value of `PATH`.
    pub(crate) programs: Option<std::ffi::OsString>,
}

/// A module that was found.
#[derive(Debug)]
pub(crate) struct Module {
    /// The full name, as in `ansible.builtin.file`. Modules of `library` folders are in `ansible.legacy`.
    pub(crate) name: String,
    /// How the module is run.
    pub(crate) kind: ModuleKind,
    /// The version of the ansible-core that it runs with, unless it is one of this crate's own.
    pub(crate) ansible_version: Option<String>,
    /// What a host needs to run it. The module itself is in the last one.
    pub(crate) bundles: Vec<Arc<BundleSource>>,
}

/// How a module is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModuleKind {
    /// It is Python code that uses Ansible's `module_utils`.
    Python {
        /// The name by which Python imports it.
        import: String,
        /// Whether its bundle has module utilities that come before those of Ansible.
        is_overlay: bool,
    },
    /// It is a program that reads its arguments as JSON from the file that its only argument names.
    Program,
    /// It is a program that reads its arguments as `name=value` from such a file.
    WordsProgram,
    /// It is one of this crate's own, for users without Ansible.
    Own,
}

/// A call of a module, with all that it depends on.
#[derive(Debug, Clone)]
pub(crate) struct ModuleCall {
    pub(crate) module: Arc<Module>,
    /// The arguments, without those that Ansible adds itself.
    pub(crate) arguments: Map<String, Value>,
    /// Whether the module only says what it would change.
    pub(crate) check: bool,
    /// Whether the module says how things differ before and after.
    pub(crate) diff: bool,
    /// Whether the module keeps its arguments out of the logs of its host.
    pub(crate) no_log: bool,
    /// How many `-v` were given, which some modules look at.
    pub(crate) verbosity: u8,
    /// Variables of the environment that are set for the module.
    pub(crate) environment: Vec<(String, String)>,
    /// As which user the module runs, if not as the one that the connection has.
    pub(crate) privilege: Option<Become>,
}

/// Why there is no module for a name.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ModuleError {
    /// No place has a module of this name.
    #[error("there is no module `{name}`{}", looked(.looked_in))]
    Missing {
        name: String,
        /// The folders in which it was looked for.
        looked_in: Vec<PathBuf>,
    },
    /// The module belongs to a collection that is not there.
    #[error("the collection `{collection}` of module `{name}` is not installed")]
    NoCollection { name: String, collection: String },
    /// It is a module of Ansible, and there is no Ansible here.
    #[error("module `{name}` needs ansible-core on this machine, which is not installed{}", because(.reason.as_deref()))]
    NoAnsible {
        name: String,
        reason: Option<String>,
    },
    /// The authors of the collection have removed the module.
    #[error("module `{name}` was removed: {reason}")]
    Removed { name: String, reason: String },
    /// Code that runs in Ansible itself belongs to the module.
    #[error("module `{name}` is an action plugin, which runs inside of Ansible itself ({path})")]
    ActionPlugin { name: String, path: String },
    /// The module is for Windows.
    #[error("module `{name}` is for Windows")]
    Windows { name: String },
    /// The module is of a style that is not supported.
    #[error(
        "module `{name}` expects its arguments within its own text ({path}), which is not supported"
    )]
    ArgumentsInText { name: String, path: String },
    /// A file of the module, or of its collection, cannot be read.
    #[error("`{}` cannot be read: {reason}", .path.display())]
    Unreadable { path: PathBuf, reason: String },
    /// No collection has a group of modules of this name.
    #[error("there is no group of modules `{name}`")]
    NoGroup { name: String },
    /// The redirections of collections lead in a circle.
    #[error("the redirections of module `{name}` have no end")]
    Circle { name: String },
}

impl ModuleError {
    /// What to do about it, where there is something.
    pub(crate) fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoCollection { collection, .. } => {
                format!("install it by `ansible-galaxy collection install {collection}`")
            }
            Self::NoAnsible { .. } => {
                "install it by `pipx install ansible-core` or `pip install ansible-core`".to_owned()
            }
            Self::NoGroup { .. } => {
                "the name has the collection in front, as in `group/amazon.aws.aws`; the collection has to be installed"
                    .to_owned()
            }
            Self::ActionPlugin { .. } => {
                "use a module that runs on the host, or a command that does the same".to_owned()
            }
            Self::Windows { .. } => "hosts with Windows are not supported".to_owned(),
            Self::ArgumentsInText { .. } => {
                "use `AnsibleModule` of `ansible.module_utils.basic` in it".to_owned()
            }
            _ => return None,
        })
    }
}

fn looked(folders: &[PathBuf]) -> String {
    if folders.is_empty() {
        return String::new();
    }
    let folders = folders.iter().map(|folder| folder.display().to_string());
    let folders: Vec<String> = folders.collect();
    format!(" (looked in {})", folders.join(", "))
}

fn because(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}

#[cfg(test)]
mod tests;
