//! Prepares for the limits of the system on descriptors and threads, before anything runs.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use ratchet_runtime::process::raise_descriptor_limit;
use rustix::process::{Resource, getrlimit};
use tokio::runtime::{Builder, Runtime};

use crate::error::CliError;

/// How many descriptors this process needs in addition to those of its jobs: files, journal, cache, event loop, keeper.
const OWN: u64 = 48;

/// How many descriptors a running job needs: two pipes, the notification of its end, and two files if it prints much;
/// or the three pipes of a worker and the notification.
const PER_JOB: u64 = 5;

/// How many descriptors a job needs while it starts.
const PER_START: u64 = 8;

/// How long an idle thread is kept: longer than any run takes.
const FOR_EVER: Duration = Duration::from_hours(24 * 365 * 100);

/// Raises the limit of descriptors as far as the jobs and workers need, and returns how many jobs fit into it.
pub(super) fn prepare(slots: u32, workers: u32) -> Result<u32, CliError> {
    let wanted = u64::from(slots) + u64::from(workers);
    let limit = raise_descriptor_limit(OWN + wanted * PER_START).map_err(|error| {
        CliError::internal("the limit of open files cannot be raised").because(error)
    })?;
    let fit = limit.saturating_sub(OWN) / PER_JOB;
    if fit == 0 {
        let least = OWN + PER_JOB;
        return Err(CliError::usage(format!(
            "this process may open {limit} files at once, and needs at least {least}"
        ))
        .with_help("raise the limit, as by `ulimit -n 1024`"));
    }
    Ok(u32::try_from(fit).map_or(slots, |fit| fit.min(slots)))
}

/// Returns how many jobs fit into the limits of open files and of processes. Each job has a process and a thread that
/// waits for it.
pub(crate) fn most_jobs() -> u32 {
    /// How many processes and threads are left to other programs.
    const OTHERS: u64 = 64;
    let limit = |resource| getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let files = limit(Resource::Nofile).saturating_sub(OWN) / PER_START;
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse().ok();
    let of_system = |path| number(path).unwrap_or(u64::MAX);
    let processes = [
        getrlimit(Resource::Nproc).current.unwrap_or(u64::MAX),
        of_system("/proc/sys/kernel/pid_max"),
        of_system("/proc/sys/kernel/threads-max"),
        of_system("/sys/fs/cgroup/pids.max"),
    ];
    let processes = processes.into_iter().min().unwrap_or(u64::MAX);
    let jobs = files.min(processes.saturating_sub(OTHERS) / 2).max(1);
    u32::try_from(jobs).unwrap_or(u32::MAX)
}

/// Starts the event loop.
///
/// tokio gives blocking work to a pool of threads, and panics if the system refuses the first thread of that pool. So
/// the first thread is started here, where a refusal is an error, and never ends. Once it exists, blocking work waits
/// for it if the system refuses further threads.
pub(super) fn event_loop() -> Result<Runtime, CliError> {
    let no_loop = |error: io::Error| {
        CliError::internal("the event loop cannot be started")
            .because(error)
            .with_help("the limit of processes and threads may be too low (`ulimit -u`)")
    };
    // `Builder::spawn` returns an error instead of a panic if the system refuses a thread.
    let thread = std::thread::Builder::new().spawn(|| ()).map_err(no_loop)?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(FOR_EVER)
        .build()
        .map_err(no_loop)?;
    // The refusal becomes the error of this function, so the message of the panic is not printed.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let first = catch_unwind(AssertUnwindSafe(|| runtime.spawn_blocking(|| ())));
    std::panic::set_hook(hook);
    // The thread does nothing, so it has not panicked.
    let _ = thread.join();
    match first {
        Ok(_) => Ok(runtime),
        Err(_) => Err(no_loop(io::ErrorKind::WouldBlock.into())),
    }
}
