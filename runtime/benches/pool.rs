//! Jobs through a pool to real workers, beside the least that anyone could do with as many processes.
#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot run has to stop"
)]

#[path = "../../ipc/benches/ratio.rs"]
mod ratio;
#[path = "../../ipc/benches/reference.rs"]
mod reference;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use ratchet_ipc::serve::{Call, Task};
use ratchet_runtime::process::{
    LocalProcesses, PoolConfig, Prefetch, ProcessConfig, ProcessPool, ProcessSupervisor,
    RestartPolicy, Size,
};
use ratchet_runtime::worker::{BuiltinTask, builtin};
use ratchet_runtime::{Job, Payload};
use ratio::Ratios;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// A small input, as most are.
const INPUT: &str = r#"{"path":"images/a.png","width":640}"#;

/// Set in the environment of a process that is to be a worker.
const WORKER: &str = "RATCHET_BENCH_WORKER";

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures the real time"
)]
fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// As many hosts of one thread and one process each.
fn bare(hosts: &mut [reference::Host], count: u64, in_flight: u64) {
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

/// However many of its workers fall, it is not given up.
fn undaunted() -> RestartPolicy {
    RestartPolicy {
        intensity: u32::MAX,
        ..RestartPolicy::default()
    }
}

async fn pool(workers: u32, prefetch: Prefetch) -> ProcessPool {
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

/// So many callers, who ask for one thing after the other.
async fn ours(pool: &ProcessPool, callers: u64, count: u64) {
    let input = Payload::from_json(INPUT).expect("it is JSON");
    let left = Arc::new(AtomicU64::new(count));
    let mut running = JoinSet::new();
    for _ in 0..callers {
        let (pool, left, input) = (pool.clone(), Arc::clone(&left), input.clone());
        running.spawn(async move {
            // Only the count matters.
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

/// From the failure of a job that has killed its worker to the next result, beside a bare start and echo.
fn restart(criterion: &mut Criterion, runtime: &Runtime, ratios: &Ratios) {
    let name = "restart after a crash";
    let mut group = criterion.benchmark_group(name);
    group
        .measurement_time(Duration::from_secs(2))
        .sample_size(10);
    group.bench_function("reference", |bencher| {
        bencher.iter_custom(|count| {
            let total = timed(|| {
                for _ in 0..count {
                    let mut hosts = [reference::Host::start().expect("the echo starts")];
                    bare(&mut hosts, 1, 1);
                }
            });
            ratios.note(name, "reference", total, count);
            total
        });
    });
    let pool = runtime.block_on(pool(1, Prefetch::Fixed(0)));
    let input = Payload::from_json(INPUT).expect("it is JSON");
    group.bench_function("ratchet", |bencher| {
        bencher.iter_custom(|count| {
            let mut total = Duration::ZERO;
            for _ in 0..count {
                let died = runtime.block_on(pool.run(Job::task("a", "die", input.clone())));
                assert!(died.result.is_err(), "{died:?}");
                total += timed(|| runtime.block_on(ours(&pool, 1, 1)));
            }
            ratios.note(name, "ratchet", total, count);
            total
        });
    });
    group.finish();
}

fn bench(criterion: &mut Criterion, runtime: &Runtime, ratios: &Ratios) {
    for workers in [1_u32, 2, 4] {
        for (prefetch, name, ahead) in [
            (Prefetch::Fixed(0), "0", 0),
            (Prefetch::Fixed(64), "64", 64),
            (Prefetch::Auto, "auto", 256),
        ] {
            let name = format!("{workers} workers, prefetch {name}");
            let mut group = criterion.benchmark_group(&name);
            group.throughput(Throughput::Elements(1));
            group
                .measurement_time(Duration::from_secs(2))
                .warm_up_time(Duration::from_secs(1))
                .sample_size(10);
            let mut hosts: Vec<_> = (0..workers)
                .map(|_| reference::Host::start().expect("the echo starts"))
                .collect();
            group.bench_function("reference", |bencher| {
                bencher.iter_custom(|count| {
                    let total = timed(|| bare(&mut hosts, count, 1 + ahead));
                    ratios.note(&name, "reference", total, count);
                    total
                });
            });
            drop(hosts);
            let pool = runtime.block_on(pool(workers, prefetch));
            let callers = u64::from(workers) * (1 + ahead);
            group.bench_function("ratchet", |bencher| {
                bencher.iter_custom(|count| {
                    let total = timed(|| runtime.block_on(ours(&pool, callers, count)));
                    ratios.note(&name, "ratchet", total, count);
                    total
                });
            });
            group.finish();
        }
    }
}

#[expect(clippy::exit, reason = "to die is what is measured")]
fn die() -> Payload {
    std::process::exit(3)
}

fn main() {
    if reference::echo_if_asked() {
        return;
    }
    if std::env::var_os(WORKER).is_some() {
        builtin([BuiltinTask::Echo])
            .task(Task::new("die", |_: Call| async { Ok(die()) }))
            .run()
            .expect("the host closing its end is the way this ends");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let ratios = Ratios::default();
    let mut criterion = Criterion::default().configure_from_args();
    bench(&mut criterion, &runtime, &ratios);
    restart(&mut criterion, &runtime, &ratios);
    criterion.final_summary();
    ratios.print();
}
