//! The staging folder next to a target, which holds the pulled entries until all have come.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use rustix::fs::statvfs;

use super::TOP;
use crate::os::{FileError, WorkPath};
use crate::remote::files::lock::FolderLock;
use crate::remote::files::tree::{self, Tree};
use crate::remote::files::wire::STAGING_PREFIX;

/// The folders in which this process has looked for staging folders that killed processes have left.
static SEARCHED: LazyLock<Mutex<BTreeSet<PathBuf>>> = LazyLock::new(Mutex::default);

/// The number of the next folder.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A staging folder for pulled entries. Dropping it removes it.
pub(super) struct Staging {
    path: PathBuf,
    pub(super) tree: Tree,
    _lock: FolderLock,
}

impl Staging {
    /// Makes a folder on the file system of a target, so that a rename can move what is in it.
    pub(super) fn beside(target: &WorkPath) -> Result<Self, FileError> {
        let here = target.here();
        let parent = if target.name().as_os_str().is_empty() {
            &here
        } else {
            here.parent().unwrap_or(target.folder())
        };
        // The name of a file in the current folder has an empty parent.
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        Self::within(parent).map_err(|source| FileError::Write {
            path: parent.to_path_buf(),
            source,
        })
    }

    /// Makes a staging folder in this folder, and first removes old ones if the folder was not searched yet.
    fn within(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        let is_new = SEARCHED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(parent.to_path_buf());
        if is_new {
            remove_left(parent)?;
        }
        loop {
            // Relaxed: only uniqueness depends on it.
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("{STAGING_PREFIX}{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => {
                    made?;
                    let lock = FolderLock::hold(&path)?;
                    let tree = Tree::open(&path)?;
                    return Ok(Self {
                        path,
                        tree,
                        _lock: lock,
                    });
                }
            }
        }
    }

    /// Returns how many bytes the file system has room for.
    pub(super) fn free(&self) -> io::Result<u64> {
        let found = statvfs(&self.path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Renames the entry of the path itself to its target.
    pub(super) fn rename_top(&self, target: &WorkPath) -> io::Result<()> {
        fs::rename(self.path.join(TOP), target.here())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // If the removal fails now, the next run removes the folder.
        let _ = tree::remove(&self.path);
    }
}

/// Removes the staging folders that killed processes have left in a folder.
fn remove_left(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let is_ours = entry
            .file_name()
            .to_string_lossy()
            .starts_with(STAGING_PREFIX);
        if !is_ours || !entry.file_type()?.is_dir() {
            continue;
        }
        if FolderLock::is_left(&entry.path()) {
            tree::remove(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_has_left_is_removed_and_what_is_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let target = |name: &str| WorkPath::parse(folder.path(), name.as_ref()).unwrap();
        let used = folder.path().join(".ratchet-pull-1-0");
        let left = folder.path().join(".ratchet-pull-1-1");
        for path in [&used, &left] {
            fs::create_dir_all(path.join("top")).unwrap();
        }
        let lock = FolderLock::hold(&used).unwrap();
        drop(FolderLock::hold(&left).unwrap());
        let staging = Staging::beside(&target("a")).unwrap();
        assert!(used.exists() && !left.exists());
        drop((staging, lock));
        let names = fs::read_dir(folder.path()).unwrap();
        assert_eq!(names.count(), 1, "only what is in use is there");
        // The folder of a target is made.
        Staging::beside(&target("b/c/d")).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("b/c")).unwrap().count(), 0);
    }
}
