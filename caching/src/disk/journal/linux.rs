//! File systems of Linux.

use std::path::Path;

/// The file systems (see statfs(2)) on which all processes that see a file are of one machine. One that is missing here
/// costs some speed; one that is here wrongly would cost the index.
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

/// Whether the folder is on a disk of this machine, as far as is known.
pub(super) fn is_local(folder: &Path) -> bool {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "its width differs between architectures, and all numbers above are of 32 bits"
    )]
    rustix::fs::statfs(folder).is_ok_and(|found| LOCAL.contains(&(found.f_type as u32)))
}
