//! Declared input files and the programs of workers.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::clock::{Clock, SystemClock};
use crate::error::CacheError;
use crate::fingerprint::walk::{self, Depth};

/// File systems stamp changes with a coarse clock: a file may change after it was read without its stamp changing.
/// Below this age a stamp vouches for nothing. The coarsest clock in use (FAT) ticks every two seconds.
const YOUNG: Duration = Duration::from_secs(3);
/// How many digests are remembered. At about 200 bytes each this is some 13 MB; beyond it, all are forgotten.
const REMEMBERED: usize = 65_536;
/// How much a folder that is named by an argument may hold: it is looked at before and after each job, which takes some
/// milliseconds with so many.
const IN_A_FOLDER: usize = 4096;
/// How often a file that changes under the reader is read anew before giving up.
const READS: usize = 3;

/// What the system says about a file without it being read. Any change of content changes the stamp of an old file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mode: u32,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            mode: metadata.mode(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    pub(super) fn mode(&self) -> u32 {
        self.mode
    }

    pub(super) fn hash_into(&self, hash: &mut blake3::Hasher) {
        for number in [self.device, self.inode, self.size, u64::from(self.mode)] {
            hash.update(&number.to_le_bytes());
        }
        for number in [
            self.modified.0,
            self.modified.1,
            self.changed.0,
            self.changed.1,
        ] {
            hash.update(&number.to_le_bytes());
        }
    }

    /// Whether the file changed so recently that it may change again without a new stamp.
    fn is_young(&self, now: SystemTime) -> bool {
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        [self.modified, self.changed].iter().any(|(seconds, _)| {
            u64::try_from(*seconds).is_ok_and(|seconds| Duration::from_secs(seconds) + YOUNG > now)
        })
    }
}

/// Reads files into digests, and remembers the digests of files that have not changed.
///
/// Its methods read files and block: call them on a thread that may (`tokio::task::spawn_blocking`). Share one hasher
/// between all jobs of a run, so that an input that many jobs declare is read once.
pub struct FileHasher {
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<PathBuf, (Stamp, [u8; 32])>>,
}

impl Default for FileHasher {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl std::fmt::Debug for FileHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileHasher").finish_non_exhaustive()
    }
}

