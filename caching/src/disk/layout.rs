//! The files and folders of a cache.
//!
//! ```text
//! CACHEDIR.TAG          tells backup programs to skip the folder
//! results-v2/           everything of this schema; folders of older schemas are removed
//!   index-1.sqlite      the index; a damaged one is set aside, and the next one has the next number
//!   files/ab/cdef..     large values
//!   incoming/           large values that are being written, and an open marker of each process
//!   quarantine/         the last few files that did not match their digests
//! ```

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::disk::ownership;
use crate::error::CacheError;

/// The version of the folder, which changes when this build cannot read the files of an older one. Schema 1 used
/// another kind of database for its index.
const SCHEMA: u32 = 2;
/// The prefix of the names of folders that hold results, which is followed by the schema.
const PREFIX: &str = "results-v";
/// How many damaged files are kept for an investigation.
const MAX_QUARANTINED: usize = 16;
/// The content of CACHEDIR.TAG, whose first line is fixed by its specification.
const TAG: &[u8] =
    b"Signature: 8a477f597d28d172789f06886806bc55\n# Results that ratchet can compute again.\n";

/// The paths within the folder of a cache.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The folder that the user names. It may contain the folders of other versions.
    root: PathBuf,
    /// The folder below `root` for this version of the format.
    folder: PathBuf,
    checks_owners: bool,
}

impl Layout {
    /// Makes the layout of a cache in this folder.
    pub(super) fn new(root: PathBuf, checks_owners: bool) -> Self {
        Self {
            checks_owners,
            folder: root.join(format!("{PREFIX}{SCHEMA}")),
            root,
        }
    }

    /// Returns the folder of values that are too large for the index.
    pub(super) fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// Returns the folder in which values are written before they get their final name.
    pub(super) fn incoming(&self) -> PathBuf {
        self.folder.join("incoming")
    }

    fn quarantine_folder(&self) -> PathBuf {
        self.folder.join("quarantine")
    }

    fn index(&self, number: u64) -> PathBuf {
        self.folder.join(format!("index-{number}.sqlite"))
    }

