//! The stamps of files, which reveal a change without reading the content.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

/// File systems stamp changes with a coarse clock, so a file may change twice within one tick and keep its stamp. The
/// coarsest clock in use (FAT) ticks every two seconds.
const COARSEST_TICK: Duration = Duration::from_secs(3);

/// The metadata of a file, which is known without reading the file. Any change of its content changes the stamp of an
/// old file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mode: u32,
    /// When the content was last changed, in seconds and nanoseconds.
    modified: (i64, i64),
    /// When the content or the mode was last changed. No program can set this time back.
    changed: (i64, i64),
}

impl Stamp {
    /// Makes the stamp of a file from its metadata.
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

    /// Returns the size of the file in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Returns the type and the permission bits of the file.
    pub(super) fn mode(&self) -> u32 {
        self.mode
    }

    /// Adds the stamp to a digest.
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

    /// Whether the file changed so recently that it could change again without a new stamp.
    pub(super) fn is_too_young(&self, now: SystemTime) -> bool {
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        [self.modified, self.changed].iter().any(|(seconds, _)| {
            u64::try_from(*seconds)
                .is_ok_and(|seconds| Duration::from_secs(seconds) + COARSEST_TICK > now)
        })
    }
}
