//! The folders in which runs are recorded and results are cached.

use std::path::{Path, PathBuf};

use ratchet_caching::{DiskCache, DiskOptions};
use ratchet_runtime::RunStore;

use crate::args::record::StateArguments;
use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::settings::Settings;
use crate::trust::{Trust, Untrusted};

/// The state folder and the cache folder of a call. They need not exist yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Folders {
    /// The folder for records of runs.
    pub(crate) state: PathBuf,
    /// The folder for cached results.
    pub(crate) cache: PathBuf,
    /// Who may own the entries of the cache.
    pub(crate) cache_owner: CacheOwner,
}

/// Who may own the entries of a cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum CacheOwner {
    /// Only the user or root may own them.
    #[default]
    User,
    /// Anybody may own them, because the user has said to trust the folder.
    Anybody,
}

impl CacheOwner {
    /// Decides to whom the entries of the cache in a folder may belong.
    pub(crate) fn of(folder: &Path, trust: &Trust) -> Self {
        if trust.is_trusted_for_any_owner(folder) {
            Self::Anybody
        } else {
            Self::User
        }
    }

    /// Opens the cache in a folder.
    pub(crate) fn cache(self, folder: &Path) -> DiskCache {
        let options = DiskOptions::at(folder);
        DiskCache::new(match self {
            Self::User => options,
            Self::Anybody => options.of_any_owner(),
        })
    }
}

impl Folders {
    /// Finds the folders of this call, and reads the settings. A folder that somebody else may have written is refused.
    pub(crate) fn load(typed: &StateArguments) -> Result<(Self, Settings), CliError> {
        let (folders, settings, _) = Self::load_with_trust(typed)?;
        Ok((folders, settings))
    }

    /// Finds the folders like [`load`](Self::load), and also returns the rule that decides whose files may be used.
    pub(crate) fn load_with_trust(
        typed: &StateArguments,
    ) -> Result<(Self, Settings, Trust), CliError> {
        let environment = UserEnvironment::current()?;
        let settings = Settings::load(&environment)?;
        let mut folders = Self::find(typed, &settings, &environment)?;
        let trust = settings.trust(&environment);
        check_state(&trust, &folders.state)?;
        trust.folder(&folders.cache)?;
        folders.cache_owner = CacheOwner::of(&folders.cache, &trust);
        Ok((folders, settings, trust))
    }

    /// Decides which folders are used. A typed state folder holds both; otherwise each has its own setting and default.
    pub(crate) fn find(
        typed: &StateArguments,
        settings: &Settings,
        environment: &UserEnvironment,
    ) -> Result<Self, CliError> {
        Ok(match &typed.state_dir {
            Some(folder) => Self {
                state: folder.clone(),
                cache: folder.join("cache"),
                cache_owner: CacheOwner::default(),
            },
            None => Self {
                state: settings.state_dir(environment)?,
                cache: settings.cache_dir(environment)?,
                cache_owner: CacheOwner::default(),
            },
        })
    }
}

/// Refuses a state folder into which somebody else may have put runs.
pub(crate) fn check_state(trust: &Trust, state: &Path) -> Result<(), Untrusted> {
    trust.folder(state)?;
    trust.folder(RunStore::at(state).folder())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(typed: Option<&str>, variables: &[(&str, &str)]) -> Folders {
        let folder = tempfile::tempdir().unwrap();
        let variables = variables.iter();
        let environment = UserEnvironment {
            variables: variables
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            folder: folder.path().to_owned(),
        };
        let settings = Settings::load(&environment).unwrap();
        let state_dir = typed.map(PathBuf::from);
        Folders::find(&StateArguments { state_dir }, &settings, &environment).unwrap()
    }

    fn folders(state: &str, cache: &str) -> Folders {
        Folders {
            state: state.into(),
            cache: cache.into(),
            cache_owner: CacheOwner::default(),
        }
    }

    #[test]
    fn a_typed_folder_comes_before_a_variable_and_a_variable_before_the_default() {
        let home = ("HOME", "/home/h");
        assert_eq!(
            find(None, &[home]),
            folders(
                "/home/h/.local/state/ratchet",
                "/home/h/.local/state/ratchet/cache"
            )
        );
        let state = ("RATCHET_STATE_DIR", "/s");
        assert_eq!(find(None, &[home, state]), folders("/s", "/s/cache"));
        let cache = ("RATCHET_CACHE_DIR", "/c");
        assert_eq!(find(None, &[home, state, cache]), folders("/s", "/c"));
        assert_eq!(
            find(Some("t"), &[home, state, cache]),
            folders("t", "t/cache")
        );
    }
}
