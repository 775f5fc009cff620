//! Paths that a job file names.

use std::path::{Path, PathBuf};

/// Returns a path of a file, relative to the folder of the file.
pub(super) fn within(folder: Option<&Path>, path: impl Into<PathBuf>) -> PathBuf {
    let path = path.into();
    match folder {
        Some(folder) => folder.join(path),
        None => path,
    }
}
