//! Reads facts about processes from `/proc`.

use std::fs;
use std::time::Duration;

/// Returns the state of a process, such as `S` or `Z`, or `None` if there is no such process.
pub fn process_state(process: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.chars().next()
}

/// Whether a process exists and is not a zombie.
pub fn is_alive(process: u32) -> bool {
    !matches!(process_state(process), None | Some('Z' | 'X'))
}

/// The number of descriptors, threads and children of this process, by which tests find leaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holdings {
    /// How many descriptors are open.
    pub descriptors: usize,
    /// How many threads there are.
    pub threads: usize,
    /// How many children there are, zombies included.
    pub children: usize,
}

impl Holdings {
    /// Counts the descriptors, threads and children of this process now.
    pub fn now() -> Self {
        let count = |path: &str| fs::read_dir(path).map_or(0, Iterator::count);
        Self {
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            children: children_of(std::process::id()).len(),
        }
    }
}

/// Returns the ids of the children of a process.
pub fn children_of(parent: u32) -> Vec<u32> {
    processes(|process| parent_of(process) == Some(parent))
}

/// Returns all processes of this machine for which a condition holds.
fn processes(holds: impl Fn(u32) -> bool) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(|process| holds(*process)).collect()
}

fn parent_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Returns the living processes that have this variable in their environment. Children inherit it, so it finds
/// descendants.
pub fn marked(variable: &str) -> Vec<u32> {
    processes(|process| {
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        let mut declared = environment.split(|byte| *byte == 0);
        declared.any(|declared| declared == variable.as_bytes()) && is_alive(process)
    })
}

/// Returns the living processes whose command line contains this text.
pub fn with_argument(text: &str) -> Vec<u32> {
    processes(|process| {
        let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(text) && is_alive(process)
    })
}

/// Returns the resident memory of this process in bytes, without pages that are backed by files.
pub fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_else(|| panic!("the system does not say: {status}")) * 1024
}

/// Returns the processor time that all threads of this process have used.
pub fn cpu_time() -> Duration {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
    let of_one = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    let times = threads.filter_map(|thread| of_one(thread.ok()?.path()));
    Duration::from_nanos(times.sum())
}
