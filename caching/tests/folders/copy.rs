//! Copies of cache folders.

use std::fs;
use std::path::Path;

/// Copies the files of a folder as they are at this moment, without pipes and other special files.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).into_iter().flatten() {
        let item = item.unwrap();
        let (source, target) = (item.path(), to.join(item.file_name()));
        let kind = item.file_type().unwrap();
        if kind.is_dir() {
            copy_folder(&source, &target);
        } else if kind.is_file() {
            fs::copy(source, target).unwrap();
        }
    }
}
