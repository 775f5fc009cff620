//! Measures the cost of a retry decision and of the retry budget, compared to an uncontended lock, the minimum for any
//! shared state.

use std::hint::black_box;
use std::sync::Mutex;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ratchet_resilience::Rng;
use ratchet_resilience::retry::{
    BackoffPolicy, BackoffPolicyBuilder, Delay, Fault, RetryBudget, RetryHistory,
};

fn policy(builder: BackoffPolicyBuilder) -> BackoffPolicy {
    // A setting that is refused would make this benchmark meaningless.
    builder
        .build()
        .unwrap_or_else(|error| unreachable!("{error}"))
}

fn retry(criterion: &mut Criterion) {
    let now = tokio::time::Instant::now().into_std();
    let mut group = criterion.benchmark_group("retry");

    let lock = Mutex::new(0_u64);
    group.bench_function("reference: uncontended mutex lock", |bencher| {
        bencher.iter(|| {
            if let Ok(mut guard) = black_box(&lock).lock() {
                *guard += 1;
            }
        });
    });

    let initial = Duration::from_millis(100);
    let classes = ["timeout", "crashed", "throttled"];
    for (name, builder) in [
        (
            "decision: exponential, full jitter",
            BackoffPolicy::builder(),
        ),
        (
            "decision: Fibonacci, full jitter",
            BackoffPolicy::builder().delay(Delay::Fibonacci { initial }),
        ),
        (
            "decision: by class, with a time limit",
            BackoffPolicy::builder()
                .classes(classes)
                .class_delay("throttled", Delay::Fixed(initial))
                .time_limit(Duration::from_secs(60)),
        ),
    ] {
        let policy = policy(builder.max_attempts(u32::MAX));
        let error = Fault::transient(()).class("throttled");
        let mut rng = Rng::seeded(1);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut history = black_box(RetryHistory::resumed(now, 4));
                history.record_failure(&policy, black_box(&error), now, &mut rng)
            });
        });
    }

    if let Ok(budget) = RetryBudget::builder().floor_per_second(1e6).build() {
        let mut time = now;
        group.bench_function("budget: deposit", |bencher| {
            bencher.iter(|| {
                time += Duration::from_micros(10);
                black_box(&budget).deposit(time);
            });
        });
        group.bench_function("budget: withdraw", |bencher| {
            bencher.iter(|| {
                time += Duration::from_micros(10);
                black_box(&budget).withdraw(time)
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = retry
}
criterion_main!(benches);
