//! The messages about files in both directions: manifests, answers, and the heads of what is pulled.

use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::remote::message::WireText;

/// The highest number of bytes of a manifest: that of about half a million files.
pub(super) const MANIFEST_BYTES: usize = 64 << 20;

/// The highest number of bytes of an answer. The longest one names each content of a manifest.
pub(super) const ANSWER_BYTES: usize = 64 << 20;

/// The highest number of bytes of the name of a file, with those of its folders. Linux takes no longer paths.
const LONGEST_NAME: usize = 4096;

/// The prefix of the names of the folders in which pulled files wait until all have come.
pub(super) const STAGING_PREFIX: &str = ".ratchet-pull-";

/// The bits of a mode that are kept. A file that is copied gets no rights of its owner there, such as setuid.
pub(super) const MODE_BITS: u32 = 0o777;

/// The BLAKE3 digest of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(in crate::remote) struct ContentDigest(pub(super) [u8; 32]);

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl std::str::FromStr for ContentDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hash = blake3::Hash::from_hex(text).map_err(|_| format!("{text:?} is not a digest"))?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl TryFrom<String> for ContentDigest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ContentDigest> for String {
    fn from(digest: ContentDigest) -> Self {
        digest.to_string()
    }
}

/// The contents of a work folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The name of the folder, if it is to be kept.
    pub(super) keep: Option<String>,
    /// The entries. A folder comes before its entries.
    pub(super) entries: Vec<ManifestEntry>,
}

/// A file, folder or link of a work folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ManifestEntry {
    /// Its name within the work folder.
    pub(super) name: WireText,
    /// Its kind.
    pub(super) is: ManifestKind,
}

/// The kind of an entry of a work folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ManifestKind {
    /// A file with a content that the store has.
    File {
        digest: ContentDigest,
        size: u64,
        mode: u32,
    },
    /// A folder.
    Folder { mode: u32 },
    /// A symbolic link.
    Link { target: WireText },
}

/// The answer to a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FolderAnswer {
    /// The folder was made at this path.
    Made { folder: WireText },
    /// The store lacks these contents.
    Missing { contents: Vec<ContentDigest> },
}

/// The paths that are to be pulled, by their names in the work folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PullRequest {
    pub(super) paths: Vec<PulledPath>,
}

/// A path that is to be pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PulledPath {
    /// Its name within the work folder.
    pub(super) name: WireText,
    /// Whether it is a folder. A link may lead to the folder.
    pub(super) is_folder: bool,
}

/// The head of a file, folder or link that is pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PulledEntry {
    /// The number of the path that it belongs to.
    pub(super) path: usize,
    /// Its name beneath that path; empty for the path itself.
    pub(super) name: WireText,
    /// Its kind.
    pub(super) is: PulledKind,
}

/// The kind of an entry that is pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PulledKind {
    /// A file of this size, whose content follows.
    File { size: u64, mode: u32 },
    /// A folder.
    Folder { mode: u32 },
    /// A symbolic link.
    Link { target: WireText },
}

/// What went wrong on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Problem {
    /// The process has not made the path of this number.
    NotMade { path: usize },
    /// Another problem, with a message for people.
    Other { message: String },
}

impl Problem {
    /// Makes a problem that names what failed, and why.
    pub(super) fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        Self::Other {
            message: format!("{what}: {error}"),
        }
    }
}

/// Reads the name of an entry. It has to be relative, and none of its parts may lead elsewhere.
pub(super) fn relative(name: WireText) -> Result<PathBuf, &'static str> {
    let name = PathBuf::from(std::ffi::OsString::from(name));
    if name.as_os_str().len() > LONGEST_NAME {
        return Err("its name is too long");
    }
    if name.as_os_str().as_encoded_bytes().contains(&0) {
        return Err("its name has a NUL character");
    }
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if !name.components().all(is_plain) {
        return Err("its name leads out of its folder");
    }
    // Doubled slashes and dots were dropped.
    Ok(name.components().collect())
}

/// Whether a link leads out of a folder. `depth` is the number of folders between that folder and the link.
///
/// Only leading `..` are allowed. After the name of another link, a `..` would lead to wherever the target of that link
/// is.
pub(super) fn leads_outside(target: &Path, depth: usize) -> bool {
    let mut up = 0;
    let mut is_leading = true;
    for part in target.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if is_leading => up += 1,
            Component::Normal(_) => is_leading = false,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    up > depth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_an_entry_stays_beneath_its_folder() {
        let read = |name: &str| relative(WireText::from(std::ffi::OsStr::new(name)));
        assert_eq!(read("a//b/./c"), Ok(PathBuf::from("a/b/c")));
        assert_eq!(read(""), Ok(PathBuf::new()));
        for name in ["..", "a/../b", "/a", "./../a", "a\0"] {
            assert!(read(name).is_err(), "{name:?}");
        }
        assert!(read(&"a/".repeat(3000)).is_err());
    }

    #[test]
    fn a_link_may_lead_only_to_what_lies_in_its_folder() {
        let outside = |target: &str, depth| leads_outside(Path::new(target), depth);
        assert!(!outside("a/b", 0) && !outside("./a", 0) && !outside("../../a", 2));
        assert!(outside("/a", 5) && outside("..", 0) && outside("../../a", 1));
        // `a` may be a link to a folder higher up.
        assert!(outside("a/../b", 5));
    }
}
