//! Measures `ParallelizationManager::acquire`, compared to a semaphore, and its share of a job of 1 ms.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use ratchet_runtime::{ParallelizationHint, ParallelizationManager, SchedulerSettings};
use tokio::sync::Semaphore;

const JOB: Duration = Duration::from_millis(1);

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn clock() -> Instant {
    Instant::now()
}

fn hints() -> [(&'static str, ParallelizationHint); 5] {
    let rate = ParallelizationHint::RateLimited {
        requests_per_second: 1e9,
        burst: u32::MAX,
        key: Some("api".to_owned()),
    };
    [
        ("fully_parallel", ParallelizationHint::FullyParallel),
        ("host_exclusive", ParallelizationHint::HostExclusive),
        ("rate_limited", rate),
        ("global_exclusive", ParallelizationHint::GlobalExclusive),
        ("alone", ParallelizationHint::Alone),
    ]
}

fn uncontended(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("uncontended");
    let semaphore = Arc::new(Semaphore::new(8));
    group.bench_function("tokio_semaphore", |bencher| {
        bencher.iter(|| {
            runtime
                .block_on(async { black_box(Arc::clone(&semaphore).acquire_owned().await.is_ok()) })
        });
    });
    let settings = SchedulerSettings {
        slots: 8,
        ..SchedulerSettings::default()
    };
    let manager = ParallelizationManager::with_settings(settings).expect("possible");
    for (name, hint) in hints() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    black_box(manager.acquire(&hint, "web1", "task").await.is_ok())
                })
            });
        });
    }
    group.finish();
}

/// Keeps the processor busy for a millisecond. A sleep would hide the cost of `acquire` in the delay of the timer.
fn job() {
    let end = clock() + JOB;
    while clock() < end {
        std::hint::spin_loop();
    }
}

fn overhead(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("one_ms_job");
    group.bench_function("bare", |bencher| {
        bencher.iter(|| runtime.block_on(async { job() }));
    });
    let manager = ParallelizationManager::new();
    for (name, hint) in hints() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let guard = manager.acquire(&hint, "web1", "task").await;
                    job();
                    drop(guard);
                });
            });
        });
    }
    group.finish();
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().expect("a runtime")
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = uncontended, overhead
}
criterion_main!(benches);
