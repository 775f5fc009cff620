//! Settings that apply to every run, from the environment and from config files.
//!
//! A flag comes first, then a variable `RATCHET_..`, then the project's `ratchet.toml` (the nearest one in this folder
//! or above, up to the root of the repository or the home folder, and only if nobody else may have written it), then
//! the user's own `ratchet/config.toml` (by the same rule), then the default. Each value is stored with its origin. Unknown and invalid
//! settings are refused, even if they would not be used.

mod keys;
mod load;
mod module_hints;
mod origin;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ratchet_runtime::journal::Retention;
use ratchet_runtime::process::Prefetch;
use ratchet_runtime::{Durability, ParallelizationHint, Timeouts};

use crate::document::{Count, Either, Field, Section as _};
use crate::environment::UserEnvironment;
use crate::job_count::JobCount;
use crate::job_file::{PartialRetry, PartialTerms};
use crate::report::ResultFormat;
use crate::style::When;
use crate::trust::Trust;
use crate::value::Amount;

#[cfg(feature = "queue")]
pub(crate) use keys::PASSWORD_VARIABLE;
pub(crate) use keys::{SettingsSpec, variable_of_setting};
pub(crate) use load::SettingsError;
pub(crate) use origin::Origin;

/// The settings of a call by their keys, without those that were refused.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// The values of the settings.
    spec: SettingsSpec,
    /// The text and the origin of each setting that is set.
    written: HashMap<String, Written>,
    /// The folders that the user's own config file trusts.
    trusted: Vec<PathBuf>,
}

/// The text of a setting as it was written, with its origin.
#[derive(Debug)]
struct Written {
    text: String,
    origin: Origin,
}

impl Settings {
    /// Reads the environment and the config files.
    pub(crate) fn load(environment: &UserEnvironment) -> Result<Self, SettingsError> {
        load::load(environment)
    }

    /// Adds the settings of a source. Sources are added in the order of their precedence, so a value that is already
    /// set is kept.
    fn add(&mut self, spec: SettingsSpec, written: HashMap<String, Written>) {
        self.spec.or(spec);
        for (key, written) in written {
            self.written.entry(key).or_insert(written);
        }
    }

    /// Returns how many jobs run at once.
    pub(crate) fn jobs(&self) -> Option<&JobCount> {
        self.spec.jobs.get()
    }

    /// Returns the number of workers of pools that do not set it.
    pub(crate) fn workers(&self) -> Option<NonZeroU32> {
        positive(&self.spec.workers)
    }

    /// Returns how many requests may wait in the pipe of a worker, for pools that do not set it.
    pub(crate) fn prefetch(&self) -> Option<Prefetch> {
        self.spec.prefetch.get().copied()
    }

    /// Returns the hints of modules of playbooks.
    pub(crate) fn modules(&self) -> Vec<(String, ParallelizationHint)> {
        let hints = self.spec.modules.get();
        hints.map(|hints| hints.0.clone()).unwrap_or_default()
    }

    /// Returns how long running jobs have to finish after the first signal.
    pub(crate) fn grace(&self) -> Option<Duration> {
        self.spec.grace.get().copied()
    }

    /// Returns the folder for the records of runs: the setting, or the XDG state folder.
    pub(crate) fn state_dir(
        &self,
        environment: &UserEnvironment,
    ) -> Result<PathBuf, SettingsError> {
        match self.path("state-dir", &self.spec.state_dir) {
            Some(folder) => Ok(folder),
            None => environment
                .state_folder()
                .ok_or(SettingsError::NoStateFolder),
        }
    }

    /// Returns the folder for cached results: the setting, or a folder beside the records.
    pub(crate) fn cache_dir(
        &self,
        environment: &UserEnvironment,
    ) -> Result<PathBuf, SettingsError> {
        match self.path("cache-dir", &self.spec.cache_dir) {
            Some(folder) => Ok(folder),
            None => self
                .state_dir(environment)
                .map(|folder| folder.join("cache")),
        }
    }

    /// Returns the rule that decides which files and folders may be used.
    pub(crate) fn trust(&self, environment: &UserEnvironment) -> Trust {
        Trust::new(environment, &self.trusted)
    }

    /// Returns the terms of jobs that do not set them themselves.
    pub(crate) fn terms(&self) -> PartialTerms {
        let timeout = self.spec.timeout.get();
        PartialTerms {
            hint: self.spec.hint.get().map(|hint| hint.0.clone()),
            timeouts: timeout.map(|limit| Timeouts::after(limit.0)),
            retry: PartialRetry {
                max: self.spec.retries.get().map(|retries| retries.0),
                ..PartialRetry::default()
            },
            ..PartialTerms::default()
        }
    }

