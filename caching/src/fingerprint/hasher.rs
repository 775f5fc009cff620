//! Digests of file contents, cached while the files do not change.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::{Clock, SystemClock};
use crate::error::CacheError;
use crate::fingerprint::stamp::Stamp;

/// How many digests are cached. At about 200 bytes each, they take about 13 MB. Beyond it, the cache is cleared.
const MAX_REMEMBERED: usize = 65_536;
/// How many times a file is read before it counts as constantly changing.
const MAX_READS: usize = 3;

/// Computes the digests of files, and caches those of files that have not changed.
///
/// [`InputFiles`](crate::InputFiles) uses it. Share one hasher between all jobs of a run, so that an input that many
/// jobs declare is read once.
pub struct FileHasher {
    clock: Arc<dyn Clock>,
    /// The digest of each file that was read, with the stamp that the file had at that time.
    remembered: Mutex<HashMap<PathBuf, (Stamp, [u8; 32])>>,
}

/// The content of a file at the time when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileContent {
    /// The BLAKE3 digest of the content.
    pub digest: [u8; 32],
    /// The size of the file in bytes.
    pub size: u64,
    /// The permission bits of the file.
    pub mode: u32,
}

impl Default for FileHasher {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl fmt::Debug for FileHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileHasher").finish_non_exhaustive()
    }
}

impl FileHasher {
    /// Makes a hasher with an empty cache. The clock decides which files changed too recently for their digests to be
    /// cached.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            remembered: Mutex::default(),
        }
    }

    /// Reads the content of a file, unless its digest is cached with the same stamp.
    ///
    /// ```
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("model.bin");
    /// std::fs::write(&path, "weights")?;
    /// let content = ratchet_caching::FileHasher::default().content(&path)?;
    /// assert_eq!(content.size, 7);
    /// assert_eq!(content.digest, *blake3::hash(b"weights").as_bytes());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn content(&self, path: &Path) -> Result<FileContent, CacheError> {
        let (stamp, digest) = self.digest(path)?;
        Ok(FileContent {
            digest,
            size: stamp.size(),
            mode: stamp.mode() & 0o7777,
        })
    }

    /// Returns the digest of the content of a file, and the stamp that the file had at that time.
    pub(super) fn digest(&self, path: &Path) -> Result<(Stamp, [u8; 32]), CacheError> {
        let io_error = |source| CacheError::io("read", path, source);
        let stamp = Stamp::of(&path.metadata().map_err(io_error)?);
        if let Some((remembered, digest)) = self.remembered().get(path)
            && *remembered == stamp
        {
            return Ok((stamp, *digest));
        }
        for _ in 0..MAX_READS {
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
            let mut remembered = self.remembered();
            if stamp.is_too_young(self.clock.now()) {
                remembered.remove(path);
            } else {
                if remembered.len() >= MAX_REMEMBERED {
                    remembered.clear();
                }
                remembered.insert(path.to_path_buf(), (stamp, digest));
            }
            return Ok((stamp, digest));
        }
        Err(CacheError::ChangesWhileRead {
            path: path.to_path_buf(),
        })
    }

    fn remembered(&self) -> MutexGuard<'_, HashMap<PathBuf, (Stamp, [u8; 32])>> {
        // The map is consistent at any time, so a panic of another thread does no harm.
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn only_the_digests_of_old_files_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "1").unwrap();
        let written = path.metadata().unwrap().modified().unwrap();
        let clock = Arc::new(ManualClock::at(written));
        let hasher = FileHasher::new(Arc::clone(&clock) as Arc<dyn Clock>);
        hasher.digest(&path).unwrap();
        assert!(
            hasher.remembered().is_empty(),
            "the file may change again within one tick"
        );
        clock.advance(Duration::from_secs(5));
        let (stamp, digest) = hasher.digest(&path).unwrap();
        assert_eq!(hasher.remembered().get(&path), Some(&(stamp, digest)));
        // The wrong digest shows that the cached one is used.
        hasher.remembered().insert(path.clone(), (stamp, [7; 32]));
        assert_eq!(hasher.digest(&path).unwrap(), (stamp, [7; 32]));
        // With another stamp it is not used, even if the size is the same.
        fs::write(folder.path().join("y"), "2").unwrap();
        fs::rename(folder.path().join("y"), &path).unwrap();
        assert_eq!(
            hasher.digest(&path).unwrap().1,
            *blake3::hash(b"2").as_bytes()
        );
    }
}