    /// Returns the number of the newest index, or 1 if there is none.
    fn newest_index(&self) -> u64 {
        let number = |name: &str| {
            let digits = name.strip_prefix("index-")?.strip_suffix(".sqlite")?;
            digits.parse::<u64>().ok()
        };
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| number(entry.file_name().to_str()?));
        numbers.max().unwrap_or(1)
    }

    /// Returns the newest index, and creates an empty file if there is none.
    pub(super) fn current_index(&self) -> Result<PathBuf, CacheError> {
        let path = self.index(self.newest_index());
        match create_file(&path) {
            // SQLite would create a file that others can read. It copies mode and owner of the index to the journals.
            Ok(_) => Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.check(&path)?;
                Ok(path)
            }
            Err(error) => Err(CacheError::io("create", &path, error)),
        }
    }

    /// Sets a damaged index aside. Returns whether it was still there.
    ///
    /// Other processes may have the index open, and use it until they notice. So the name of an index is never used
    /// again: `SQLite` finds a journal by its name, and would apply the journal of one index to another. For the same
    /// reason the next index is created before the damaged one is moved; otherwise another process could start again
    /// with the old number.
    pub(super) fn set_index_aside(&self, path: &Path) -> Result<bool, CacheError> {
        let newest = self.newest_index();
        // Otherwise another process has already created the next index.
        if *path == *self.index(newest) {
            let next = self.index(newest + 1);
            match create_file(&next) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(CacheError::io("create", &next, error));
                }
                _ => {}
            }
        }
        match self.quarantine(path) {
            Err(CacheError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(false);
            }
            other => other?,
        }
        for suffix in ["-wal", "-shm", "-journal"] {
            let mut journal = path.as_os_str().to_owned();
            journal.push(suffix);
            // Most of them do not exist. One that cannot be removed does no harm, because its name is not used again.
            let _ = fs::remove_file(journal);
        }
        Ok(true)
    }

    /// Refuses a file that another user owns or may write to, unless the user trusts the whole cache.
    pub(super) fn check_owner(&self, path: &Path, metadata: &Metadata) -> Result<(), CacheError> {
        if self.checks_owners {
            ownership::check(path, metadata)
        } else {
            Ok(())
        }
    }

    /// Refuses an existing path that another user owns or may write to.
    fn check(&self, path: &Path) -> Result<(), CacheError> {
        let metadata = path
            .metadata()
            .map_err(|error| CacheError::io("read", path, error))?;
        self.check_owner(path, &metadata)
    }

    /// Creates the folders that are missing, and refuses folders of other users.
    pub(super) fn create_folders(&self) -> Result<(), CacheError> {
        create_folder(&self.root)?;
        self.check(&self.root)?;
        for folder in [
            self.folder.clone(),
            self.files(),
            self.incoming(),
            self.quarantine_folder(),
        ] {
            create_folder(&folder)?;
            self.check(&folder)?;
        }
        let tag = self.root.join("CACHEDIR.TAG");
        match create_file(&tag).and_then(|mut file| file.write_all(TAG)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(CacheError::io("create", &tag, error))
            }
            _ => Ok(()),
        }
    }

    /// Removes the folders of older builds, unless an older build is using them.
    pub(super) fn remove_older_schemas(&self) {
        let Ok(entries) = fs::read_dir(&self.root) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let schema = path
                .file_name()
                .and_then(|name| name.to_str()?.strip_prefix(PREFIX)?.parse::<u32>().ok());
            if schema.is_none_or(|schema| schema >= SCHEMA) {
                continue;
            }
            // A process that uses an index of schema 1 holds a lock on this file.
            let in_use =
                File::open(path.join("turn.lock")).is_ok_and(|lock| lock.try_lock().is_err());
            if in_use {
                continue;
            }
            match fs::remove_dir_all(&path) {
                Ok(()) => tracing::warn!(
                    path = %path.display(),
                    "removed the cached results of an older version of ratchet, which this version cannot read; their jobs run again"
                ),
                Err(error) => {
                    tracing::debug!(path = %path.display(), %error, "could not remove the cached results of an older version");
                }
            }
        }
    }

    /// Sets a damaged file aside, and removes the oldest of the files that were set aside before.
    pub(super) fn quarantine(&self, path: &Path) -> Result<(), CacheError> {
        let name = path.file_name().unwrap_or(path.as_os_str());
        let mut aside = name.to_os_string();
        aside.push(format!("-{}", unique_name()));
        fs::rename(path, self.quarantine_folder().join(aside))
            .map_err(|error| CacheError::io("set aside", path, error))?;
        let Ok(entries) = fs::read_dir(self.quarantine_folder()) else {
            return Ok(());
        };
        let mut kept: Vec<_> = entries
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        kept.sort();
        for (_, path) in kept.iter().rev().skip(MAX_QUARANTINED) {
            if let Err(error) = fs::remove_file(path) {
                tracing::debug!(path = %path.display(), %error, "could not remove an old damaged file");
            }
        }
        Ok(())
    }
}

/// Returns a name that no other process or thread uses.
pub(super) fn unique_name() -> String {
    use std::hash::{BuildHasher, RandomState};
    // Each thread has its own random keys for `RandomState`, and each call changes them.
    format!(
        "{:08x}{:016x}",
        std::process::id(),
        RandomState::new().hash_one(())
    )
}

/// Creates a folder that only its owner can enter, and its missing parents.
pub(super) fn create_folder(path: &Path) -> Result<(), CacheError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| give_to_parent_owner(path))
        .map_err(|error| CacheError::io("create", path, error))
}

/// Creates a new file that only its owner can read. It fails if the file exists.
pub(super) fn create_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    give_to_parent_owner(path)?;
    Ok(file)
}

/// Gives a file that root created in the cache of a user to that user. Otherwise the user could not read it after a run
/// under sudo.
fn give_to_parent_owner(path: &Path) -> io::Result<()> {
    if rustix::process::geteuid().is_root()
        && let Some(parent) = path.parent().filter(|parent| *parent != Path::new(""))
    {
        let owner = parent.metadata()?;
        if owner.uid() != 0 {
            std::os::unix::fs::lchown(path, Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    Ok(())
}
