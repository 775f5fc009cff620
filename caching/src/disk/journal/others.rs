//! File systems of macOS and its relatives.

use std::path::Path;

/// `MNT_LOCAL` of sys/mount.h: the file system is on a disk of this machine.
const MNT_LOCAL: u32 = 0x1000;

/// Whether the folder is on a disk of this machine.
pub(super) fn is_local(folder: &Path) -> bool {
    rustix::fs::statfs(folder).is_ok_and(|found| found.f_flags & MNT_LOCAL != 0)
}
