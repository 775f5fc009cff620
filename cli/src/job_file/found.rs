//! Finds job files.

use std::io;
use std::path::{Path, PathBuf};

use super::error::FileError;
use crate::document::DocumentFormat;
use crate::value;

/// A file that exists, and whose name tells its format.
pub(super) struct FoundFile {
    /// What messages call it.
    pub(super) name: String,
    /// Its format.
    pub(super) format: DocumentFormat,
    /// The folder in which it lies.
    pub(super) folder: PathBuf,
}

impl FoundFile {
    /// Finds a file, or returns why it cannot be a job file.
    pub(super) fn at(path: &Path) -> Result<Self, FileError> {
        let name = path.display().to_string();
        let unreadable = |source| FileError::Unreadable {
            name: name.clone(),
            source,
        };
        let found = match std::fs::metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let similar = similar(path);
                return Err(FileError::Missing { name, similar });
            }
            Err(error) => return Err(unreadable(error)),
        };
        if found.is_dir() {
            return Err(FileError::Folder { name });
        }
        let Some(format) = DocumentFormat::of(path) else {
            return Err(FileError::Format { name });
        };
        let path = std::path::absolute(path).map_err(unreadable)?;
        let folder = path.parent().unwrap_or(&path).to_path_buf();
        Ok(Self {
            name,
            format,
            folder,
        })
    }
}

/// Returns the path of a job file in the same folder that has almost this name.
fn similar(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let names: Vec<String> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| DocumentFormat::of(Path::new(name)).is_some())
        .collect();
    let near = value::closest(name, names.iter().map(String::as_str))?;
    Some(path.with_file_name(near).display().to_string())
}
