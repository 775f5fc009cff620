//! Tells a folder that is in use from one that a killed process has left.
//!
//! A file in the folder is locked as long as its process lives, whatever becomes of that. The file gets its name when it is
//! locked. So a folder without it is just being made, or lies on a file system without locks, and is nobody's to remove.
//!
//! The folder of a user's job gets no such file. It is locked itself.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// The name of the file that is locked.
const LOCK: &str = "lock";

/// The name of the file before it is locked.
const UNLOCKED: &str = "lock.new";

/// Holds a folder for this process until this is dropped, or the process has ended.
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

    /// Holds a folder without a file in it. On a file system without locks nobody can [tell](Self::take) that it is free.
    pub(super) fn hold_itself(folder: &Path) -> io::Result<Self> {
        let file = File::open(folder)?;
        // Whoever finds it free meanwhile looks at its age, and it was just made.
        let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        Ok(Self { _file: file })
    }

    /// Takes a folder that was held without a file in it, if nobody holds it any more.
    pub(super) fn take(folder: &Path) -> Option<Self> {
        let file = File::open(folder).ok()?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(Self { _file: file })
    }

    /// Whether a process has left a folder that it held.
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
