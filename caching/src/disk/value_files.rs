//! Large values, each in a file.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::layout::{Layout, create_file, create_folder, unique_name};
use crate::error::CacheError;
use crate::key::{Digest, Key};

/// The name of the file of one value under one key.
///
/// No two entries share a file, because the key is part of the name. So an entry and its file are removed together,
/// without counting references.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileName(Key);

impl FileName {
    /// Makes the name of the file for a value.
    pub(super) fn of(key: &Key, digest: &Digest) -> Self {
        let hash = blake3::keyed_hash(key.as_bytes(), digest.as_bytes());
        Self(Key::from_bytes(*hash.as_bytes()))
    }

    fn path(self, layout: &Layout) -> PathBuf {
        let name = self.0.to_string();
        layout.files().join(&name[..2]).join(&name[2..])
    }
}

/// A value that is written and synced under a temporary name.
///
/// The file is locked while this exists. The cleanup after a crash removes only files that are not locked.
#[derive(Debug)]
pub(super) struct PendingFile {
    path: PathBuf,
    /// Holds the lock on the file.
    _locked: File,
}

impl PendingFile {
    /// Writes a value to a new temporary file.
    pub(super) fn write(layout: &Layout, value: &[u8], sync: bool) -> Result<Self, CacheError> {
        loop {
            let path = layout.incoming().join(unique_name());
            let mut file = match create_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    layout.create_folders()?;
                    create_file(&path)
                }
                other => other,
            }
            .map_err(|error| CacheError::io("create", &path, error))?;
            match file.try_lock() {
                Ok(()) => {}
                // Another process was cleaning up between the two calls. It took the file for a leftover and will
                // remove it.
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => {
                    let _ = fs::remove_file(&path);
                    return Err(CacheError::io("lock", &path, error));
                }
            }
            // Or the other process has already removed it.
            if file.metadata().is_ok_and(|metadata| metadata.nlink() == 0) {
                continue;
            }
            let written = file
                .write_all(value)
                .and_then(|()| if sync { file.sync_all() } else { Ok(()) });
            let pending = Self {
                path,
                _locked: file,
            };
            return match written {
                Ok(()) => Ok(pending),
                Err(error) => Err(CacheError::io("write", &pending.path, error)),
            };
        }
    }

    /// Renames the file to its final name. Call it only within a transaction, because a cleanup also runs within one.
    pub(super) fn install(self, layout: &Layout, name: FileName) -> Result<(), CacheError> {
        let path = name.path(layout);
        if let Some(folder) = path.parent() {
            create_folder(folder)?;
        }
        fs::rename(&self.path, &path).map_err(|error| CacheError::io("rename", &self.path, error))
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        // After `install` there is no file of this name. If a file stays here, the next cleanup removes it.
        let _ = fs::remove_file(&self.path);
    }
}

/// The result of reading a value file.
#[derive(Debug)]
pub(super) enum FileValue {
    /// The value is unchanged since it was stored.
    Intact(Arc<[u8]>),
    /// There is no such file.
    Missing,
    /// The file has a wrong size or digest.
    Damaged,
}

/// Reads a value, and checks its owner, its size and its digest.
pub(super) fn read(
    layout: &Layout,
    name: FileName,
    size: u64,
    digest: Digest,
) -> Result<FileValue, CacheError> {
    let path = name.path(layout);
    let io_error = |error| CacheError::io("read", &path, error);
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FileValue::Missing),
        other => other.map_err(io_error)?,
    };
    let metadata = file.metadata().map_err(io_error)?;
    layout.check_owner(&path, &metadata)?;
    let Some(size) = usize::try_from(size)
        .ok()
        .filter(|_| metadata.len() == size)
    else {
        return Ok(FileValue::Damaged);
    };
    // Read into the final buffer, because copying a value of several megabytes takes as long as reading it.
    let mut value: Arc<[u8]> = std::iter::repeat_n(0, size).collect();
    #[expect(
        clippy::expect_used,
        reason = "the pointer was made above and was not shared"
    )]
    let bytes = Arc::get_mut(&mut value).expect("nobody else has the value yet");
    match file.read_exact(bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Ok(FileValue::Damaged);
        }
        other => other.map_err(io_error)?,
    }
    Ok(if Digest::of(&value) == digest {
        FileValue::Intact(value)
    } else {
        FileValue::Damaged
    })
}

/// Removes the file of an entry that is gone.
pub(super) fn remove(layout: &Layout, name: FileName) {
    let path = name.path(layout);
    if let Err(error) = fs::remove_file(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(path = %path.display(), %error, "the file of a removed cache entry stays until the next cleaning");
    }
}

/// Sets a damaged file aside.
pub(super) fn quarantine(layout: &Layout, name: FileName) -> Result<(), CacheError> {
    layout.quarantine(&name.path(layout))
}

/// Finds the files that killed processes left in the folder of pending files: values and open markers.
pub(super) fn leftovers(layout: &Layout) -> Vec<PathBuf> {
    let mut found = files_in(&layout.incoming());
    found.retain(|path| File::open(path).is_ok_and(|file| file.try_lock().is_ok()));
    found
}

/// Removes the value files that belong to no entry, which a crash may leave behind.
///
/// Call it only within a transaction: a file gets its name before its entry is committed.
pub(super) fn remove_all_but(layout: &Layout, referred: &HashSet<FileName>) {
    let referred: HashSet<PathBuf> = referred.iter().map(|name| name.path(layout)).collect();
    let folders = files_in(&layout.files());
    for path in folders.iter().flat_map(|folder| files_in(folder)) {
        if !referred.contains(&path) {
            // A file that cannot be removed only takes space, and the next cleanup tries again.
            let _ = fs::remove_file(&path);
        }
    }
}

/// Lists the paths in a folder. A folder that cannot be read counts as empty, so that a later process cleans it up.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}
