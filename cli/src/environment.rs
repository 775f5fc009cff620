//! The environment variables and the current folder, and the config and state folders that follow from them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::CliError;

/// The environment variables and the current folder of a call, as a value that tests can make.
#[derive(Debug, Clone, Default)]
pub(crate) struct UserEnvironment {
    /// The environment variables.
    pub(crate) variables: BTreeMap<OsString, OsString>,
    /// The folder that the call is made in.
    pub(crate) folder: PathBuf,
}

impl UserEnvironment {
    /// Reads the environment of this process.
    pub(crate) fn current() -> Result<Self, CliError> {
        Ok(Self {
            variables: std::env::vars_os().collect(),
            folder: std::env::current_dir()
                .map_err(|error| CliError::unreadable(Path::new("."), error))?,
        })
    }

    /// Returns the value of a variable, unless it is empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsString> {
        let value = self.variables.get(std::ffi::OsStr::new(name))?;
        (!value.is_empty()).then_some(value)
    }

    /// Returns the project's config file: the nearest one in this folder or above.
    ///
    /// The search ends with the root of the repository or with the home folder, whichever comes first: what lies above
    /// belongs to another project or to somebody else. Without either, it ends with the root folder.
    pub(crate) fn project_file(&self) -> Option<PathBuf> {
        /// Names that exist only in the root of a repository: a folder, or a file in a worktree or submodule.
        const MARKS: [&str; 4] = [".git", ".hg", ".jj", ".svn"];
        let home = self.variable("HOME").map(PathBuf::from);
        // `HOME` may contain a link, and the current folder never does.
        let home = home.map(|home| home.canonicalize().unwrap_or(home));
        let is_boundary = |folder: &Path| {
            home.as_deref() == Some(folder) || MARKS.iter().any(|mark| folder.join(mark).exists())
        };
        for folder in self.folder.ancestors() {
            let file = folder.join("ratchet.toml");
            if file.is_file() {
                return Some(file);
            }
            if is_boundary(folder) {
                return None;
            }
        }
        None
    }

    /// Returns the user's config file, if there is a folder for it.
    pub(crate) fn user_file(&self) -> Option<PathBuf> {
        let folder = self.xdg("XDG_CONFIG_HOME", ".config")?;
        Some(folder.join("config.toml"))
    }

    /// Returns the folder for state, by the XDG standard.
    pub(crate) fn state_folder(&self) -> Option<PathBuf> {
        self.xdg("XDG_STATE_HOME", ".local/state")
    }

    /// Returns ratchet's part of an XDG folder. The standard says that relative paths have to be ignored.
    fn xdg(&self, name: &str, below_home: &str) -> Option<PathBuf> {
        let absolute = |name| {
            let folder = self.variable(name).map(Path::new);
            folder.filter(|folder| folder.is_absolute())
        };
        let base = match absolute(name) {
            Some(folder) => folder.to_path_buf(),
            None => absolute("HOME")?.join(below_home),
        };
        Some(base.join("ratchet"))
    }
}
