//! Tests work that blocks while the system starts no thread. The test has a process of its own, because it limits the
//! process.
#![cfg(target_os = "linux")]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ratchet_runtime::process::{LocalProcesses, PoolConfig, ProcessConfig, ProcessSupervisor};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::timeout;

/// The stack of each thread of the runtime, for which there is no room while memory is limited.
const STACK: usize = 1 << 30;

/// Limits the address space of this process.
fn limit_memory(bytes: Option<u64>) -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::As);
    let limit = Rlimit {
        current: bytes.or(maximum),
        maximum,
    };
    Ok(setrlimit(Resource::As, limit)?)
}

/// Returns how many bytes the address space of this process has.
fn memory() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: Option<u64> = text.split(' ').next().and_then(|pages| pages.parse().ok());
    let pages = pages.ok_or(io::ErrorKind::InvalidData)?;
    Ok(pages * rustix::param::page_size() as u64)
}

#[test]
fn work_that_blocks_is_done_once_the_system_starts_a_thread_for_it() {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let builder = builder.enable_all().thread_stack_size(STACK);
    let runtime = builder.build().expect("it can be built");
    runtime.block_on(async {
        let supervisor = ProcessSupervisor::start(Arc::new(LocalProcesses::start()));
        let memory = memory().expect("the system tells it");
        let limited = limit_memory(Some(memory + STACK as u64 / 2));
        limited.expect("a soft limit can be changed");
        let config = PoolConfig::new("cat", ProcessConfig::new("cat"));
        // It looks at the files of the pool's program, which blocks.
        let mut added = std::pin::pin!(supervisor.add(config));
        let waited = timeout(Duration::from_millis(300), &mut added).await;
        assert!(waited.is_err(), "there is no thread for it: {waited:?}");
        limit_memory(None).expect("a soft limit can be changed");
        let added = timeout(Duration::from_mins(3), added).await;
        added
            .expect("it is tried again")
            .expect("the pool can be added");
        supervisor.shutdown().await;
    });
}