    /// Returns each setting with its value and its origin, in the order of the documentation.
    pub(crate) fn origins(
        &self,
        environment: &UserEnvironment,
    ) -> Vec<(&'static str, String, Origin)> {
        let with_origin = |key| match self.written.get(key) {
            Some(written) => (key, written.text.clone(), written.origin.clone()),
            None => (key, keys::default(key, self, environment), Origin::Default),
        };
        SettingsSpec::keys().into_iter().map(with_origin).collect()
    }

    /// Returns the folders that `trust` names. Relative paths in a file start at the folder of the file.
    fn trust_folders(&self) -> Vec<PathBuf> {
        let paths = match self.spec.trust.get() {
            None => Vec::new(),
            Some(Either::First(path)) => vec![path],
            Some(Either::Second(paths)) => paths.iter().map(|path| &path.value).collect(),
        };
        let origin = self.written.get("trust").map(|written| &written.origin);
        let base = origin.and_then(Origin::folder).unwrap_or(Path::new(""));
        paths.into_iter().map(|path| base.join(path)).collect()
    }

    /// Returns the path of a setting. A relative path in a file starts at the folder of the file.
    fn path(&self, key: &str, field: &Field<String>) -> Option<PathBuf> {
        let path = field.get()?;
        let origin = self.written.get(key).map(|written| &written.origin);
        Some(match origin.and_then(Origin::folder) {
            Some(folder) => folder.join(path),
            None => PathBuf::from(path),
        })
    }

    /// Returns how long a run may take in all.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.spec.deadline.get().map(|deadline| deadline.0)
    }

    /// Returns how many jobs may fail before the run stops.
    pub(crate) fn max_fail(&self) -> Option<Amount> {
        self.spec.max_fail.get().copied()
    }

    /// Returns how many bytes of memory all workers may use before new jobs wait.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        self.spec.memory_limit.get().map(|size| size.0)
    }

    /// Returns how many bytes of memory have to be free before a new job starts.
    pub(crate) fn memory_free(&self) -> Option<u64> {
        self.spec.memory_free.get().map(|size| size.0)
    }

    /// Returns the load of the machine above which no new job starts.
    pub(crate) fn load_limit(&self) -> Option<f64> {
        self.spec.load.get().map(|load| load.0)
    }

    /// Returns the format of results.
    pub(crate) fn format(&self) -> Option<ResultFormat> {
        self.spec.format.get().map(|format| format.0)
    }

    /// Returns when progress is shown.
    pub(crate) fn progress(&self) -> Option<When> {
        self.spec.progress.get().map(|when| when.0)
    }

    /// Returns when text is coloured.
    pub(crate) fn color(&self) -> Option<When> {
        self.spec.color.get().map(|when| when.0)
    }

    /// Returns which failures of the system a recorded outcome survives.
    pub(crate) fn durability(&self) -> Option<Durability> {
        self.spec.durability.get().copied()
    }

    /// Returns which runs are kept. In the settings, 0 means no limit.
    pub(crate) fn retention(&self) -> Retention {
        let usual = Retention::default();
        let age = self.spec.keep_age.get().copied();
        let runs = self.spec.keep_runs.get().map(|runs| runs.0.into());
        let size = self.spec.keep_size.get().map(|size| size.0);
        Retention {
            age: age.or(usual.age).filter(|age| !age.is_zero()),
            runs: runs.or(usual.runs).filter(|runs| *runs > 0),
            size: size.or(usual.size).filter(|size| *size > 0),
        }
    }

    /// Returns the address of the server of the queue.
    #[cfg(feature = "queue")]
    pub(crate) fn queue(&self) -> Option<&str> {
        self.spec.queue.get().map(String::as_str)
    }

    /// Returns the file with the certificates of authorities for the server of the queue.
    #[cfg(feature = "queue")]
    pub(crate) fn queue_ca_file(&self) -> Option<PathBuf> {
        self.path("queue-ca-file", &self.spec.queue_ca_file)
    }

    /// Returns with what the keys of the queue begin on its server.
    #[cfg(feature = "queue")]
    pub(crate) fn queue_prefix(&self) -> Option<&str> {
        self.spec.queue_prefix.get().map(String::as_str)
    }

    /// Returns the file with the password of the server of the queue.
    #[cfg(feature = "queue")]
    pub(crate) fn queue_password_file(&self) -> Option<PathBuf> {
        self.path("queue-password-file", &self.spec.queue_password_file)
    }

    /// Returns the file to which the log goes instead of stderr.
    pub(crate) fn log_file(&self) -> Option<PathBuf> {
        self.path("log-file", &self.spec.log_file)
    }
}

/// Returns the typed value of `--color`, else the setting. This is for messages outside of a run. An invalid setting is
/// ignored, because it must not keep another error from being shown.
pub(crate) fn color_or_default(typed: Option<When>) -> When {
    let set = || load::load_valid(&UserEnvironment::current().ok()?).color();
    typed.or_else(set).unwrap_or_default()
}

fn positive(field: &Field<Count<1>>) -> Option<NonZeroU32> {
    NonZeroU32::new(field.get()?.0)
}

#[cfg(test)]
mod tests;
