//! Where things are in the folder of a cache.
//!
//! ```text
//! CACHEDIR.TAG          tells backup programs to pass over the folder
//! results-v2/           everything of this schema; older ones are removed
//!   index-1.sqlite      the index; a damaged one is set aside and the next number is used
//!   files/ab/cdef..     large values
//!   incoming/           large values being written, and a mark of each process that has the index open
//!   quarantine/         what did not match its digest, the last few
//! ```

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::disk::ownership;
use crate::error::CacheError;

/// Changes when files of an older build can no longer be read. Schema 1 kept its index in another database.
const SCHEMA: u32 = 2;
const PREFIX: &str = "results-v";
/// How many damaged files are kept for whoever wants to know what happened.
const QUARANTINED: usize = 16;
const TAG: &[u8] =
    b"Signature: 8a477f597d28d172789f06886806bc55\n# Results that ratchet can compute again.\n";

/// The paths within the folder of a cache.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
    folder: PathBuf,
    checks_owners: bool,
}

impl Layout {
    pub(super) fn new(root: PathBuf, checks_owners: bool) -> Self {
        Self {
            checks_owners,
            folder: root.join(format!("{PREFIX}{SCHEMA}")),
            root,
        }
    }

    pub(super) fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    pub(super) fn incoming(&self) -> PathBuf {
        self.folder.join("incoming")
    }

    fn quarantine_folder(&self) -> PathBuf {
        self.folder.join("quarantine")
    }

    fn index(&self, number: u64) -> PathBuf {
        self.folder.join(format!("index-{number}.sqlite"))
    }

    /// The number of the newest index, or 1 if there is none.
    fn newest_index(&self) -> u64 {
        let number = |name: &str| {
            let digits = name.strip_prefix("index-")?.strip_suffix(".sqlite")?;
            digits.parse::<u64>().ok()
        };
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| number(entry.file_name().to_str()?));
        numbers.max().unwrap_or(1)
    }

    /// The newest index, which is made as an empty file if it is missing.
    pub(super) fn current_index(&self) -> Result<PathBuf, CacheError> {
        let path = self.index(self.newest_index());
        match create_file(&path) {
            // The database would make it readable by others. Its journals take over the mode and the owner.
            Ok(_) => Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.check(&path)?;
                Ok(path)
            }
            Err(error) => Err(CacheError::io("create", &path, error)),
        }
    }

    /// Sets a damaged index aside, and says whether it was still there.
    ///
    /// Other processes may have the index open: they go on with it until they notice. The name of an index is therefore
    /// never used again: `SQLite` finds a journal by its name, and would apply the journal of one index to another. For the
    /// same reason the next index exists before the damaged one is moved, so that nobody begins anew with an old number.
    pub(super) fn set_index_aside(&self, path: &Path) -> Result<bool, CacheError> {
        let newest = self.newest_index();
        // Another process may have begun anew already.
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
            // Most of them do not exist, and one that stays belongs to a name that is not used again.
            let _ = fs::remove_file(journal);
        }
        Ok(true)
    }

    /// Refuses what another user owns or may write, unless the whole cache is trusted.
    pub(super) fn check_owner(&self, path: &Path, metadata: &Metadata) -> Result<(), CacheError> {
        if self.checks_owners {
            ownership::check(path, metadata)
        } else {
            Ok(())
        }
    }

    fn check(&self, path: &Path) -> Result<(), CacheError> {
        let metadata = path
            .metadata()
            .map_err(|error| CacheError::io("read", path, error))?;
        self.check_owner(path, &metadata)
    }

    /// Makes the folders that are missing, and refuses those of other users.
    pub(super) fn prepare(&self) -> Result<(), CacheError> {
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

    /// Removes what older builds left, unless one of them is using it.
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
            // The process that used an index of schema 1 held a lock on this file.
            let in_use =
                File::open(path.join("turn.lock")).is_ok_and(|lock| lock.try_lock().is_err());
            if in_use {
                continue;
            }
            match fs::remove_dir_all(&path) {
                Ok(()) => tracing::warn!(
                    path = %path.display(),
                    "removed the results of an older version of ratchet, which cannot be read any more; the jobs run once again"
                ),
                Err(error) => {
                    tracing::debug!(path = %path.display(), %error, "the results of an older version stay");
                }
            }
        }
    }

    /// Sets a damaged file aside, and forgets the oldest ones of those that were.
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
        for (_, path) in kept.iter().rev().skip(QUARANTINED) {
            if let Err(error) = fs::remove_file(path) {
                tracing::debug!(path = %path.display(), %error, "a damaged file stays");
            }
        }
        Ok(())
    }
}

/// A name that nobody else has.
pub(super) fn unique_name() -> String {
    use std::hash::{BuildHasher, RandomState};
    // A `RandomState` is random for each thread and differs from call to call.
    format!(
        "{:08x}{:016x}",
        std::process::id(),
        RandomState::new().hash_one(())
    )
}

/// Makes a folder, and those it is in, that only its owner can enter.
pub(super) fn create_folder(path: &Path) -> Result<(), CacheError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| hand_over(path))
        .map_err(|error| CacheError::io("create", path, error))
}

/// Makes a new file that only its owner can read.
pub(super) fn create_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    hand_over(path)?;
    Ok(file)
}

/// Gives what root made in a user's cache (under sudo) to that user, who could not read it otherwise.
fn hand_over(path: &Path) -> io::Result<()> {
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
