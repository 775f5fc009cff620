//! The files that a process gets from this machine, and those that come back from it.
//!
//! A process on another host that has such files runs in a *work folder* of its own, which has the pushed files under
//! their names. On this machine the files stay where they are, and it is only checked that they exist.

use std::ffi::OsStr;
use std::fmt;
use std::fs::symlink_metadata;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use thiserror::Error;

/// A file or a folder that has the same name in a folder of this machine and in a work folder.
///
/// ```
/// use std::path::Path;
/// use ratchet_runtime::process::WorkPath;
///
/// let model = WorkPath::parse(Path::new("/srv/app"), "model/".as_ref())?;
/// assert_eq!(model.here(), Path::new("/srv/app/model"));
/// assert_eq!(model.name(), Path::new("model"));
///
/// // What stands before `/./` is no part of the name.
/// let input = WorkPath::parse(Path::new("/srv/app"), "/data/./in/a.png".as_ref())?;
/// assert_eq!(input.here(), Path::new("/data/in/a.png"));
/// assert_eq!(input.name(), Path::new("in/a.png"));
///
/// assert_eq!(input.within(Path::new("web1")).here(), Path::new("/data/web1/in/a.png"));
///
/// assert!(WorkPath::parse(Path::new("/srv/app"), "../secret".as_ref()).is_err());
/// # Ok::<(), ratchet_runtime::process::WorkPathError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkPath {
    folder: PathBuf,
    name: PathBuf,
    is_folder: bool,
}

/// The reason for which a path cannot be pushed or pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WorkPathError {
    /// The path is empty.
    #[error("the path is empty")]
    Empty,
    /// The path has a NUL character.
    #[error("the path contains a NUL character")]
    Nul,
    /// The path is absolute, so it would lie outside of the work folder.
    #[error(
        "an absolute path lies outside of the work folder: `/./` says where its name there begins, as in `/data/./in.png`"
    )]
    Absolute,
    /// The path leads out of the folder that it is relative to.
    #[error(
        "`..` leads out of the work folder: `/./` says where the name there begins, as in `../data/./in.png`"
    )]
    Outside,
}

impl WorkPath {
    /// Reads a path that is relative to a folder. If it has a `/./` in it, only the part after that is its name in a
    /// work folder.
    pub fn parse(folder: &Path, text: &OsStr) -> Result<Self, WorkPathError> {
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return Err(WorkPathError::Empty);
        }
        if bytes.contains(&0) {
            return Err(WorkPathError::Nul);
        }
        let cut = bytes.windows(3).position(|window| window == b"/./");
        let (folder, name) = match cut {
            None => (folder.to_path_buf(), bytes),
            // The slash is kept, or the root would become an empty path.
            Some(cut) => (
                folder.join(OsStr::from_bytes(&bytes[..=cut])),
                trim_slashes(&bytes[cut + 3..]),
            ),
        };
        if name.first() == Some(&b'/') {
            return Err(WorkPathError::Absolute);
        }
        let mut normal = PathBuf::new();
        for component in Path::new(OsStr::from_bytes(name)).components() {
            match component {
                Component::Normal(part) => normal.push(part),
                Component::CurDir => {}
                Component::ParentDir => return Err(WorkPathError::Outside),
                Component::RootDir | Component::Prefix(_) => return Err(WorkPathError::Absolute),
            }
        }
        Ok(Self {
            folder,
            is_folder: normal.as_os_str().is_empty() || name.ends_with(b"/"),
            name: normal,
        })
    }

    /// Returns a path with the same name in a work folder, but here in a folder within the one that it was relative to.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Self {
        self.folder.push(folder);
        self
    }

    /// Returns the folder here that the name is relative to.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the name in a work folder. It is empty for the folder itself.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Returns the path here.
    pub fn here(&self) -> PathBuf {
        if self.name.as_os_str().is_empty() {
            self.folder.clone()
        } else {
            self.folder.join(&self.name)
        }
    }

    /// Whether the path was written as that of a folder, with a slash at its end. A link may lead to such a folder.
    pub fn is_folder(&self) -> bool {
        self.is_folder
    }
}

fn trim_slashes(mut bytes: &[u8]) -> &[u8] {
    while let Some(rest) = bytes.strip_prefix(b"/") {
        bytes = rest;
    }
    bytes
}

impl fmt::Display for WorkPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let here = self.here().into_os_string().into_vec();
        f.write_str(&String::from_utf8_lossy(&here))
    }
}

