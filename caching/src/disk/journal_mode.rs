//! Decides which kind of journal the index uses.

use std::path::Path;

/// How `SQLite` makes a transaction survive a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JournalMode {
    /// Changes are appended to a log, which processes find through shared memory. Readers and a writer do not wait for
    /// each other.
    WriteAhead,
    /// Pages are copied to a journal before they are overwritten. It needs only locks, so it works across machines.
    Rollback,
}

impl JournalMode {
    /// Chooses the mode for a folder.
    ///
    /// Processes of two machines share no memory, and `SQLite` cannot detect that: on a network file system, the second
    /// machine would damage an index with a write-ahead log. So an unknown file system gets a rollback journal.
    pub(super) fn for_folder(folder: &Path) -> Self {
        if is_local(folder) {
            Self::WriteAhead
        } else {
            Self::Rollback
        }
    }

    /// Returns the value of `PRAGMA journal_mode`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::WriteAhead => "wal",
            Self::Rollback => "delete",
        }
    }

    /// Returns the value of `PRAGMA synchronous` with which a power failure loses at most the latest entries.
    ///
    /// The checksums of a write-ahead log show up to where it is intact. A rollback journal has no such checksums, and
    /// has to be synced in the right order instead.
    pub(super) fn synchronous(self) -> &'static str {
        match self {
            Self::WriteAhead => "normal",
            Self::Rollback => "full",
        }
    }
}

/// Whether all processes that use the folder are known to run on this machine.
#[cfg(target_os = "linux")]
fn is_local(folder: &Path) -> bool {
    /// File systems on local disks, by their numbers in statfs(2). One that is missing in this list only costs some
    /// speed. One that is listed wrongly could destroy the index.
    const LOCAL: [u32; 11] = [
        0xEF53,      // ext2, ext3, ext4
        0x5846_5342, // xfs
        0x9123_683E, // btrfs
        0x0102_1994, // tmpfs
        0x8584_58F6, // ramfs
        0x794C_7630, // overlayfs
        0x2FC1_2FC1, // zfs
        0xF2F5_2010, // f2fs
        0xCA45_1A4E, // bcachefs
        0xF15F,      // ecryptfs
        0x3434,      // nilfs
    ];
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the width of the number differs between architectures, and all numbers above have 32 bits"
    )]
    rustix::fs::statfs(folder).is_ok_and(|found| LOCAL.contains(&(found.f_type as u32)))
}

/// Whether the folder is on a local disk.
#[cfg(not(target_os = "linux"))]
fn is_local(folder: &Path) -> bool {
    /// `MNT_LOCAL` of sys/mount.h on macOS and the BSDs.
    const MNT_LOCAL: u32 = 0x1000;
    rustix::fs::statfs(folder).is_ok_and(|found| found.f_flags & MNT_LOCAL != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_that_may_be_on_another_machine_gets_a_rollback_journal() {
        // /proc represents every file system that is not known to be local.
        for folder in ["/proc", "/no such folder"] {
            let mode = JournalMode::for_folder(Path::new(folder));
            assert_eq!(mode, JournalMode::Rollback, "{folder}");
        }
        let mode = JournalMode::for_folder(Path::new("/dev/shm"));
        assert_eq!(mode, JournalMode::WriteAhead);
    }
}
