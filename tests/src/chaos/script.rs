//! The script of a soak: a file that workers and commands read when they start, and that the driver edits in the
//! meantime.
//!
//! Its content is a number, and each result has the content from which it was computed.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A way to write a file, of those that editors use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    /// Overwrites the old content, so that the inode stays the same.
    InPlace,
    /// Writes another file and renames it, so that the inode changes.
    Renamed,
}

/// Changes the content, so that no reader ever sees half of it.
pub(super) fn edit(path: &Path, content: u32, how: Edit) -> io::Result<()> {
    let text = text(content);
    match how {
        Edit::InPlace => {
            // A single write of the same number of bytes: a reader sees the old bytes or the new ones.
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            file.write_all_at(text.as_bytes(), 0)
        }
        Edit::Renamed => {
            let other = path.with_extension("new");
            fs::write(&other, text)?;
            fs::rename(&other, path)
        }
    }
}

/// Reads the content of the script.
pub(super) fn read(path: &Path) -> io::Result<u32> {
    let text = fs::read_to_string(path)?;
    let content = text.trim_end().strip_prefix("content ");
    let content = content.and_then(|number| number.parse().ok());
    content.ok_or_else(|| io::Error::other(format!("{} is no script: {text:?}", path.display())))
}

/// Returns the text of a content. All texts have the same length.
fn text(content: u32) -> String {
    format!("content {content:010}\n")
}
