//! Input files in the state in which they were read.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::error::CacheError;
use crate::fingerprint::hasher::FileHasher;
use crate::fingerprint::programs::{MAX_FILES_IN_FOLDER, ProgramStamps, files_named_by};
use crate::fingerprint::walk::{self, Depth, InputDigest};

/// Input files in the state in which they were read.
///
/// Its methods read files, so they block: call them on a thread that may block (`tokio::task::spawn_blocking`).
///
/// ```
/// use ratchet_caching::{FileHasher, InputFiles};
/// # let folder = tempfile::tempdir()?;
/// # let base = folder.path();
///
/// std::fs::write(base.join("a.csv"), "1,2,3")?;
/// let hasher = FileHasher::default();
/// let inputs = InputFiles::read(&hasher, base, ["a.csv"])?;
/// assert_eq!(inputs.verify(&hasher), Ok(()));
///
/// std::fs::write(base.join("a.csv"), "1,2,4")?;
/// assert!(inputs.verify(&hasher).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFiles {
    /// The folder to which relative paths refer.
    base: PathBuf,
    files: Vec<InputDigest>,
}

/// The error for an input file that has changed since it was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the input {} changed", path.display())]
pub struct InputChanged {
    /// The file or the folder, as declared.
    pub path: PathBuf,
}

impl InputFiles {
    /// Reads the declared files and folders. Relative paths refer to `base`.
    ///
    /// The path as declared, the permission bits and the content are included. For a folder, every name in it is
    /// included, and a link with its target path and with what it leads to. A path that does not exist is an error, and
    /// so is anything that is neither a file nor a folder.
    pub fn read<I>(hasher: &FileHasher, base: &Path, declared: I) -> Result<Self, CacheError>
    where
        I: IntoIterator,
        I::Item: Into<PathBuf>,
    {
        let declared = declared.into_iter().map(Into::into);
        Self::read_within(usize::MAX, hasher, base, declared)
    }

    /// Reads the files that a command line runs or mentions, see [`ProgramStamps`].
    ///
    /// A file that cannot be read is an error, and so is a folder with more than some thousand files, because then it
    /// is unknown what a result depends on.
    pub fn of_command(
        hasher: &FileHasher,
        base: &Path,
        command: &[OsString],
        search_path: Option<&OsStr>,
    ) -> Result<Self, CacheError> {
        let named = files_named_by(base, command, search_path);
        Self::read_within(MAX_FILES_IN_FOLDER, hasher, base, named)
    }

    /// Reads files and folders. Each folder may contain at most `limit` files.
    fn read_within(
        limit: usize,
        hasher: &FileHasher,
        base: &Path,
        paths: impl IntoIterator<Item = PathBuf>,
    ) -> Result<Self, CacheError> {
        let files = paths
            .into_iter()
            .map(|path| walk::read(Depth::Contents(hasher), base, path, limit))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            base: base.to_path_buf(),
            files,
        })
    }

    /// Reads the files again, and compares them with their state before.
    ///
    /// Content that was changed and changed back counts as a change, because a job may have read it in between. A file
    /// that can no longer be read counts as changed.
    pub fn verify(&self, hasher: &FileHasher) -> Result<(), InputChanged> {
        for before in &self.files {
            let depth = Depth::Contents(hasher);
            let now = walk::read(depth, &self.base, before.declared.clone(), usize::MAX);
            if !now.is_ok_and(|now| now == *before) {
                return Err(InputChanged {
                    path: before.declared.clone(),
                });
            }
        }
        Ok(())
    }

    /// Whether the files still have these stamps. If so, the content that was read is the content that the files had
    /// when the stamps were taken.
    pub fn have_stamps(&self, stamps: &ProgramStamps) -> bool {
        let mine = self.files.iter().map(|file| (&file.declared, &file.stamps));
        mine.eq(stamps.iter())
    }

    /// Whether there are no files.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Iterates over the digests of all declared files and folders.
    pub(super) fn iter(&self) -> impl Iterator<Item = &InputDigest> {
        self.files.iter()
    }
}

#[cfg(test)]
mod tests;
