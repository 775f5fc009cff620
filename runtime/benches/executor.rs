//! Measures the executor: jobs that do nothing, jobs that a pool performs, compared to the pool alone, jobs that are
//! recorded in a journal, and a run with many hosts.
#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot run has to stop"
)]

mod echoes;
#[path = "../../ipc/benches/ratio.rs"]
mod ratio;
#[path = "../../ipc/benches/reference.rs"]
mod reference;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, Throughput};
use echoes::{INPUT, WORKER, bare, callers, pool};
use ratchet_runtime::builtin::{BuiltinTask, builtin};
use ratchet_runtime::journal::Header;
use ratchet_runtime::process::Prefetch;
use ratchet_runtime::{
    Durability, Executor, ExecutorBuilder, Job, Journal, Limit, ParallelizationHint, Payload,
    Priority, RunId, Terms,
};
use ratio::{Ratios, timed};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// The number of unanswered requests of each reference host, and the number of callers of the pool for each worker.
const IN_FLIGHT: u64 = 257;

fn group<'a>(
    criterion: &'a mut Criterion,
    name: &str,
) -> criterion::BenchmarkGroup<'a, criterion::measurement::WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .throughput(Throughput::Elements(1))
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_secs(1))
        .sample_size(10);
    group
}

/// Runs these jobs, and panics if one does not succeed.
async fn run<I>(executor: &Executor, jobs: I)
where
    I: IntoIterator<Item = Job>,
    I::IntoIter: Send + 'static,
{
    let mut run = executor.run(jobs).expect("nothing else runs");
    let mut outcomes = Vec::new();
    while run.next_many(&mut outcomes, 256).await > 0 {
        for outcome in outcomes.drain(..) {
            assert!(outcome.is_success(), "{outcome:?}");
        }
    }
}

fn nothing(count: u64) -> impl Iterator<Item = Job> + Send {
    (0..count).map(|number| Job::closure(number.to_string(), |_| async { Ok(Payload::null()) }))
}

fn echoes(count: u64) -> impl Iterator<Item = Job> + Send {
    let input = Payload::from_json(INPUT).expect("it is JSON");
    (0..count).map(move |number| Job::task(number.to_string(), "echo", input.clone()))
}

/// Reference: spawns a tokio task for each job, with at most 64 at once.
async fn bare_tasks(count: u64) {
    let mut running = JoinSet::new();
    for number in 0..count {
        running.spawn(async move { (number.to_string(), Payload::null()) });
        if running.len() >= 64 {
            running.join_next().await;
        }
    }
    while running.join_next().await.is_some() {}
}

