//! Distinguishes a folder that is in use from one that a killed process has left behind.
//!
//! A file in the folder is locked for as long as its process lives, however the process ends. The file gets its name
//! only when it is locked. So a folder without it is just being made, or is on a file system without locks, and no
//! other process may remove it.
//!
//! The folder of a user's job gets no such file. The folder itself is locked.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// The name of the file that is locked.
const LOCK: &str = "lock";

/// The name of the file before it is locked.
const UNLOCKED: &str = "lock.new";

/// Holds a folder until this is dropped or the process has ended.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Holds a folder that was just made.
    pub(super) fn hold(folder: &Path) -> io::Result<Self> {
        let unlocked = folder.join(UNLOCKED);
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).open(&unlocked)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            fs::rename(&unlocked, folder.join(LOCK))?;
        }
        Ok(Self { _file: file })
    }

    /// Holds a folder by a lock on itself, without a file in it. On a file system without locks, no process can
    /// [tell](Self::take) that it is free.
    pub(super) fn hold_itself(folder: &Path) -> io::Result<Self> {
        let file = File::open(folder)?;
        // A process that finds it free before the lock is taken looks at its age, and the folder was just made.
        let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        Ok(Self { _file: file })
    }

    /// Takes a folder that was held by a lock on itself, unless a process still holds it.
    pub(super) fn take(folder: &Path) -> Option<Self> {
        let file = File::open(folder).ok()?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(Self { _file: file })
    }

    /// Whether the process that held a folder has left it behind.
    pub(super) fn is_left(folder: &Path) -> bool {
        let mut options = OpenOptions::new();
        let file = options.write(true).open(folder.join(LOCK));
        file.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_left_when_its_lock_is_free_and_not_while_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!FolderLock::is_left(folder.path()));
        let lock = FolderLock::hold(folder.path()).unwrap();
        assert!(!FolderLock::is_left(folder.path()));
        drop(lock);
        assert!(FolderLock::is_left(folder.path()));
    }
}
