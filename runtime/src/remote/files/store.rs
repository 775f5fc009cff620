//! The contents that a host has, by their digests.
//!
//! A content in the store is complete: it is written under another name, checked, and then renamed. Its modification
//! time is the time of its last use, which decides which contents are removed.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ratchet_caching::{Clock, SystemClock};

use super::pieces::PieceReceiver;
use super::wire::{ContentDigest, Problem};

/// How long a content stays that is not used.
const LONGEST_UNUSED: Duration = Duration::from_hours(14 * 24);

/// The highest number of bytes of contents that stay. The least recently used ones are removed first.
const MAX_BYTES: u64 = 32 << 30;

/// How often the store is searched for contents to remove.
const PRUNE_INTERVAL: Duration = Duration::from_hours(24);

/// The name of the file whose modification time is that of the last search.
const PRUNED: &str = "pruned";

/// The contents in a folder.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
}

/// Removes an unfinished file on drop.
struct UnfinishedFile<'a>(&'a Path);

impl Drop for UnfinishedFile<'_> {
    fn drop(&mut self) {
        // After the rename this file does not exist, and the error is expected.
        let _ = fs::remove_file(self.0);
    }
}

impl Store {
    /// Makes the store of an existing folder.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, digest: ContentDigest) -> PathBuf {
        let digest = digest.to_string();
        self.folder.join(&digest[..2]).join(digest)
    }

    /// Whether a content is there.
    pub(super) fn has(&self, digest: ContentDigest, size: u64) -> bool {
        let found = fs::symlink_metadata(self.path(digest));
        found.is_ok_and(|found| found.is_file() && found.len() == size)
    }

    /// Stores a content that comes in pieces. Until it is complete, it is at `unfinished`.
    pub(super) fn receive(
        &self,
        digest: ContentDigest,
        size: u64,
        unfinished: &Path,
        pieces: &mut PieceReceiver,
    ) -> Result<(), Problem> {
        let folder = self.folder.display();
        let failed =
            |error: io::Error| Problem::io(format!("a file cannot be stored in {folder}"), &error);
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(unfinished)
            .map_err(failed)?;
        let _guard = UnfinishedFile(unfinished);
        let mut hash = blake3::Hasher::new();
        let mut received = 0_u64;
        while let Some(piece) = pieces.blocking_recv() {
            received += piece.len() as u64;
            if received > size {
                break;
            }
            file.write_all(&piece).map_err(failed)?;
            hash.update(&piece);
        }
        if received != size || *hash.finalize().as_bytes() != digest.0 {
            return Err(Problem::Other {
                message: "a file came damaged, and was not stored".to_owned(),
            });
        }
        file.set_permissions(Permissions::from_mode(0o400))
            .map_err(failed)?;
        let path = self.path(digest);
        make_private(path.parent().unwrap_or(&self.folder)).map_err(failed)?;
        fs::rename(unfinished, path).map_err(failed)
    }

    /// Copies a content into a new file. Returns whether the store has the content.
    pub(super) fn copy(
        &self,
        digest: ContentDigest,
        size: u64,
        target: &mut File,
    ) -> io::Result<bool> {
        let mut source = match File::open(self.path(digest)) {
            Ok(source) => source,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        // This shares the blocks where the file system can.
        let copied = io::copy(&mut source, target)?;
        // An error means that another user's agent has stored the content, which is then only removed earlier.
        let _ = source.set_modified(SystemClock.now());
        Ok(copied == size)
    }

    /// Removes contents that are old, or too many, unless this was done within the last day.
    pub(super) fn prune(&self) -> io::Result<()> {
        let now = SystemClock.now();
        let stamp = self.folder.join(PRUNED);
        let age = fs::metadata(&stamp)
            .and_then(|found| found.modified())
            .map(|pruned| now.duration_since(pruned).unwrap_or_default());
        if age.is_ok_and(|age| age < PRUNE_INTERVAL) {
            return Ok(());
        }
        File::create(&stamp)?.set_modified(now)?;
        let mut contents = Vec::new();
        for folder in fs::read_dir(&self.folder)? {
            let folder = folder?.path();
            if !folder.is_dir() {
                continue;
            }
            for content in fs::read_dir(folder)? {
                let content = content?;
                // A content that is gone was removed by another agent.
                let Ok(found) = content.metadata() else {
                    continue;
                };
                contents.push(StoredContent {
                    path: content.path(),
                    size: found.len(),
                    used: found.modified()?,
                });
            }
        }
        for path in to_remove(contents, now) {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Makes a folder for its owner alone. An existing one stays.
pub(super) fn make_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A content of the store, and when it was last used.
#[derive(Debug, Clone, PartialEq, Eq)]
struct StoredContent {
    path: PathBuf,
    size: u64,
    used: SystemTime,
}

/// Decides which contents are removed: those that were unused for long, and then the oldest until few enough bytes are
/// left.
fn to_remove(mut contents: Vec<StoredContent>, now: SystemTime) -> Vec<PathBuf> {
    contents.sort_by_key(|content| content.used);
    let mut bytes: u64 = contents.iter().map(|content| content.size).sum();
    let mut removed = Vec::new();
    for StoredContent { path, size, used } in contents {
        let unused = now.duration_since(used).unwrap_or_default();
        if unused < LONGEST_UNUSED && bytes <= MAX_BYTES {
            break;
        }
        bytes -= size;
        removed.push(path);
    }
    removed
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::pieces;
    use super::*;

    fn digest(content: &[u8]) -> ContentDigest {
        ContentDigest(*blake3::hash(content).as_bytes())
    }

    fn receive(
        store: &Store,
        digest: ContentDigest,
        size: u64,
        sent: &[u8],
    ) -> Result<(), Problem> {
        let (sender, mut receiver) = pieces::channel();
        for piece in sent.chunks(3) {
            sender.try_send(Bytes::copy_from_slice(piece)).unwrap();
        }
        drop(sender);
        let unfinished = store.folder.join("unfinished");
        let result = store.receive(digest, size, &unfinished, &mut receiver);
        assert!(!unfinished.exists(), "nothing is left of it");
        result
    }

    #[test]
    fn only_a_content_that_has_its_digest_and_its_size_is_stored() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().to_path_buf());
        let good = digest(b"hello");
        assert!(receive(&store, good, 5, b"hullo").is_err());
        assert!(receive(&store, good, 5, b"hell").is_err());
        assert!(receive(&store, good, 4, b"hello").is_err());
        assert!(!store.has(good, 5));
        receive(&store, good, 5, b"hello").unwrap();
        assert!(store.has(good, 5) && !store.has(good, 4));
        let mode = fs::metadata(store.path(good)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o400);
        let mut copy = tempfile::tempfile().unwrap();
        assert!(store.copy(good, 5, &mut copy).unwrap());
        assert!(!store.copy(digest(b"other"), 5, &mut copy).unwrap());
    }

    #[test]
    fn contents_that_are_old_or_too_many_are_removed_and_the_last_used_ones_stay() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(1_000_000);
        let content = |name: &str, size, days: u64| StoredContent {
            path: name.into(),
            size,
            used: now - Duration::from_hours(24 * days),
        };
        let removed = |contents: &[StoredContent]| {
            let removed = to_remove(contents.to_vec(), now).into_iter();
            removed
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
        };
        let half = MAX_BYTES / 2;
        assert_eq!(
            removed(&[content("a", half, 1), content("b", half, 13)]),
            [""; 0]
        );
        assert_eq!(removed(&[content("a", 1, 1), content("b", 1, 15)]), ["b"]);
        let too_many = [
            content("a", half, 1),
            content("b", half, 3),
            content("c", half, 2),
        ];
        assert_eq!(removed(&too_many), ["b"]);
    }

    #[test]
    fn a_store_is_looked_through_once_a_day_and_keeps_what_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().to_path_buf());
        let content = digest(b"hello");
        receive(&store, content, 5, b"hello").unwrap();
        let make_old = || {
            let file = File::open(store.path(content)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        };
        make_old();
        store
            .copy(content, 5, &mut tempfile::tempfile().unwrap())
            .unwrap();
        store.prune().unwrap();
        assert!(store.has(content, 5), "it was just used");
        make_old();
        store.prune().unwrap();
        assert!(store.has(content, 5), "this is the same day");
        fs::remove_file(folder.path().join(PRUNED)).unwrap();
        store.prune().unwrap();
        assert!(!store.has(content, 5));
    }
}
