//! What the system lets this process have: descriptors and threads. Looked at before anything runs.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use ratchet_runtime::process::raise_descriptor_limit;
use tokio::runtime::{Builder, Runtime};

use crate::error::CliError;

/// Descriptors of this process's own: its files, the journal, the cache, the event loop, the keeper.
const OWN: u64 = 48;

/// Descriptors of a job that runs: two pipes, the notice of its end, and two files where it prints much; or the three
/// pipes of a worker and the notice.
const OF_A_JOB: u64 = 5;

/// Descriptors of a job that starts.
const OF_A_START: u64 = 8;

/// Longer than any run: the thread that is always there never leaves.
const FOR_EVER: Duration = Duration::from_hours(24 * 365 * 100);

/// Raises the limit of descriptors as far as so many jobs and workers need, and returns how many jobs fit.
pub(super) fn prepare(slots: u32, workers: u32) -> Result<u32, CliError> {
    let wanted = u64::from(slots) + u64::from(workers);
    let limit = raise_descriptor_limit(OWN + wanted * OF_A_START)
        .map_err(|error| CliError::Internal(format!("the limit of descriptors: {error}")))?;
    let fit = limit.saturating_sub(OWN) / OF_A_JOB;
    if fit == 0 {
        let least = OWN + OF_A_JOB;
        return Err(CliError::usage(format!(
            "this process may open {limit} files at once, and needs at least {least}"
        ))
        .hint("raise the limit, as by `ulimit -n 1024`"));
    }
    Ok(u32::try_from(fit).unwrap_or(u32::MAX).min(slots))
}

/// The event loop.
///
/// Work that blocks goes to a pool of threads, and tokio panics where the first thread of that pool cannot be had. So
/// one is started here, where it can be told, and stays; with it there, work waits where there are no more threads.
pub(super) fn event_loop() -> Result<Runtime, CliError> {
    let no_loop = |error: io::Error| {
        CliError::Internal(format!(
            "there is no event loop: {error}; the limit of processes and threads may be too low (`ulimit -u`)"
        ))
    };
    // Asked in a way that does not panic first.
    let thread = std::thread::Builder::new().spawn(|| ()).map_err(no_loop)?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(FOR_EVER)
        .build()
        .map_err(no_loop)?;
    let first = catch_unwind(AssertUnwindSafe(|| runtime.spawn_blocking(|| ())));
    // It has nothing to do and does not panic.
    let _ = thread.join();
    match first {
        Ok(_) => Ok(runtime),
        Err(_) => Err(no_loop(io::ErrorKind::WouldBlock.into())),
    }
}
