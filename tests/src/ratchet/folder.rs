//! A temporary folder for a test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

/// A temporary folder of a test. It is removed when its last clone is dropped.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    _folder: Arc<TempDir>,
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Folder {
    /// Makes an empty folder.
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap_or_else(|error| panic!("there is no folder: {error}"));
        // Programs that ask for their working directory get the path without symbolic links.
        let path = folder.path().canonicalize();
        let path = path.unwrap_or_else(|error| panic!("the folder has no path: {error}"));
        Self {
            path,
            _folder: Arc::new(folder),
        }
    }

    /// Writes a file in the folder, and makes the folders on its path.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path.join(name);
        let written = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, content));
        written.unwrap_or_else(|error| panic!("{name} cannot be written: {error}"));
        self
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of a file or folder in this folder.
    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Replaces the path of the folder in a text by `FOLDER`, because the path is different in each run.
    pub fn settled(&self, text: &str) -> String {
        text.replace(&self.path.display().to_string(), "FOLDER")
    }
}
