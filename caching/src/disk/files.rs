//! Large values, a file each.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::layout::{Layout, create_file, create_folder, unique_name};
use crate::error::CacheError;
use crate::key::{Digest, Key};

/// The name of the file that holds a value for a key.
///
/// The key is in it, so that no two entries share a file and dropping one needs no counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileName(Key);

impl FileName {
    pub(super) fn of(key: &Key, digest: &Digest) -> Self {
        Self(Key::from_bytes(
            *blake3::keyed_hash(key.as_bytes(), digest.as_bytes()).as_bytes(),
        ))
    }

    fn path(self, layout: &Layout) -> PathBuf {
        let name = self.0.to_string();
        layout.files().join(&name[..2]).join(&name[2..])
    }
}

/// A value that is written and synced, under a name that means nothing yet.
///
/// Its file is locked while this lives. Whoever cleans up after a crash takes away only files that nobody has locked.
#[derive(Debug)]
pub(super) struct Incoming {
    path: PathBuf,
    _locked: File,
}

impl Incoming {
    pub(super) fn write(layout: &Layout, value: &[u8], sync: bool) -> Result<Self, CacheError> {
        loop {
            let path = layout.incoming().join(unique_name());
            let mut file = match create_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    layout.prepare()?;
                    create_file(&path)
                }
                other => other,
            }
            .map_err(|error| CacheError::io("create", &path, error))?;
            match file.try_lock() {
                Ok(()) => {}
                // Between making and locking it, a cleaner has taken it for a leftover, and will remove it.
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => {
                    let _ = fs::remove_file(&path);
                    return Err(CacheError::io("lock", &path, error));
                }
            }
            // Or it has removed it already.
            if file.metadata().is_ok_and(|metadata| metadata.nlink() == 0) {
                continue;
            }
            let written = file
                .write_all(value)
                .and_then(|()| if sync { file.sync_all() } else { Ok(()) });
            let incoming = Self {
                path,
                _locked: file,
            };
            return match written {
                Ok(()) => Ok(incoming),
                Err(error) => Err(CacheError::io("write", &incoming.path, error)),
            };
        }
    }

    /// Gives the file its name. Only whoever writes to the index may do so: a cleaner is then not at work.
    pub(super) fn install(self, layout: &Layout, name: FileName) -> Result<(), CacheError> {
        let path = name.path(layout);
        if let Some(folder) = path.parent() {
            create_folder(folder)?;
        }
        fs::rename(&self.path, &path).map_err(|error| CacheError::io("rename", &self.path, error))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Once installed, there is nothing left under this name.
        let _ = fs::remove_file(&self.path);
    }
}

/// What a value file turned out to be.
#[derive(Debug)]
pub(super) enum FileValue {
    Whole(Arc<[u8]>),
    Missing,
    Damaged,
}

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
    // Read into its place at once: a value of some megabytes is not to be copied.
    let mut value: Arc<[u8]> = std::iter::repeat_n(0, size).collect();
    if let Some(bytes) = Arc::get_mut(&mut value) {
        match file.read_exact(bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(FileValue::Damaged);
            }
            other => other.map_err(io_error)?,
        }
    }
    let whole = Digest::of(&value) == digest;
    Ok(if whole {
        FileValue::Whole(value)
    } else {
        FileValue::Damaged
    })
}

pub(super) fn remove(layout: &Layout, name: FileName) {
    let path = name.path(layout);
    if let Err(error) = fs::remove_file(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(path = %path.display(), %error, "the file of a dropped entry stays until the next cleaning");
    }
}

pub(super) fn quarantine(layout: &Layout, name: FileName) -> Result<(), CacheError> {
    layout.quarantine(&name.path(layout))
}

/// Files being written, or marks of processes that have the index open, of processes that no longer live.
pub(super) fn leftovers(layout: &Layout) -> Vec<PathBuf> {
    let mut found = files_in(&layout.incoming());
    found.retain(|path| File::open(path).is_ok_and(|file| file.try_lock().is_ok()));
    found
}

/// Removes the files that no entry refers to, which a crash may leave. Only whoever writes to the index may do so: a file
/// gets its name before its entry is committed.
pub(super) fn clean(layout: &Layout, referred: &HashSet<FileName>) {
    let referred: HashSet<PathBuf> = referred.iter().map(|name| name.path(layout)).collect();
    let folders = files_in(&layout.files());
    for path in folders.iter().flat_map(|folder| files_in(folder)) {
        if !referred.contains(&path) {
            let _ = fs::remove_file(&path);
        }
    }
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}
