//! macOS, and any system with a `ps` as POSIX has it.

use std::io;
use std::process::{Command, Stdio};

/// The members of a process group that are alive, the dead that wait to be reaped left out.
pub(in super::super) fn living_members(group: u32) -> io::Result<Vec<u32>> {
    let output = Command::new("ps")
        .args(["-A", "-o", "pid=,pgid=,stat="])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter_map(|line| living_member(line, group))
        .collect())
}

fn living_member(line: &str, group: u32) -> Option<u32> {
    let mut fields = line.split_ascii_whitespace();
    let process = fields.next()?.parse().ok()?;
    let process_group: u32 = fields.next()?.parse().ok()?;
    let state = fields.next()?;
    (process_group == group && !state.starts_with('Z')).then_some(process)
}
