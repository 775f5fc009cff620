//! The script of a soak: a file that workers and commands read when they start, and that is edited meanwhile.
//!
//! Its content is a number, and whoever computes a result says by which content.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How an editor writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    /// Over the old content. The file stays the same.
    InPlace,
    /// Into another file that then gets the name.
    Renamed,
}

/// Changes the content. Nobody ever reads half of it.
pub(super) fn edit(path: &Path, content: u32, how: Edit) -> io::Result<()> {
    let text = text(content);
    match how {
        Edit::InPlace => {
            // One write of as many bytes as there were: the system shows the old ones or the new ones.
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

/// Reads the content.
pub(super) fn read(path: &Path) -> io::Result<u32> {
    let text = fs::read_to_string(path)?;
    let content = text.trim_end().strip_prefix("content ");
    let content = content.and_then(|number| number.parse().ok());
    content.ok_or_else(|| io::Error::other(format!("{} is no script: {text:?}", path.display())))
}

/// The same number of bytes for every content.
fn text(content: u32) -> String {
    format!("content {content:010}\n")
}
