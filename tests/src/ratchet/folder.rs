//! A folder with files in it, which is gone after the test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

/// A folder of its own for a test; it lasts as long as a clone of this does.
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
    /// An empty one.
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap_or_else(|error| panic!("there is no folder: {error}"));
        // As programs see it that ask where they are.
        let path = folder.path().canonicalize();
        let path = path.unwrap_or_else(|error| panic!("the folder has no path: {error}"));
        Self {
            path,
            _folder: Arc::new(folder),
        }
    }

    /// Puts a file into it, and folders on the way there.
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

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something in it.
    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Text in which this folder is called `FOLDER`, as it is a different one each time.
    pub fn settled(&self, text: &str) -> String {
        text.replace(&self.path.display().to_string(), "FOLDER")
    }
}
