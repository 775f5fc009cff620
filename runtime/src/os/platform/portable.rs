//! macOS, and any system with a POSIX `ps`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::os::{ProcessCost, ProcessUsage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes a file that is in no folder, so that no other process can open it by a path.
pub(in crate::os) fn file_without_a_name() -> io::Result<File> {
    // Only uniqueness within this process depends on the number, so it orders nothing.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ratchet-{}-{number}", std::process::id()));
        match OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
        {
            Ok(file) => {
                fs::remove_file(&path)?;
                return Ok(file);
            }
            // Removes a file that an earlier process with this id, or another program, has left there.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns the permission bits that are removed from files that this process and its children make.
pub(crate) fn umask() -> u32 {
    static MASK: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *MASK.get_or_init(|| {
        // The system call changes the mask in order to report it. For that moment the mask forbids all access by
        // others, so a file that another thread makes at the same time is only more private than intended; and this
        // happens once.
        let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        rustix::process::umask(mask);
        u32::from(mask.as_raw_mode())
    })
}

/// Returns how long ago the system was started. On macOS this clock also runs while the system sleeps.
pub(crate) fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// The longest wait between two reads of the clock: a wait does not count the time for which the system sleeps.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// A timer by [`boot_time`].
pub(crate) struct BootTimer;

impl BootTimer {
    /// Makes a timer.
    #[expect(clippy::unnecessary_wraps, reason = "on Linux it can fail")]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    /// Blocks until the input can be read or this time has come. It may return early, because each wait is short.
    #[expect(clippy::unused_self, reason = "on Linux it has a descriptor")]
    pub(crate) fn wait(&self, input: BorrowedFd<'_>, until: Option<Duration>) -> io::Result<()> {
        let left = until.map(|until| until.saturating_sub(boot_time()).min(LONGEST_WAIT));
        let left = left.map(|left| Timespec {
            tv_sec: 0,
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut input = [PollFd::from_borrowed_fd(input, PollFlags::IN)];
        match poll(&mut input, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Waits for a child and returns its status. Its cost is not determined here.
pub(in crate::os) fn wait_for(child: Pid) -> io::Result<(i32, Option<ProcessCost>)> {
    loop {
        match rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok((status.as_raw(), None)),
            Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return Err(io::ErrorKind::NotFound.into()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns the living members of a process group, without dead ones that wait to be reaped.
pub(in crate::os) fn living_members(group: u32) -> io::Result<Vec<u32>> {
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

/// Returns the total usage of the living members of each of these groups.
pub(in crate::os) fn usage_of_groups(groups: &[u32]) -> io::Result<BTreeMap<u32, ProcessUsage>> {
    let output = Command::new("ps")
        .args(["-A", "-o", "pgid=,rss=,time="])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()?;
    let nothing = ProcessUsage::default();
    let mut used: BTreeMap<u32, _> = groups.iter().map(|group| (*group, nothing)).collect();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut fields = line.split_ascii_whitespace();
        let group = fields.next().and_then(|group| group.parse::<u32>().ok());
        let kibibytes = fields.next().and_then(|size| size.parse::<u64>().ok());
        if let (Some(group), Some(kibibytes)) = (group, kibibytes)
            && let Some(used) = used.get_mut(&group)
        {
            used.memory += kibibytes * 1024;
            used.processor_time += fields.next().and_then(processor_time).unwrap_or_default();
        }
    }
    Ok(used)
}

/// Reads `[[dd-]hh:]mm:ss`, where the seconds may have a fraction.
fn processor_time(text: &str) -> Option<Duration> {
    let (days, clock) = text.split_once('-').unwrap_or(("0", text));
    let mut seconds = 0.0;
    for part in clock.split(':') {
        seconds = seconds * 60.0 + part.parse::<f64>().ok()?;
    }
    let days = days.parse::<u64>().ok()?;
    let within = Duration::try_from_secs_f64(seconds).ok()?;
    Duration::from_hours(24)
        .checked_mul(u32::try_from(days).ok()?)?
        .checked_add(within)
}

fn living_member(line: &str, group: u32) -> Option<u32> {
    let mut fields = line.split_ascii_whitespace();
    let process = fields.next()?.parse().ok()?;
    let process_group: u32 = fields.next()?.parse().ok()?;
    let state = fields.next()?;
    (process_group == group && !state.starts_with('Z')).then_some(process)
}
