//! The errors of this crate.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The reason why an operation of a cache or a fingerprint failed.
///
/// None of these errors reaches a job, because [`TaskCache`](crate::TaskCache) treats a failing store as a miss. They
/// reach code that calls a [`Cache`](crate::Cache) directly, and code that builds a fingerprint.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The system refused an operation on a file.
    #[error("could not {action} {}", path.display())]
    Io {
        /// The operation, such as "open" or "write".
        action: &'static str,
        /// The file or the folder.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: Arc<io::Error>,
    },
    /// The system refuses access to the index of the cache.
    #[error("the cache index {} cannot be used", path.display())]
    Index {
        /// The index file.
        path: PathBuf,
        /// The error of the database.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The index was damaged. It was set aside, and the cache starts empty.
    #[error("the cache index {} is damaged and was set aside", path.display())]
    Damaged {
        /// The index file.
        path: PathBuf,
    },
    /// Another process was writing to the cache for too long.
    #[error("another process was writing to the cache index {} for longer than {waited:?}", path.display())]
    Busy {
        /// The index file.
        path: PathBuf,
        /// How long this process waited.
        waited: Duration,
    },
    /// A folder or a file of the cache belongs to another user, who could put any result there.
    #[error(
        "{} belongs to another user (uid {owner}), so the results in it are not used; choose another folder, or make it yours with chown",
        path.display()
    )]
    WrongOwner {
        /// The folder or the file.
        path: PathBuf,
        /// The user id of the owner.
        owner: u32,
    },
    /// Other users may write to a folder or a file of the cache, so they could put any result there.
    #[error(
        "{} may be written by others (mode {mode:03o}), so the results in it are not used; remove that permission with `chmod go-w`",
        path.display()
    )]
    WritableByOthers {
        /// The folder or the file.
        path: PathBuf,
        /// The permission bits.
        mode: u32,
    },
    /// The value is larger than the limit of the whole cache.
    #[error("a value of {size} bytes does not fit into a cache of {limit} bytes")]
    TooLarge {
        /// The size of the value.
        size: u64,
        /// The limit of the cache.
        limit: u64,
    },
    /// An operation on the disk was not performed: the system could start no thread for it, or it panicked.
    #[error("the operation of the cache was not performed")]
    NotPerformed {
        /// The reason.
        #[source]
        source: Arc<io::Error>,
    },
    /// A declared input is neither a file nor a folder.
    #[error("{} is neither a file nor a folder, so it has no content to fingerprint", path.display())]
    NotAFile {
        /// The declared input, or a path inside of it.
        path: PathBuf,
    },
    /// A folder on a command line contains so many files that reading it for each job would take too long.
    #[error("the folder {} contains more than {limit} files and folders", path.display())]
    TooManyFiles {
        /// The folder.
        path: PathBuf,
        /// The largest number of files and folders.
        limit: usize,
    },
    /// A declared input changed during each attempt to read it.
    #[error("{} changes while it is read", path.display())]
    ChangesWhileRead {
        /// The file.
        path: PathBuf,
    },
}

impl CacheError {
    /// Makes the error of a file operation that failed.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_path_buf(),
            source: Arc::new(source),
        }
    }
}
