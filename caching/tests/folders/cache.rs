//! Cache folders for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ratchet_caching::{DiskOptions, Entry, Key, Metadata};
use tempfile::TempDir;

/// The limit of inline values in these tests.
pub(crate) const INLINE: u64 = 1_000;

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) fn options(folder: &TempDir) -> DiskOptions {
    DiskOptions::at(folder.path().join("cache")).inline_limit(INLINE)
}

pub(crate) fn key(name: &str) -> Key {
    Key::of(name.as_bytes())
}

pub(crate) fn entry(value: &[u8]) -> Entry {
    Entry::new(value, Metadata::new(SystemTime::UNIX_EPOCH))
}

/// Lists all files below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for item in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = item.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub(crate) fn schema_folder(folder: &TempDir) -> PathBuf {
    folder.path().join("cache/results-v2")
}
