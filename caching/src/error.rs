//! What can go wrong.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Why a cache or a fingerprint could not do what was asked.
///
/// None of these ever reaches a job: [`TaskCache`](crate::TaskCache) turns a failing store into misses. They
/// reach whoever talks to a [`Cache`](crate::Cache) directly, and whoever builds a fingerprint.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The system refused something.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was tried: "open", "write".
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The index of the cache could not be used.
    #[error("the cache index {} cannot be used", path.display())]
    Index {
        /// The index file.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The index was damaged; it has been set aside and the cache starts empty.
    #[error("the cache index {} is damaged and was set aside", path.display())]
    Damaged {
        /// The index file.
        path: PathBuf,
    },
    /// Another process is writing to the cache and does not come to an end.
    #[error("another process was writing to the cache index {} for longer than {waited:?}", path.display())]
    Busy {
        /// The index file.
        path: PathBuf,
        /// How long this process waited.
        waited: Duration,
    },
    /// A folder or file of the cache belongs to another user, who could put any result there.
    #[error(
        "{} belongs to another user (uid {owner}), so the results in it are not used; choose another folder, or make it yours with chown",
        path.display()
    )]
    Foreign {
        /// The folder or file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// A folder or file of the cache may be written by other users, who could put any result there.
    #[error(
        "{} may be written by others (mode {mode:03o}), so the results in it are not used; remove that permission with `chmod go-w`",
        path.display()
    )]
    Exposed {
        /// The folder or file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The value is larger than the whole cache may be.
    #[error("a value of {size} bytes does not fit into a cache of {limit} bytes")]
    TooLarge {
        /// The size of the value.
        size: u64,
        /// The limit of the cache.
        limit: u64,
    },
    /// The cache was closed.
    #[error("the cache is closed")]
    Closed,
    /// A declared input is neither a file nor a folder.
    #[error("{} is neither a file nor a folder, so it has no content to fingerprint", path.display())]
    NotAFile {
        /// The declared input, or what was found inside it.
        path: PathBuf,
    },
    /// A folder that a command line names holds so much that reading it for each job would take too long.
    #[error("the folder {} holds more than {limit} files and folders", path.display())]
    TooManyFiles {
        /// The folder.
        path: PathBuf,
        /// How many may be in it.
        limit: usize,
    },
    /// A declared input changed each time it was read.
    #[error("{} changes while it is read", path.display())]
    Unsettled {
        /// The file.
        path: PathBuf,
    },
}

impl CacheError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_path_buf(),
            source: Arc::new(source),
        }
    }
}
