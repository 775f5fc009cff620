//! The files that a command line mentions.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::CacheError;
use crate::fingerprint::walk::{self, Depth};

/// How many files a folder in an argument may contain. They are read before and after each job, which takes some
/// milliseconds for this many.
pub(super) const MAX_FILES_IN_FOLDER: usize = 4096;

/// The stamps of the files that a command line runs or mentions.
///
/// The program is looked up in `search_path` (a `PATH`) if it contains no slash. Every later argument that names a file
/// or a folder is included, too, also as `--option=FILE`, `@FILE` or `-oFILE`: in `python3 resize.py`, it is
/// `resize.py` that changes. Arguments that name no file are ignored, and so are devices, pipes and a program that is
/// not found. Files that a program loads by itself are unknown here: let the worker declare a version, or declare the
/// files.
///
/// Stamps that were taken before a process was started show later whether the content that is read then is the content
/// with which the process was started.
///
/// ```
/// use ratchet_caching::{FileHasher, InputFiles, ProgramStamps};
/// # let folder = tempfile::tempdir()?;
/// # let base = folder.path();
///
/// std::fs::write(base.join("count.awk"), "END { print NR }")?;
/// let command = ["awk".into(), "-fcount.awk".into()];
/// let at_start = ProgramStamps::of(base, &command, None)?;
/// let hasher = FileHasher::default();
/// assert!(InputFiles::of_command(&hasher, base, &command, None)?.have_stamps(&at_start));
///
/// std::fs::write(base.join("count.awk"), "END { print NR + 1 }")?;
/// assert!(!InputFiles::of_command(&hasher, base, &command, None)?.have_stamps(&at_start));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramStamps(Vec<(PathBuf, [u8; 32])>);

impl ProgramStamps {
    /// Takes the stamps of the files now. A folder with more than some thousand files is an error.
    pub fn of(
        base: &Path,
        command: &[OsString],
        search_path: Option<&OsStr>,
    ) -> Result<Self, CacheError> {
        files_named_by(base, command, search_path)
            .into_iter()
            .map(|path| {
                let file = walk::read(Depth::Stamps, base, path, MAX_FILES_IN_FOLDER)?;
                Ok((file.declared, file.stamps))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Iterates over the paths and the digests of all files that a command mentions.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&PathBuf, &[u8; 32])> {
        self.0.iter().map(|(path, stamps)| (path, stamps))
    }
}

/// Returns the files and folders that a command line runs or mentions.
pub(super) fn files_named_by(
    base: &Path,
    command: &[OsString],
    search_path: Option<&OsStr>,
) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (index, argument) in command.iter().enumerate() {
        if index > 0 {
            found.extend(
                possible_paths(argument)
                    .into_iter()
                    .find(|path| is_file_or_folder(&base.join(path))),
            );
        } else if argument.as_encoded_bytes().contains(&b'/') {
            found.push(PathBuf::from(argument));
        } else {
            found.extend(
                search_path
                    .into_iter()
                    .flat_map(std::env::split_paths)
                    .map(|folder| folder.join(argument))
                    .find(|path| is_executable(&base.join(path))),
            );
        }
    }
    found.retain(|path| is_file_or_folder(&base.join(path)));
    found
}

/// Returns the paths that an argument may mean, the most likely first: `FILE`, `--option=FILE`, `name=FILE`, `@FILE`,
/// `-oFILE`.
fn possible_paths(argument: &OsStr) -> Vec<PathBuf> {
    let bytes = argument.as_bytes();
    let after_equals = bytes.iter().position(|&byte| byte == b'=').map(|at| at + 1);
    let after_at = bytes.starts_with(b"@").then_some(1);
    let after_letter = (bytes.len() > 2 && bytes[0] == b'-' && bytes[1] != b'-').then_some(2);
    // `--data=@FILE`
    let after_both = after_equals.and_then(|at| (bytes.get(at) == Some(&b'@')).then_some(at + 1));
    [Some(0), after_equals, after_both, after_at, after_letter]
        .into_iter()
        .flatten()
        .filter(|&start| start < bytes.len())
        .map(|start| PathBuf::from(OsStr::from_bytes(&bytes[start..])))
        .collect()
}

fn is_file_or_folder(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() || metadata.is_dir())
}

/// Whether the search for a program ends here. As in a shell, files without permission to execute are skipped.
fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
}
