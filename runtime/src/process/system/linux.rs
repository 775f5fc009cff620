//! Linux: what `/proc` knows, files in memory, and processes as descriptors.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A file that no folder knows.
pub(in super::super) fn file_without_a_name() -> io::Result<File> {
    Ok(memfd_create("ratchet", MemfdFlags::CLOEXEC)?.into())
}

/// Something to poll that becomes readable when a child has ended and waits to be reaped.
pub(in super::super) fn exit_notice(child: Pid) -> io::Result<OwnedFd> {
    Ok(pidfd_open(child, PidfdFlags::empty())?)
}

/// The members of a process group that are alive, the dead that wait to be reaped left out.
///
/// This reads every process of the system, so it is for the rare case that a group outlives its leader.
pub(in super::super) fn living_members(group: u32) -> io::Result<Vec<u32>> {
    let mut members = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process that ends between the two steps has no file, and is no member.
        if let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat"))
            && is_living_member(&stat, group)
        {
            members.push(process);
        }
    }
    Ok(members)
}

/// Reads `pid (name) state ppid pgrp ..`, where the name may hold blanks and parentheses.
fn is_living_member(stat: &str, group: u32) -> bool {
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return false;
    };
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next();
    let process_group = fields.nth(1).and_then(|field| field.parse::<u32>().ok());
    process_group == Some(group) && !matches!(state, Some("Z" | "X"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_that_look_like_fields() {
        assert!(is_living_member("7 (a) Z 1 9 x) S 1 42 42 0", 42));
        assert!(!is_living_member("7 (a) Z 1 42 42 0", 42));
        assert!(!is_living_member("7 (a) S 1 43 42 0", 42));
        assert!(!is_living_member("7 (a", 42));
    }

    #[test]
    fn finds_this_process_in_its_own_group() {
        let group = rustix::process::getpgrp()
            .as_raw_nonzero()
            .get()
            .unsigned_abs();
        assert!(living_members(group).unwrap().contains(&std::process::id()));
    }
}
