//! Plain commands beside a bare loop that starts a program and waits for it.
#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot run has to stop"
)]

use std::process::Stdio;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use ratchet_runtime::process::{CommandLimits, CommandRunner, Keeper, ProcessConfig};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A program that does nothing.
const PROGRAM: &str = "/bin/true";

/// How many run at the same time.
const AT_ONCE: usize = 2;

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures the real time"
)]
fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// The least that anyone could do, on as many threads; its output is caught as ours is.
fn bare(count: u64) {
    std::thread::scope(|scope| {
        for thread in 0..AT_ONCE as u64 {
            let share = count / AT_ONCE as u64 + u64::from(thread < count % AT_ONCE as u64);
            scope.spawn(move || {
                for _ in 0..share {
                    let output = std::process::Command::new(PROGRAM)
                        .stdin(Stdio::null())
                        .output()
                        .expect("it starts");
                    assert!(output.status.success());
                }
            });
        }
    });
}

async fn ours(runner: &CommandRunner, count: u64) {
    let mut running = JoinSet::new();
    for _ in 0..count {
        while running.len() >= AT_ONCE {
            running
                .join_next()
                .await
                .expect("one runs")
                .expect("it does not panic");
        }
        let runner = runner.clone();
        running.spawn(async move {
            let config = ProcessConfig::new(PROGRAM);
            let never = CancellationToken::new();
            let output = runner.run(&config, CommandLimits::default(), &never).await;
            assert!(output.expect("it starts").is_success());
        });
    }
    running.join_all().await;
}

fn commands(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("run /bin/true, two at once");
    group.throughput(Throughput::Elements(1));
    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(5));
    group.bench_function("bare", |bencher| {
        bencher.iter_custom(|count| timed(|| bare(count)));
    });
    let runners = [
        ("no keeper", None),
        ("keeper", Some(Keeper::start().expect("sh is there"))),
    ];
    for (name, keeper) in runners {
        let runner = CommandRunner::new(keeper);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| timed(|| runtime.block_on(ours(&runner, count))));
        });
    }
    group.finish();
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let mut criterion = Criterion::default().configure_from_args();
    commands(&mut criterion, &runtime.expect("a runtime"));
    criterion.final_summary();
}
