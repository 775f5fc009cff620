//! The folders of a job file and of those that it includes.

use std::path::{Path, PathBuf};

use crate::diagnostic::Span;

/// The folders of the files of a source: where each file begins, and its folder.
#[derive(Debug, Clone)]
pub(super) struct Folders(Vec<(usize, Option<PathBuf>)>);

impl Folders {
    /// The folder of a single file; nothing for stdin.
    pub(super) fn of_one(folder: Option<&Path>) -> Self {
        Self(vec![(0, folder.map(Path::to_path_buf))])
    }

    /// Adds the folder of a file that begins at this offset.
    pub(super) fn add(&mut self, start: usize, folder: Option<PathBuf>) {
        self.0.push((start, folder));
    }

    /// The folder of the file in which a span is.
    pub(super) fn at(&self, span: Span) -> Option<&Path> {
        let before = self.0.iter().rev();
        let file = before
            .into_iter()
            .find(|(start, _)| *start <= span.start())?;
        file.1.as_deref()
    }

    /// The folder of the file that was named when ratchet was called.
    pub(super) fn root(&self) -> Option<&Path> {
        self.0.first()?.1.as_deref()
    }
}
