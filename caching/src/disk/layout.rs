//! Where things are in the folder of a cache.
//!
//! ```text
//! CACHEDIR.TAG          tells backup programs to pass over the folder
//! results-v1/           everything of this schema; older ones are removed
//!   index.redb          records, and small values
//!   files/ab/cdef..     large values
//!   incoming/           large values being written
//!   quarantine/         what did not match its digest, the last few
//!   turn.lock queue.lock bell    see `turn`
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::CacheError;

/// Changes when files of an older build can no longer be read.
const SCHEMA: u32 = 1;
const PREFIX: &str = "results-v";
/// How many damaged files are kept for whoever wants to know what happened.
const QUARANTINED: usize = 16;
const TAG: &[u8] =
    b"Signature: 8a477f597d28d172789f06886806bc55\n# Results that ratchet can compute again.\n";

#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
    folder: PathBuf,
}

impl Layout {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            folder: root.join(format!("{PREFIX}{SCHEMA}")),
            root,
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn index(&self) -> PathBuf {
        self.folder.join("index.redb")
    }

    pub(super) fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    pub(super) fn incoming(&self) -> PathBuf {
        self.folder.join("incoming")
    }

    pub(super) fn turn_lock(&self) -> PathBuf {
        self.folder.join("turn.lock")
    }

    pub(super) fn queue_lock(&self) -> PathBuf {
        self.folder.join("queue.lock")
    }

    pub(super) fn bell(&self) -> PathBuf {
        self.folder.join("bell")
    }

    fn quarantine_folder(&self) -> PathBuf {
        self.folder.join("quarantine")
    }

    /// Makes the folders that are missing.
    pub(super) fn prepare(&self) -> Result<(), CacheError> {
        for folder in [self.files(), self.incoming(), self.quarantine_folder()] {
            create_folder(&folder)?;
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
            let in_use =
                File::open(path.join("turn.lock")).is_ok_and(|lock| lock.try_lock().is_err());
            if !in_use && let Err(error) = fs::remove_dir_all(&path) {
                tracing::debug!(path = %path.display(), %error, "results of an older schema stay");
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
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| CacheError::io("create", path, error))
}

/// Makes a new file that only its owner can read.
pub(super) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Opens a file to read and write, and makes it if it is missing.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}
