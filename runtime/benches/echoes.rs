//! Sends requests to echo workers for several benchmarks: through a pool, and with minimal hosts as the reference.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ratchet_runtime::process::{
    LocalProcesses, PoolConfig, Prefetch, ProcessConfig, ProcessPool, ProcessSupervisor,
    RestartPolicy, Size,
};
use ratchet_runtime::{Job, Payload};
use tokio::task::JoinSet;

use crate::reference;

/// A small, typical input.
pub(crate) const INPUT: &str = r#"{"path":"images/a.png","width":640}"#;

/// The environment variable that makes a process a worker.
pub(crate) const WORKER: &str = "RATCHET_BENCH_WORKER";

/// Reference: sends `count` requests through minimal hosts, each with one thread and one worker process. Each host has
/// up to `in_flight` unanswered requests.
pub(crate) fn bare(hosts: &mut [reference::Host], count: u64, in_flight: u64) {
    let input = serde_json::from_str(INPUT).expect("it is JSON");
    let share = count.div_ceil(hosts.len() as u64);
    std::thread::scope(|scope| {
        for host in hosts {
            scope.spawn(move || {
                host.exchange(share, in_flight, input)
                    .expect("the echo answers");
            });
        }
    });
}

/// Returns a policy that never gives a pool up, however often its workers crash.
fn undaunted() -> RestartPolicy {
    RestartPolicy {
        intensity: u32::MAX,
        ..RestartPolicy::default()
    }
}

/// Starts a pool of this many workers. Each worker is this program.
pub(crate) async fn pool(workers: u32, prefetch: Prefetch) -> ProcessPool {
    let program = std::env::current_exe().expect("this program has a path");
    let mut process = ProcessConfig::new(program);
    process.env = process.env.set(WORKER, "1");
    let config = PoolConfig {
        size: Size::fixed(workers),
        prefetch,
        restart: undaunted(),
        ..PoolConfig::new("echo", process)
    };
    ProcessSupervisor::start(Arc::new(LocalProcesses::start()))
        .add(config)
        .await
        .expect("it can work")
}

/// Runs `count` jobs on the pool with this many concurrent callers. Each caller waits for a result before it asks again.
pub(crate) async fn callers(pool: &ProcessPool, callers: u64, count: u64) {
    let input = Payload::from_json(INPUT).expect("it is JSON");
    let left = Arc::new(AtomicU64::new(count));
    let mut running = JoinSet::new();
    for _ in 0..callers {
        let (pool, left, input) = (pool.clone(), Arc::clone(&left), input.clone());
        running.spawn(async move {
            // The counter orders nothing else, so relaxed is enough.
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
            {
                let reply = pool.run(Job::task("a", "echo", input.clone())).await;
                assert!(reply.result.is_ok(), "{reply:?}");
            }
        });
    }
    while let Some(done) = running.join_next().await {
        done.expect("no caller panics");
    }
}