impl FileHasher {
    /// A hasher that remembers nothing yet. The clock tells which files are too young for their digest to be kept.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            known: Mutex::default(),
        }
    }

    /// Reads the declared files and folders; relative paths start from `base`.
    ///
    /// What counts is the path as declared, the permission bits and the content. A folder is walked: every name in it
    /// counts, links count as what they say and as what they lead to. It is an error if a path does not exist, or if
    /// something there is neither a file nor a folder.
    pub fn snapshot<I>(&self, base: &Path, declared: I) -> Result<InputFiles, CacheError>
    where
        I: IntoIterator,
        I::Item: Into<PathBuf>,
    {
        let files = declared
            .into_iter()
            .map(|declared| walk::read(Depth::Contents(self), base, declared.into(), usize::MAX))
            .collect::<Result<_, _>>()?;
        Ok(InputFiles {
            base: base.to_path_buf(),
            files,
        })
    }

    /// Reads the files that a command line runs or names, see [`ProgramStamps`].
    ///
    /// It is an error if one of them cannot be read, or if a folder holds more than some thousand files: then nobody knows
    /// what a result depends on.
    pub fn programs(
        &self,
        base: &Path,
        command: &[OsString],
        search_path: Option<&OsStr>,
    ) -> Result<InputFiles, CacheError> {
        let files = named_files(base, command, search_path)
            .into_iter()
            .map(|path| walk::read(Depth::Contents(self), base, path, IN_A_FOLDER))
            .collect::<Result<_, _>>()?;
        Ok(InputFiles {
            base: base.to_path_buf(),
            files,
        })
    }

    /// The digest of a file's content, and the stamp it had.
    pub(super) fn file(&self, path: &Path) -> Result<(Stamp, [u8; 32]), CacheError> {
        let io_error = |source| CacheError::io("read", path, source);
        let stamp = Stamp::of(&path.metadata().map_err(io_error)?);
        if let Some((known, digest)) = self.known().get(path)
            && *known == stamp
        {
            return Ok((stamp, *digest));
        }
        for _ in 0..READS {
            let mut file = File::open(path).map_err(io_error)?;
            let before = file.metadata().map_err(io_error)?;
            if !before.is_file() {
                return Err(CacheError::NotAFile {
                    path: path.to_path_buf(),
                });
            }
            let mut hash = blake3::Hasher::new();
            io::copy(&mut file, &mut hash).map_err(io_error)?;
            let stamp = Stamp::of(&before);
            if stamp != Stamp::of(&file.metadata().map_err(io_error)?) {
                continue;
            }
            let digest = *hash.finalize().as_bytes();
            let mut known = self.known();
            if stamp.is_young(self.clock.now()) {
                known.remove(path);
            } else {
                if known.len() >= REMEMBERED {
                    known.clear();
                }
                known.insert(path.to_path_buf(), (stamp, digest));
            }
            return Ok((stamp, digest));
        }
        Err(CacheError::Unsettled {
            path: path.to_path_buf(),
        })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, (Stamp, [u8; 32])>> {
        // Every entry is whole at any time, so a panic elsewhere spoils nothing.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files and folders that a command line runs or names.
fn named_files(base: &Path, command: &[OsString], search_path: Option<&OsStr>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (index, argument) in command.iter().enumerate() {
        if index > 0 {
            found.extend(
                named_paths(argument)
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

/// The paths that an argument may mean, the likeliest first: `FILE`, `--option=FILE`, `name=FILE`, `@FILE`, `-oFILE`.
fn named_paths(argument: &OsStr) -> Vec<PathBuf> {
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

/// Whether the search for a program stops here: like a shell, it passes over files that may not be run.
fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
}

/// A declared file or folder, as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InputFile {
    pub(super) declared: PathBuf,
    /// Of names, permission bits and contents: what goes into the key.
    pub(super) content: [u8; 32],
    /// Of the stamps: what tells that a file was changed and changed back.
    pub(super) state: [u8; 32],
}

/// Input files, as they were when they were read.
///
/// ```
/// use ratchet_caching::FileHasher;
/// # let folder = tempfile::tempdir()?;
/// # let base = folder.path();
///
/// std::fs::write(base.join("a.csv"), "1,2,3")?;
/// let hasher = FileHasher::default();
/// let inputs = hasher.snapshot(base, ["a.csv"])?;
/// assert_eq!(inputs.verify(&hasher), Ok(()));
///
/// std::fs::write(base.join("a.csv"), "1,2,4")?;
/// assert!(inputs.verify(&hasher).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFiles {
    base: PathBuf,
    files: Vec<InputFile>,
}

/// An input file is not what it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the input {} changed", path.display())]
pub struct InputChanged {
    /// The file or folder, as declared.
    pub path: PathBuf,
}

impl InputFiles {
    /// Reads the files again and compares.
    ///
    /// Content that was changed and changed back is a change too: a job may have read it in between. A file that can no
    /// longer be read has changed.
    pub fn verify(&self, hasher: &FileHasher) -> Result<(), InputChanged> {
        for before in &self.files {
            let depth = Depth::Contents(hasher);
            let now = walk::read(depth, &self.base, before.declared.clone(), usize::MAX);
            if !now.is_ok_and(|now| now == *before) {
                return Err(InputChanged {
                    path: before.declared.clone(),
                });
            }
        }
        Ok(())
    }

    /// Whether the files are still the ones that these stamps were taken of. If so, what was read is what was there then.
    pub fn have_stamps(&self, stamps: &ProgramStamps) -> bool {
        let mine = self.files.iter().map(|file| (&file.declared, &file.state));
        mine.eq(stamps.0.iter().map(|(path, state)| (path, state)))
    }

    /// Whether no file was declared.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &InputFile> {
        self.files.iter()
    }
}

/// What the system says of the files that a command line runs or names, without reading them.
///
/// The program is looked up in `search_path` (a `PATH`) if it has no slash. Every later argument that names a file or a
/// folder counts as well, also as `--option=FILE`, `@FILE` or `-oFILE`: of `python3 resize.py`, it is `resize.py` that changes.
/// Arguments that name none are passed over, and so are devices, pipes and a program that is not found. What a program
/// loads by itself is not known here: let the worker declare a version, or declare the files.
///
/// Taken before a process starts, the stamps tell later whether the content that is read then is what the process was
/// started with.
///
/// ```
/// use ratchet_caching::{FileHasher, ProgramStamps};
/// # let folder = tempfile::tempdir()?;
/// # let base = folder.path();
///
/// std::fs::write(base.join("count.awk"), "END { print NR }")?;
/// let command = ["awk".into(), "-fcount.awk".into()];
/// let at_start = ProgramStamps::of(base, &command, None)?;
/// let hasher = FileHasher::default();
/// assert!(hasher.programs(base, &command, None)?.have_stamps(&at_start));
///
/// std::fs::write(base.join("count.awk"), "END { print NR + 1 }")?;
/// assert!(!hasher.programs(base, &command, None)?.have_stamps(&at_start));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramStamps(Vec<(PathBuf, [u8; 32])>);

impl ProgramStamps {
    /// Looks at the files. It is an error if a folder holds more than some thousand.
    pub fn of(
        base: &Path,
        command: &[OsString],
        search_path: Option<&OsStr>,
    ) -> Result<Self, CacheError> {
        named_files(base, command, search_path)
            .into_iter()
            .map(|path| {
                let file = walk::read(Depth::Stamps, base, path, IN_A_FOLDER)?;
                Ok((file.declared, file.state))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests;
