//! Measures what a circuit breaker adds to a call, compared to an uncontended lock, the minimum for any shared state.

use std::hint::black_box;
use std::sync::Mutex;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ratchet_resilience::circuit_breaker::{
    CallOutcome, CircuitBreaker, CircuitBreakerBuilder, Window,
};

fn breaker(builder: CircuitBreakerBuilder) -> CircuitBreaker {
    // A setting that is refused would make this benchmark meaningless.
    builder
        .build()
        .unwrap_or_else(|error| unreachable!("{error}"))
}

fn circuit_breaker(criterion: &mut Criterion) {
    let now = tokio::time::Instant::now().into_std();
    let mut group = criterion.benchmark_group("circuit breaker");

    let lock = Mutex::new(0_u64);
    group.bench_function("reference: uncontended mutex lock", |bencher| {
        bencher.iter(|| {
            if let Ok(mut guard) = black_box(&lock).lock() {
                *guard += 1;
            }
        });
    });

    for (name, window) in [
        (
            "closed: acquire and record, last 100 calls",
            Window::Calls(100),
        ),
        (
            "closed: acquire and record, last 30 s",
            Window::Time(Duration::from_secs(30)),
        ),
    ] {
        let breaker = breaker(CircuitBreaker::builder().window(window));
        let mut time = now;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                // One call per microsecond, so that a time window slides as in real use.
                time += Duration::from_micros(1);
                if let Ok(permit) = black_box(&breaker).try_acquire(time) {
                    permit.record(CallOutcome::Success, time);
                }
            });
        });
    }

    let open = breaker(CircuitBreaker::builder());
    open.force_open(now);
    group.bench_function("open: reject", |bencher| {
        bencher.iter(|| black_box(&open).try_acquire(now).is_err());
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = circuit_breaker
}
criterion_main!(benches);
