//! Where runs are recorded and results are kept.

use std::path::{Path, PathBuf};

use ratchet_caching::{DiskCache, DiskOptions};
use ratchet_runtime::RunStore;

use crate::args::record::StateArguments;
use crate::error::CliError;
use crate::settings::{Settings, Surroundings};
use crate::trust::{Trust, Untrusted};

/// The folders; neither has to be there yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) state: PathBuf,
    pub(crate) cache: PathBuf,
    pub(crate) cache_owner: CacheOwner,
}

/// Whose a cache may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum CacheOwner {
    /// The user's, or root's.
    #[default]
    User,
    /// Anybody's: the user has said to trust its folder.
    Anybody,
}

impl CacheOwner {
    /// Whose the cache in a folder may be.
    pub(crate) fn of(folder: &Path, trust: &Trust) -> Self {
        if trust.exempts(folder) {
            Self::Anybody
        } else {
            Self::User
        }
    }

    /// The cache in a folder.
    pub(crate) fn cache(self, folder: &Path) -> DiskCache {
        let options = DiskOptions::at(folder);
        DiskCache::new(match self {
            Self::User => options,
            Self::Anybody => options.of_any_owner(),
        })
    }
}

impl Places {
    /// Those of this process, and what is set besides. A folder that somebody else may have written is refused.
    pub(crate) fn load(typed: &StateArguments) -> Result<(Self, Settings), CliError> {
        let (places, settings, _) = Self::open(typed)?;
        Ok((places, settings))
    }

    /// The same, with what tells who else may be trusted.
    pub(crate) fn open(typed: &StateArguments) -> Result<(Self, Settings, Trust), CliError> {
        let surroundings = Surroundings::current().map_err(|source| CliError::Read {
            path: ".".into(),
            source,
        })?;
        let settings = Settings::load(&surroundings)?;
        let mut places = Self::find(typed, &settings, &surroundings)?;
        let trust = settings.trust(&surroundings);
        check_state(&trust, &places.state)?;
        trust.folder(&places.cache)?;
        places.cache_owner = CacheOwner::of(&places.cache, &trust);
        Ok((places, settings, trust))
    }

    /// What was typed counts for both, then each has its setting and its default.
    pub(crate) fn find(
        typed: &StateArguments,
        settings: &Settings,
        surroundings: &Surroundings,
    ) -> Result<Self, CliError> {
        Ok(match &typed.state_dir {
            Some(folder) => Self {
                state: folder.clone(),
                cache: folder.join("cache"),
                cache_owner: CacheOwner::default(),
            },
            None => Self {
                state: settings.state_dir(surroundings)?,
                cache: settings.cache_dir(surroundings)?,
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

    fn find(typed: Option<&str>, variables: &[(&str, &str)]) -> Places {
        let folder = tempfile::tempdir().unwrap();
        let variables = variables.iter();
        let surroundings = Surroundings {
            variables: variables
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            folder: folder.path().to_owned(),
        };
        let settings = Settings::load(&surroundings).unwrap();
        let state_dir = typed.map(PathBuf::from);
        Places::find(&StateArguments { state_dir }, &settings, &surroundings).unwrap()
    }

    fn places(state: &str, cache: &str) -> Places {
        Places {
            state: state.into(),
            cache: cache.into(),
            cache_owner: CacheOwner::default(),
        }
    }

    #[test]
    fn what_was_typed_comes_first() {
        let home = ("HOME", "/home/h");
        assert_eq!(
            find(None, &[home]),
            places(
                "/home/h/.local/state/ratchet",
                "/home/h/.local/state/ratchet/cache"
            )
        );
        let state = ("RATCHET_STATE_DIR", "/s");
        assert_eq!(find(None, &[home, state]), places("/s", "/s/cache"));
        let cache = ("RATCHET_CACHE_DIR", "/c");
        assert_eq!(find(None, &[home, state, cache]), places("/s", "/c"));
        assert_eq!(
            find(Some("t"), &[home, state, cache]),
            places("t", "t/cache")
        );
    }
}