fn closures(criterion: &mut Criterion, runtimes: &[(&'static str, Runtime)], ratios: &Ratios) {
    for (name, runtime) in runtimes {
        let name = format!("no-op closure, {name}");
        let mut group = group(criterion, &name);
        let executor = Executor::builder().slots(64).build().expect("it can run");
        group.bench_function("bare tasks", |bencher| {
            bencher.iter_custom(|count| {
                let total = timed(|| runtime.block_on(bare_tasks(count)));
                ratios.note(&name, "bare tasks", total, count);
                total
            });
        });
        group.bench_function("executor", |bencher| {
            bencher.iter_custom(|count| {
                let total = timed(|| runtime.block_on(run(&executor, nothing(count))));
                ratios.note(&name, "executor", total, count);
                total
            });
        });
        group.finish();
    }
}

fn workers(criterion: &mut Criterion, runtime: &Runtime, ratios: &Ratios) {
    for workers in [1_u32, 2] {
        let name = format!("echo, {workers} workers");
        let mut group = group(criterion, &name);
        let mut hosts: Vec<_> = (0..workers)
            .map(|_| reference::Host::start().expect("the echo starts"))
            .collect();
        group.bench_function("reference", |bencher| {
            bencher.iter_custom(|count| {
                let total = timed(|| bare(&mut hosts, count, IN_FLIGHT));
                ratios.note(&name, "reference", total, count);
                total
            });
        });
        drop(hosts);
        let pool = runtime.block_on(pool(workers, Prefetch::Auto));
        group.bench_function("pool", |bencher| {
            bencher.iter_custom(|count| {
                let asking = u64::from(workers) * IN_FLIGHT;
                let total = timed(|| runtime.block_on(callers(&pool, asking, count)));
                ratios.note(&name, "pool", total, count);
                total
            });
        });
        let executor = Executor::builder().slots(workers).pool(pool, []).build();
        let executor = executor.expect("it can run");
        group.bench_function("executor", |bencher| {
            bencher.iter_custom(|count| {
                let total = timed(|| runtime.block_on(run(&executor, echoes(count))));
                ratios.note(&name, "executor", total, count);
                total
            });
        });
        group.finish();
    }
}

fn journal(folder: &Path, name: &str, durability: Durability) -> Journal {
    let now = SystemTime::UNIX_EPOCH;
    let header = Header::new(RunId::at(now), now, Payload::null());
    Journal::create(folder.join(name), &header, durability).expect("there is room")
}

fn journals(criterion: &mut Criterion, runtime: &Runtime, ratios: &Ratios) {
    let folder = tempfile::Builder::new()
        .tempdir_in(".")
        .expect("the folder can be written to");
    let name = "no-op closure, journal";
    let mut group = group(criterion, name);
    for (who, durability) in [
        ("off", None),
        ("none", Some(Durability::None)),
        ("batch", Some(Durability::Batch)),
        ("each", Some(Durability::Each)),
    ] {
        let executor = Executor::builder().slots(64);
        let executor = match durability {
            None => executor,
            Some(durability) => executor.ledger(journal(folder.path(), who, durability)),
        };
        let executor = executor.build().expect("it can run");
        group.bench_function(who, |bencher| {
            bencher.iter_custom(|count| {
                let total = timed(|| runtime.block_on(run(&executor, nothing(count))));
                ratios.note(name, who, total, count);
                total
            });
        });
    }
    group.finish();
}

const HOSTS: u64 = 1000;
const JOBS: u64 = 100_000;

/// Makes jobs for many hosts with different terms: parallel, exclusive on their host, limited and rate-limited ones.
fn mixed() -> impl Iterator<Item = Job> + Send {
    let terms = |hint: ParallelizationHint, priority: Priority, limits: &[&str]| {
        Arc::new(Terms {
            hint: Some(hint),
            priority,
            limits: limits.iter().map(|&name| name.to_owned()).collect(),
            ..Terms::default()
        })
    };
    let rate = ParallelizationHint::RateLimited {
        requests_per_second: 1_000_000.0,
        burst: 1000,
        key: None,
    };
    let kinds = [
        terms(ParallelizationHint::FullyParallel, Priority::Normal, &[]),
        terms(ParallelizationHint::HostExclusive, Priority::Normal, &[]),
        terms(ParallelizationHint::FullyParallel, Priority::High, &["db"]),
        terms(ParallelizationHint::HostExclusive, Priority::Low, &[]),
        terms(ParallelizationHint::FullyParallel, Priority::Low, &[]),
        terms(rate, Priority::Normal, &[]),
        terms(ParallelizationHint::HostExclusive, Priority::High, &["db"]),
    ];
    (0..JOBS).map(move |number| {
        // One job in a thousand runs only while no other job runs on any host.
        let terms = if number % 1000 == 999 {
            Arc::new(Terms {
                hint: Some(ParallelizationHint::GlobalExclusive),
                ..Terms::default()
            })
        } else {
            Arc::clone(&kinds[usize::try_from(number).unwrap_or_default() % kinds.len()])
        };
        Job::closure(number.to_string(), |_| async { Ok(Payload::null()) })
            .on_host(format!("host-{}", number * 7 % HOSTS))
            .terms(terms)
    })
}

fn many_hosts(criterion: &mut Criterion, runtime: &Runtime, ratios: &Ratios) {
    let mut group = criterion.benchmark_group("100000 jobs, 1000 hosts");
    group
        .throughput(Throughput::Elements(JOBS))
        .measurement_time(Duration::from_secs(3))
        .warm_up_time(Duration::from_millis(500))
        .sample_size(10);
    let builder = || -> ExecutorBuilder {
        let db = Limit::max(16).expect("it lets somebody pass");
        Executor::builder().slots(256).limit("db", db)
    };
    for (who, window) in [("window 4096", 4096), ("all at once", 100_000)] {
        let executor = builder().window(window).build().expect("it can run");
        group.bench_function(who, |bencher| {
            bencher.iter_custom(|count| {
                let total = timed(|| {
                    for _ in 0..count {
                        runtime.block_on(run(&executor, mixed()));
                    }
                });
                ratios.note("many hosts, a job", who, total, count * JOBS);
                total
            });
        });
    }
    group.finish();
}

fn main() {
    if reference::echo_if_asked() {
        return;
    }
    if std::env::var_os(WORKER).is_some() {
        builtin([BuiltinTask::Echo])
            .run()
            .expect("the host closing its end is the way this ends");
        return;
    }
    let one = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let many = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let runtimes = [("1 thread", one), ("2 threads", many)];
    let ratios = Ratios::default();
    let mut criterion = Criterion::default().configure_from_args();
    closures(&mut criterion, &runtimes, &ratios);
    let (_, runtime) = &runtimes[0];
    workers(&mut criterion, runtime, &ratios);
    journals(&mut criterion, runtime, &ratios);
    many_hosts(&mut criterion, runtime, &ratios);
    criterion.final_summary();
    ratios.print();
}
