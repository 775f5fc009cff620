//! The folders of a job file and of those that it includes.

use std::path::{Path, PathBuf};

use crate::diagnostic::Span;

/// The folder of each file of a source, with the offset at which the file begins.
#[derive(Debug, Clone)]
pub(super) struct FileFolders(Vec<(usize, Option<PathBuf>)>);

impl FileFolders {
    /// Makes the folders of a single file. Without a folder, the file is stdin.
    pub(super) fn of_one(folder: Option<&Path>) -> Self {
        Self(vec![(0, folder.map(Path::to_path_buf))])
    }

    /// Adds the folder of a file that begins at this offset.
    pub(super) fn add(&mut self, start: usize, folder: Option<PathBuf>) {
        self.0.push((start, folder));
    }

    /// Makes this the folder of the only file that begins at this offset or later.
    pub(super) fn replace_from(&mut self, start: usize, folder: PathBuf) {
        self.0.retain(|(other, _)| *other < start);
        self.add(start, Some(folder));
    }

    /// Returns the folder of the file that contains a span.
    pub(super) fn at(&self, span: Span) -> Option<&Path> {
        let before = self.0.iter().rev();
        let file = before
            .into_iter()
            .find(|(start, _)| *start <= span.start())?;
        file.1.as_deref()
    }

    /// Returns the folder of the file that was named when ratchet was called.
    pub(super) fn root(&self) -> Option<&Path> {
        self.0.first()?.1.as_deref()
    }
}
