//! Measures running a command, compared to a loop that starts a program and waits for it.
#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot run has to stop"
)]

#[path = "../../ipc/benches/ratio.rs"]
mod ratio;

use std::process::Stdio;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use ratchet_runtime::process::{CommandLimits, CommandRunner, Keeper, ProcessConfig};
use ratio::{Ratios, timed};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A program that does nothing.
const PROGRAM: &str = "/bin/true";

/// How many programs run at the same time.
const AT_ONCE: usize = 2;

/// Reference: runs the program with the standard library, on [`AT_ONCE`] threads. The output is captured, as the
/// command runner captures it.
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

fn commands(criterion: &mut Criterion, runtime: &Runtime, ratios: &Ratios) {
    let title = "run /bin/true, two at once";
    let mut group = criterion.benchmark_group(title);
    group.throughput(Throughput::Elements(1));
    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(5));
    group.bench_function("bare", |bencher| {
        bencher.iter_custom(|count| {
            let total = timed(|| bare(count));
            ratios.note(title, "bare", total, count);
            total
        });
    });
    let runners = [
        ("no keeper", None),
        ("keeper", Some(Keeper::start().expect("sh is there"))),
    ];
    for (name, keeper) in runners {
        let runner = CommandRunner::new(keeper);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let total = timed(|| runtime.block_on(ours(&runner, count)));
                ratios.note(title, name, total, count);
                total
            });
        });
    }
    group.finish();
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let mut criterion = Criterion::default().configure_from_args();
    let ratios = Ratios::default();
    commands(&mut criterion, &runtime.expect("a runtime"), &ratios);
    criterion.final_summary();
    ratios.print();
}
