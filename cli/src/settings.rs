//! Settings that hold for every run: from the environment and from config files.
//!
//! A flag comes first, then a variable `RATCHET_..`, then the project's `ratchet.toml` (the nearest
//! one in this folder or above, up to the root of the repository or the home folder, and only if nobody
//! else may have written it), then the user's own `ratchet/config.toml`, then the default. A
//! value knows where it comes from; what is unknown or unreadable is refused, whether or not it
//! would be used.

mod folders;
mod keys;
mod load;
mod origin;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ratchet_runtime::journal::Retention;
use ratchet_runtime::process::Prefetch;
use ratchet_runtime::{ParallelizationHint, Timeouts};

#[cfg(test)]
use crate::document::Shape;
use crate::document::{Node, Value};
use crate::job_file::{Retry, Wishes};
use crate::trust::Trust;
use crate::value::{self, Amount};

pub(crate) use folders::Surroundings;
pub(crate) use keys::SETTINGS;
pub(crate) use load::SettingsError;
pub(crate) use origin::Origin;

/// What was set, by key; every value is sound.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    set: Vec<Setting>,
    /// Folders that the user's own config file trusts.
    trusted: Vec<PathBuf>,
}

#[derive(Debug)]
struct Setting {
    key: &'static str,
    node: Node,
    origin: Origin,
}

impl Settings {
    /// Reads the environment and the config files.
    pub(crate) fn load(surroundings: &Surroundings) -> Result<Self, SettingsError> {
        load::load(surroundings)
    }

    /// What is sound of them, for whoever is about to tell what is not.
    pub(crate) fn sound(surroundings: &Surroundings) -> Self {
        load::sound(surroundings)
    }

    pub(crate) fn jobs(&self) -> Option<NonZeroU32> {
        value::positive(self.text("jobs")?).ok()
    }

    pub(crate) fn workers(&self) -> Option<NonZeroU32> {
        value::positive(self.text("workers")?).ok()
    }

    pub(crate) fn prefetch(&self) -> Option<Prefetch> {
        value::prefetch(self.text("prefetch")?).ok()
    }

    pub(crate) fn grace(&self) -> Option<Duration> {
        self.duration("grace")
    }

    /// Where runs are recorded: as set, or the XDG state folder.
    pub(crate) fn state_dir(&self, surroundings: &Surroundings) -> Result<PathBuf, SettingsError> {
        match self.path("state-dir") {
            Some(folder) => Ok(folder),
            None => surroundings
                .state_folder()
                .ok_or(SettingsError::NoStateFolder),
        }
    }

    /// Where results are kept: as set, or beside the records.
    pub(crate) fn cache_dir(&self, surroundings: &Surroundings) -> Result<PathBuf, SettingsError> {
        match self.path("cache-dir") {
            Some(folder) => Ok(folder),
            None => self
                .state_dir(surroundings)
                .map(|folder| folder.join("cache")),
        }
    }

    /// Decides which files and folders of others may be used.
    pub(crate) fn trust(&self, surroundings: &Surroundings) -> Trust {
        Trust::new(surroundings, &self.trusted)
    }

    /// What holds for jobs that say nothing.
    pub(crate) fn wishes(&self) -> Wishes {
        Wishes {
            hint: self
                .text("hint")
                .and_then(|name| name.parse::<ParallelizationHint>().ok()),
            timeouts: self.duration("timeout").map(Timeouts::after),
            retry: Retry {
                max: self.text("retries").and_then(|text| text.parse().ok()),
                ..Retry::default()
            },
            ..Wishes::default()
        }
    }

    /// Each key with its value and where it comes from, in the order of the documentation.
    pub(crate) fn origins(
        &self,
        surroundings: &Surroundings,
    ) -> Vec<(&'static str, String, Origin)> {
        SETTINGS
            .keys
            .iter()
            .map(|key| {
                let Some(set) = self.find(key.name) else {
                    let default = keys::default(key.name, self, surroundings);
                    return (key.name, default, Origin::Default);
                };
                (key.name, written(&set.node), set.origin.clone())
            })
            .collect()
    }

    fn find(&self, key: &str) -> Option<&Setting> {
        self.set.iter().find(|set| set.key == key)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.find(key)?.node.text_or_number()
    }

    fn duration(&self, key: &str) -> Option<Duration> {
        value::duration(self.text(key)?).ok()
    }

    /// The folders of a key that may name several.
    fn paths(&self, key: &str) -> Vec<PathBuf> {
        let Some(set) = self.find(key) else {
            return Vec::new();
        };
        let paths = match &set.node.value {
            Value::List(members) => members.iter().filter_map(Node::text).collect(),
            _ => Vec::from_iter(set.node.text()),
        };
        let base = set.origin.folder().unwrap_or(Path::new(""));
        paths.into_iter().map(|path| base.join(path)).collect()
    }

    /// In a file, a path is relative to the file.
    fn path(&self, key: &str) -> Option<PathBuf> {
        let set = self.find(key)?;
        let path = set.node.text()?;
        Some(match set.origin.folder() {
            Some(folder) => folder.join(path),
            None => PathBuf::from(path),
        })
    }
}

/// A value as text; the members of a list stand as in a variable, with colons between them.
fn written(node: &Node) -> String {
    match &node.value {
        Value::List(members) => {
            let members: Vec<_> = members.iter().filter_map(Node::text).collect();
            members.join(":")
        }
        _ => node.text_or_number().unwrap_or_default().to_owned(),
    }
}

impl Settings {
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.duration("deadline")
    }

    pub(crate) fn max_fail(&self) -> Option<Amount> {
        value::amount(self.text("max-fail")?).ok()
    }

    pub(crate) fn memory_limit(&self) -> Option<u64> {
        value::size(self.text("memory-limit")?).ok()
    }

    pub(crate) fn memory_free(&self) -> Option<u64> {
        value::size(self.text("memory-free")?).ok()
    }

    pub(crate) fn load_limit(&self) -> Option<f64> {
        self.text("load")?.parse().ok()
    }

    /// One of the words of `format`.
    pub(crate) fn format(&self) -> Option<&str> {
        self.text("format")
    }

    /// `auto`, `always` or `never`.
    pub(crate) fn progress(&self) -> Option<&str> {
        self.text("progress")
    }

    /// `auto`, `always` or `never`.
    pub(crate) fn color(&self) -> Option<&str> {
        self.text("color")
    }

    /// `none`, `batch` or `each`.
    pub(crate) fn durability(&self) -> Option<&str> {
        self.text("durability")
    }

    /// Which runs are kept; 0 is no limit.
    pub(crate) fn retention(&self) -> Retention {
        let usual = Retention::default();
        let age = self.duration("keep-age");
        let runs = self.text("keep-runs").and_then(|text| text.parse().ok());
        let size = self
            .text("keep-size")
            .and_then(|text| value::size(text).ok());
        Retention {
            age: age.or(usual.age).filter(|age| !age.is_zero()),
            runs: runs.or(usual.runs).filter(|runs| *runs > 0),
            size: size.or(usual.size).filter(|size| *size > 0),
        }
    }

    pub(crate) fn log_file(&self) -> Option<PathBuf> {
        self.path("log-file")
    }
}

#[cfg(test)]
mod tests;
