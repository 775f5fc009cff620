//! Tests that each hint is enforced, with tasks that only acquire and work.
//!
//! The tests run on tokio's paused clock, so the times are exact.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ratchet_runtime::{ParallelizationHint, ParallelizationManager};
use tokio::task::JoinSet;
use tokio::time::Instant;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    host: String,
    task: &'static str,
    start: u128,
    end: u128,
}

impl Run {
    fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// Runs all of these jobs at once, 50 ms each, and returns when each ran, in the order of their starts.
async fn run(
    manager: &ParallelizationManager,
    jobs: impl IntoIterator<Item = (ParallelizationHint, &str, &'static str)>,
) -> Vec<Run> {
    let begin = Instant::now();
    let log = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for (hint, host, task) in jobs {
        let (manager, host, log) = (manager.clone(), host.to_owned(), Arc::clone(&log));
        tasks.spawn(async move {
            let guard = manager.acquire(&hint, &host, task).await.unwrap();
            let start = begin.elapsed().as_millis();
            tokio::time::sleep(Duration::from_millis(50)).await;
            let end = begin.elapsed().as_millis();
            log.lock().unwrap().push(Run {
                host,
                task,
                start,
                end,
            });
            drop(guard);
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let mut log = std::mem::take(&mut *log.lock().unwrap());
    log.sort_by_key(|run| run.start);
    log
}

fn starts(runs: &[Run]) -> Vec<u128> {
    runs.iter().map(|run| run.start).collect()
}

#[tokio::test(start_paused = true)]
async fn test_host_exclusive_enforcement() {
    let manager = ParallelizationManager::new();
    let jobs = (0..4).map(|_| (ParallelizationHint::HostExclusive, "web1", "apt"));
    assert_eq!(starts(&run(&manager, jobs).await), [0, 50, 100, 150]);
}

#[tokio::test(start_paused = true)]
async fn test_host_exclusive_different_hosts_parallel() {
    let manager = ParallelizationManager::new();
    let hosts = ["web1", "web2", "web3", "web1", "web2", "web3"];
    let jobs = hosts.map(|host| (ParallelizationHint::HostExclusive, host, "apt"));
    assert_eq!(starts(&run(&manager, jobs).await), [0, 0, 0, 50, 50, 50]);
}

#[tokio::test(start_paused = true)]
async fn test_global_exclusive_enforcement() {
    let manager = ParallelizationManager::new();
    let hosts = ["etcd1", "etcd2", "etcd3"];
    let jobs = hosts.map(|host| (ParallelizationHint::GlobalExclusive, host, "etcd_member"));
    let runs = run(&manager, jobs).await;
    assert_eq!(starts(&runs), [0, 50, 100]);
    let order: Vec<&str> = runs.iter().map(|run| run.host.as_str()).collect();
    assert_eq!(order, hosts, "in the order they came");
}

#[tokio::test(start_paused = true)]
async fn test_rate_limited_enforcement() {
    let manager = ParallelizationManager::new();
    let jobs = (0..10).map(|_| (ParallelizationHint::rate_limited(5.0), "localhost", "ec2"));
    let runs = run(&manager, jobs).await;
    for pair in runs.windows(2) {
        assert!(
            pair[1].start - pair[0].start >= 199,
            "spaced by the rate: {pair:?}"
        );
    }
    assert!((1_800..=1_810).contains(&runs[9].start), "{runs:?}");
}

#[tokio::test(start_paused = true)]
async fn test_fully_parallel_no_restrictions() {
    let manager = ParallelizationManager::new();
    let jobs = (0..100).map(|_| (ParallelizationHint::FullyParallel, "web1", "debug"));
    assert_eq!(starts(&run(&manager, jobs).await), [0; 100]);
}

#[tokio::test(start_paused = true)]
async fn test_mixed_parallelization_hints() {
    let manager = ParallelizationManager::new();
    let kinds = [
        (ParallelizationHint::FullyParallel, "debug"),
        (ParallelizationHint::HostExclusive, "apt"),
        (ParallelizationHint::GlobalExclusive, "etcd_member"),
        (ParallelizationHint::rate_limited(10.0), "ec2"),
        (ParallelizationHint::Alone, "reboot_all"),
    ];
    let jobs = (0..60).map(|number| {
        let (hint, task) = kinds[number % 5].clone();
        (hint, ["web1", "web2", "web3"][number % 3], task)
    });
    let runs = run(&manager, jobs).await;
    assert_eq!(runs.len(), 60);
    let exclusive = |run: &Run| matches!(run.task, "apt" | "etcd_member");
    for (at, one) in runs.iter().enumerate() {
        for other in runs[at + 1..].iter().filter(|other| one.overlaps(other)) {
            assert!(
                one.task != "reboot_all" && other.task != "reboot_all",
                "{one:?} {other:?}"
            );
            assert!(one.task != "etcd_member" || other.task != "etcd_member");
            let both = exclusive(one) && exclusive(other);
            assert!(!both || one.host != other.host, "{one:?} {other:?}");
        }
    }
    let calls: Vec<u128> = runs
        .iter()
        .filter(|run| run.task == "ec2")
        .map(|run| run.start)
        .collect();
    assert!(
        calls.windows(2).all(|pair| pair[1] - pair[0] >= 99),
        "{calls:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn test_parallelization_stats() {
    let manager = ParallelizationManager::new();
    let held = [
        manager
            .acquire(&ParallelizationHint::HostExclusive, "web1", "apt")
            .await
            .unwrap(),
        manager
            .acquire(&ParallelizationHint::GlobalExclusive, "etcd1", "etcd")
            .await
            .unwrap(),
        manager
            .acquire(&ParallelizationHint::rate_limited(4.0), "web1", "ec2")
            .await
            .unwrap(),
    ];
    let stats = manager.stats();
    assert_eq!(
        stats.host_locks.keys().collect::<Vec<_>>(),
        ["etcd1", "web1"]
    );
    assert!(stats.host_locks.values().all(|held| *held));
    assert!(!stats.global_available);
    let bucket = stats.rate_limiter_states["ec2"];
    assert!(bucket.tokens < 0.1 && (bucket.refill_rate - 4.0).abs() < 1e-9);
    assert_eq!((stats.running, stats.waiters), (3, 0));

    drop(held);
    tokio::time::sleep(Duration::from_millis(125)).await;
    let stats = manager.stats();
    assert!(stats.host_locks.is_empty() && stats.global_available);
    assert!((stats.rate_limiter_states["ec2"].tokens - 0.5).abs() < 0.02);
    assert_eq!(manager.wait_times().count(), 3);
}
