//! Measures jobs that a pool passes to real workers, compared to a minimal host with the same number of processes.
#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot run has to stop"
)]

mod echoes;
#[path = "../../ipc/benches/ratio.rs"]
mod ratio;
#[path = "../../ipc/benches/reference.rs"]
mod reference;

use std::time::Duration;

use criterion::{Criterion, Throughput};
use echoes::{INPUT, WORKER, bare, callers, pool};
use ratchet_ipc::serve::{Call, Task};
use ratchet_runtime::builtin::{BuiltinTask, builtin};
use ratchet_runtime::process::Prefetch;
use ratchet_runtime::{Job, Payload};
use ratio::{Ratios, timed};
use tokio::runtime::Runtime;

/// Measures the time from the failure of a job that killed its worker to the next result. The reference starts a process
/// and exchanges one echo with it.
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
                total += timed(|| runtime.block_on(callers(&pool, 1, 1)));
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
            let asking = u64::from(workers) * (1 + ahead);
            group.bench_function("ratchet", |bencher| {
                bencher.iter_custom(|count| {
                    let total = timed(|| runtime.block_on(callers(&pool, asking, count)));
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
