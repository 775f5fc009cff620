//! Linux: reads processes and their groups from `/proc`, and makes files in memory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Pid;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use crate::os::{ProcessCost, ProcessUsage};

/// Makes a file that is in no folder, so that no other process can open it by a path.
pub(in crate::os) fn file_without_a_name() -> io::Result<File> {
    Ok(memfd_create("ratchet", MemfdFlags::CLOEXEC)?.into())
}

/// Returns the permission bits that are removed from files that this process and its children make.
pub(crate) fn umask() -> u32 {
    // The system call changes the mask in order to report it, for all threads at once: a file that another thread makes
    // at this moment would get the wrong mode.
    let told = fs::read_to_string("/proc/self/status").ok();
    let line = |text: &str| {
        let digits = text.lines().find_map(|line| line.strip_prefix("Umask:"))?;
        u32::from_str_radix(digits.trim(), 8).ok()
    };
    // A system older than Linux 4.7 does not report it; then the mask is not part of any key.
    told.as_deref().and_then(line).unwrap_or(0)
}

/// Returns how long ago the system was started, including the time for which it has slept since then.
pub(crate) fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// A timer by [`boot_time`]. If the system sleeps beyond its time, it fires right after the sleep.
pub(crate) struct BootTimer(OwnedFd);

impl BootTimer {
    /// Makes a timer.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(timerfd_create(TimerfdClockId::Boottime, flags)?))
    }

    /// Blocks until the input can be read, this time has come, or a signal has come.
    pub(crate) fn wait(&self, input: BorrowedFd<'_>, until: Option<Duration>) -> io::Result<()> {
        let time = Itimerspec {
            it_interval: Timespec::default(),
            it_value: timespec(until),
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &time)?;
        let mut both = [
            PollFd::from_borrowed_fd(input, PollFlags::IN),
            PollFd::new(&self.0, PollFlags::IN),
        ];
        match poll(&mut both, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Converts the time at which a timer fires. Zero would turn the timer off, so it stands for never.
fn timespec(time: Option<Duration>) -> Timespec {
    let Some(time) = time else {
        return Timespec::default();
    };
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().max(1).into(),
    }
}

/// Waits for a child, and returns its status and its cost.
#[expect(
    unsafe_code,
    reason = "no safe interface tells what a child has cost: waitid does not, and getrusage sums up all children"
)]
pub(in crate::os) fn wait_for(child: Pid) -> io::Result<(i32, Option<ProcessCost>)> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: Both pointers are valid for writes of their types until the call returns.
        let reaped = unsafe {
            libc::wait4(
                child.as_raw_nonzero().get(),
                &raw mut status,
                0,
                usage.as_mut_ptr(),
            )
        };
        if reaped > 0 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: A `rusage` is made of numbers, for which zeros are valid, and the kernel has filled it in.
    let usage = unsafe { usage.assume_init() };
    let time = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let micros = u64::try_from(time.tv_usec).unwrap_or_default();
        Duration::from_secs(seconds) + Duration::from_micros(micros)
    };
    let peak = u64::try_from(usage.ru_maxrss).unwrap_or_default() * 1024;
    let cost = ProcessCost {
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        max_rss: Some(peak).filter(|peak| *peak > own_peak()),
    };
    Ok((status, Some(cost)))
}

/// Returns the peak of the resident memory of this process in bytes.
///
/// A child shares the memory of this process until it executes its program, and the kernel counts that as a peak of the
/// child. So a child's peak is meaningful only if it is greater.
fn own_peak() -> u64 {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_SELF);
    // If the system call fails, no peak of a child counts as known.
    usage.map_or(u64::MAX, |usage| {
        u64::try_from(usage.max_rss()).unwrap_or_default() * 1024
    })
}

/// Returns the living members of a process group, without dead ones that wait to be reaped.
///
/// This reads every process of the system, so it is for the rare case that a group outlives its leader.
pub(in crate::os) fn living_members(group: u32) -> io::Result<Vec<u32>> {
    let mut members = Vec::new();
    for_each_living(|member| {
        if member.group == group {
            members.push(member.process);
        }
    })?;
    Ok(members)
}

/// Returns the total usage of the living members of each of these groups.
pub(in crate::os) fn usage_of_groups(groups: &[u32]) -> io::Result<BTreeMap<u32, ProcessUsage>> {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let nothing = ProcessUsage::default();
    let mut used: BTreeMap<u32, _> = groups.iter().map(|group| (*group, nothing)).collect();
    for_each_living(|member| {
        if let Some(used) = used.get_mut(&member.group) {
            used.memory += member.resident_pages * page;
            // The ticks are usually hundredths of a second, so whole milliseconds lose nothing.
            used.processor_time += Duration::from_millis(member.processor_ticks * 1000 / ticks);
        }
    })?;
    Ok(used)
}

/// The fields of a process in `/proc` that are used here.
#[derive(Debug, PartialEq)]
struct Member {
    process: u32,
    group: u32,
    resident_pages: u64,
    /// The processor time of the process itself, and of those of its children that it has reaped.
    processor_ticks: u64,
}

/// Calls `see` for each living process of the system.
fn for_each_living(mut see: impl FnMut(Member)) -> io::Result<()> {
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process that ends between the two steps has no file, and is not a member.
        if let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat"))
            && let Some(member) = living_member(process, &stat)
        {
            see(member);
        }
    }
    Ok(())
}

/// Reads `pid (name) state ppid pgrp ..`, where the name may hold blanks and parentheses.
fn living_member(process: u32, stat: &str) -> Option<Member> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    let mut number = |skip| fields.nth(skip)?.parse::<u64>().ok();
    // These are the fields 14 to 17 of the line: utime, stime, cutime, cstime. A missing field counts as zero.
    let times = [number(8), number(0), number(0), number(0)];
    // This is field 24.
    let resident_pages = number(6);
    Some(Member {
        process,
        group,
        resident_pages: resident_pages.unwrap_or(0),
        processor_ticks: times.into_iter().flatten().sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_that_looks_like_fields_is_skipped() {
        let group = |stat| living_member(7, stat).map(|member| member.group);
        assert_eq!(group("7 (a) Z 1 9 x) S 1 42 42 0"), Some(42));
        assert_eq!(group("7 (a) Z 1 42 42 0"), None);
        assert_eq!(group("7 (a"), None);
    }

    #[test]
    fn the_memory_and_the_processor_time_of_a_process_are_read_from_their_fields() {
        let stat = "7 (a b) S 1 42 42 0 -1 4194304 9 8 7 6 100 20 3 4 20 0 1 0 99 5000 12 18446744073709551615";
        let member = living_member(7, stat).unwrap();
        assert_eq!((member.resident_pages, member.processor_ticks), (12, 127));
    }

    #[test]
    fn the_memory_of_the_group_of_this_process_is_measured() {
        let group = rustix::process::getpgrp()
            .as_raw_nonzero()
            .get()
            .unsigned_abs();
        let used = usage_of_groups(&[group, 1 << 30]).unwrap();
        assert!(used[&group].memory > 1 << 20, "{used:?}");
        assert_eq!(used[&(1 << 30)], ProcessUsage::default());
    }

    #[test]
    fn this_process_is_a_living_member_of_its_own_group() {
        let group = rustix::process::getpgrp()
            .as_raw_nonzero()
            .get()
            .unsigned_abs();
        assert!(living_members(group).unwrap().contains(&std::process::id()));
    }
}
