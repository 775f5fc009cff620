//! Which kind of journal the index can have.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod others;

#[cfg(target_os = "linux")]
use linux::is_local;
#[cfg(not(target_os = "linux"))]
use others::is_local;

use std::path::Path;

/// How a transaction survives a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Journal {
    /// Changes are appended to a log, and processes find them through shared memory. Readers and a writer do not wait for
    /// one another.
    WriteAhead,
    /// What is overwritten is copied to a journal first. Needs nothing but locks, so it works for several machines.
    Rollback,
}

impl Journal {
    /// The journal for a folder. The processes of two machines share no memory, and `SQLite` cannot tell: a write-ahead
    /// log on a network home would be damaged by the second machine.
    pub(super) fn for_folder(folder: &Path) -> Self {
        if is_local(folder) {
            Self::WriteAhead
        } else {
            Self::Rollback
        }
    }

    /// As `SQLite` names it.
    pub(super) fn mode(self) -> &'static str {
        match self {
            Self::WriteAhead => "wal",
            Self::Rollback => "delete",
        }
    }

    /// How careful `SQLite` has to be for a loss of power to cost the latest entries at most. A write-ahead log is whole up
    /// to some point by its checksums; a rollback journal is not, unless it is synced in the right order.
    pub(super) fn synchronous(self) -> &'static str {
        match self {
            Self::WriteAhead => "normal",
            Self::Rollback => "full",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_that_may_be_another_machines_gets_a_rollback_journal() {
        // /proc stands for every file system that is not known to be a local disk.
        assert_eq!(Journal::for_folder(Path::new("/proc")), Journal::Rollback);
        assert_eq!(
            Journal::for_folder(Path::new("/no such folder")),
            Journal::Rollback
        );
        assert_eq!(
            Journal::for_folder(Path::new("/dev/shm")),
            Journal::WriteAhead
        );
    }
}
