//! Modules: which exist, where their code is, and which part of it a host needs to run them.
//!
//! The code is that of the user's own Ansible, collections and `library` folders. None of it is part of this program. A
//! host gets it in [bundles](Bundle), each at most once. Without Ansible, a few modules of this crate replace the most
//! common ones of Ansible.

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

/// The folders that are searched for modules, besides those of a role or a playbook.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModulePaths {
    /// The folders that contain `ansible_collections`, or that are themselves named so.
    pub(crate) collections: Vec<PathBuf>,
    /// The folders of modules for every playbook, as `library` in ansible.cfg names them.
    pub(crate) libraries: Vec<PathBuf>,
    /// The folders that are searched for `python3` and `ansible`: the value of `PATH`.
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
    /// The bundles that a host needs to run it. The last one contains the module itself.
    pub(crate) bundles: Vec<Arc<BundleSource>>,
}

/// How a module is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModuleKind {
    /// Python code that uses Ansible's `module_utils`.
    Python {
        /// The name by which Python imports it.
        import: String,
        /// Whether its bundle has module utilities that take precedence over those of Ansible.
        is_overlay: bool,
    },
    /// A program that reads its arguments as JSON from the file that its only argument names.
    Program,
    /// A program that reads its arguments as `name=value` from such a file.
    WordsProgram,
    /// One of this crate's own modules, for users without Ansible.
    Own,
}

/// A call of a module, with all of its options.
#[derive(Debug, Clone)]
pub(crate) struct ModuleCall {
    pub(crate) module: Arc<Module>,
    /// The arguments, without those that Ansible adds itself.
    pub(crate) arguments: Map<String, Value>,
    /// Whether the module only reports what it would change.
    pub(crate) check: bool,
    /// Whether the module reports the state before and after a change.
    pub(crate) diff: bool,
    /// Whether the module keeps its arguments out of the logs of its host.
    pub(crate) no_log: bool,
    /// How many `-v` flags were given, which some modules evaluate.
    pub(crate) verbosity: u8,
    /// Environment variables that are set for the module.
    pub(crate) environment: Vec<(String, String)>,
    /// The user as whom the module runs; `None` for the user of the connection.
    pub(crate) privilege: Option<Become>,
}

/// Why a module cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ModuleError {
    /// No folder has a module of this name.
    #[error("there is no module `{name}`{}", looked(.looked_in))]
    Missing {
        name: String,
        /// The folders that were searched.
        looked_in: Vec<PathBuf>,
    },
    /// The collection of the module is not installed.
    #[error("the collection `{collection}` of module `{name}` is not installed")]
    NoCollection { name: String, collection: String },
    /// The module belongs to Ansible, which is not installed here.
    #[error("module `{name}` needs ansible-core on this machine, which is not installed{}", because(.reason.as_deref()))]
    NoAnsible {
        name: String,
        reason: Option<String>,
    },
    /// The authors of the collection have removed the module.
    #[error("module `{name}` was removed: {reason}")]
    Removed { name: String, reason: String },
    /// The module has an action plugin, which runs inside of Ansible itself.
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
    /// No collection defines a group of modules of this name.
    #[error("there is no group of modules `{name}`")]
    NoGroup { name: String },
    /// The redirections of a module lead in a circle.
    #[error("the redirections of module `{name}` have no end")]
    Circle { name: String },
}

impl ModuleError {
    /// Returns advice on how to solve it, if there is any.
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
