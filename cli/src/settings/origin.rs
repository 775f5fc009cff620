//! The origins of settings.

use std::fmt;
use std::path::{Path, PathBuf};

/// The origin of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A variable of the environment.
    Variable(String),
    /// A line of a config file.
    File { path: PathBuf, line: u64 },
    /// The setting is not set anywhere, so its default holds.
    Default,
}

impl Origin {
    /// Returns the folder of the config file, if the setting comes from one.
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => path.parent(),
            Self::Variable(_) | Self::Default => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => out.write_str(name),
            Self::File { path, line } => write!(out, "{}:{line}", path.display()),
            Self::Default => out.write_str("default"),
        }
    }
}