/// The files that a process gets, and those that come back when it has succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkFiles {
    /// The files and folders that are in the work folder when the process starts.
    pub push: Vec<WorkPath>,
    /// The files and folders that are brought back.
    pub pull: Vec<WorkPath>,
    /// The name of the work folder if it is to be kept; `None` if it is to be removed when the process has ended.
    pub keep: Option<String>,
}

impl WorkFiles {
    /// Checks that the files that a process on this machine needs exist.
    pub(super) fn check_pushed(&self) -> Result<(), FileError> {
        for path in &self.push {
            check_there(path, |path| FileError::Missing { path })?;
        }
        Ok(())
    }

    /// Checks that a process on this machine has made the files that it was to make.
    pub(super) fn check_pulled(&self) -> Result<(), FileError> {
        check_made(&self.pull)
    }
}

/// Checks that files are there that something on this machine was to make.
pub(crate) fn check_made(paths: &[WorkPath]) -> Result<(), FileError> {
    for path in paths {
        check_there(path, |path| FileError::NotMade { path })?;
    }
    Ok(())
}

fn check_there(path: &WorkPath, missing: fn(PathBuf) -> FileError) -> Result<(), FileError> {
    let path = path.here();
    match symlink_metadata(&path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing(path)),
        Err(source) => Err(FileError::Read { path, source }),
    }
}

/// The reason for which files could not be pushed to a host, or pulled back.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file that is to be pushed does not exist.
    #[error("`{}` has to be pushed, but does not exist", path.display())]
    Missing {
        /// The path here.
        path: PathBuf,
    },
    /// A file cannot be pushed because of its kind.
    #[error("`{}` cannot be pushed: {reason}", path.display())]
    NotPushable {
        /// The path here.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A file here cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// The path here.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A file changed between its hashing and its sending.
    #[error("`{}` changed while it was pushed", path.display())]
    Changed {
        /// The path here.
        path: PathBuf,
    },
    /// The host could not do its part. The error holds the message from there, without control characters.
    #[error("host `{host}` says: {message}")]
    OnHost {
        /// The name of the host.
        host: String,
        /// The message of the host.
        message: String,
    },
    /// A file that is to be pulled does not exist.
    #[error("`{}` has to be pulled, but the process has not made it", path.display())]
    NotMade {
        /// The path, as it is here.
        path: PathBuf,
    },
    /// A host sent something that it is not allowed to send.
    #[error("what host `{host}` sent for `{}` is refused: {reason}", path.display())]
    Refused {
        /// The name of the host.
        host: String,
        /// The path here.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A file here cannot be written.
    #[error("`{}` cannot be written", path.display())]
    Write {
        /// The path here.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The host has no agent, and nothing else can transfer files there.
    #[error("its host has no agent (`agent: none`), and only an agent brings files there and back")]
    NoAgent,
    /// The files could not be transferred within the time that an attempt may take.
    #[error("its files were not {direction} within its time limit")]
    TooSlow {
        /// The direction of the transfer.
        direction: Direction,
    },
}

/// The direction in which files are transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the host.
    Push,
    /// From the host.
    Pull,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Push => "pushed",
            Self::Pull => "pulled",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(String, String, bool), WorkPathError> {
        let path = WorkPath::parse(Path::new("/base"), text.as_ref())?;
        let text = |path: &Path| path.display().to_string();
        Ok((text(&path.here()), text(path.name()), path.is_folder()))
    }

    #[test]
    fn a_path_has_a_place_here_and_a_name_in_the_work_folder() {
        for (text, here, name, is_folder) in [
            ("a", "/base/a", "a", false),
            ("./a//b/./../c", "", "", false),
            ("a/b/", "/base/a/b", "a/b", true),
            (".", "/base", "", true),
            ("/data/./in/a", "/data/in/a", "in/a", false),
            ("/./etc/x", "/etc/x", "etc/x", false),
            ("out/./in//file", "/base/out/in/file", "in/file", false),
            ("../up/.//a", "/base/../up/a", "a", false),
        ] {
            let expected = (here.to_owned(), name.to_owned(), is_folder);
            if here.is_empty() {
                assert_eq!(parse(text), Err(WorkPathError::Outside), "{text}");
            } else {
                assert_eq!(parse(text), Ok(expected), "{text}");
            }
        }
    }

    #[test]
    fn a_path_outside_of_the_work_folder_is_refused() {
        assert_eq!(parse(""), Err(WorkPathError::Empty));
        assert_eq!(parse("a\0b"), Err(WorkPathError::Nul));
        assert_eq!(parse("/etc/passwd"), Err(WorkPathError::Absolute));
        for text in ["..", "../a", "a/../../b", "/data/./../a", "a/./.."] {
            assert_eq!(parse(text), Err(WorkPathError::Outside), "{text}");
        }
    }
}
