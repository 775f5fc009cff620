//! Measures what this crate and others add to a call that succeeds at once: with retries, and behind a closed breaker.

use std::hint::black_box;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use criterion::{Criterion, criterion_group, criterion_main};
use failsafe::{CircuitBreaker as _, Config, backoff, failure_policy};
use ratchet_resilience::circuit_breaker::{CallOutcome, CircuitBreaker};
use ratchet_resilience::retry::{BackoffPolicy, Fault, RetryExecutor};
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// The call: it succeeds, and takes no time.
async fn call() -> Result<u32, Fault<&'static str>> {
    Ok(black_box(7))
}

/// Returns how long this many calls take, one after the other.
fn timed(runtime: &Runtime, times: u64, call: impl AsyncFn() -> bool) -> Duration {
    runtime.block_on(async {
        let begin = Instant::now();
        for _ in 0..times {
            black_box(call().await);
        }
        begin.elapsed()
    })
}

fn retry(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("a call that succeeds, with retries");
    let policy = BackoffPolicy::builder().max_attempts(3).build();
    // A setting that is refused would make this a benchmark of nothing.
    let policy = policy.unwrap_or_else(|error| unreachable!("{error}"));
    let executor = RetryExecutor::new(policy);
    group.bench_function("ratchet-resilience", |bencher| {
        bencher.iter_custom(|times| {
            timed(runtime, times, async || {
                black_box(executor.execute(|_| call()).await.is_ok())
            })
        });
    });
    let policy = ExponentialBuilder::default()
        .with_max_times(3)
        .with_jitter();
    group.bench_function("backon", |bencher| {
        bencher.iter_custom(|times| {
            timed(runtime, times, async || {
                black_box(call.retry(policy).await.is_ok())
            })
        });
    });
    group.finish();
}

fn breaker(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a call that succeeds, behind a closed breaker");
    let breaker = CircuitBreaker::builder().consecutive_failures(3).build();
    let breaker = breaker.unwrap_or_else(|error| unreachable!("{error}"));
    group.bench_function("ratchet-resilience", |bencher| {
        bencher.iter(|| {
            if let Ok(permit) = black_box(&breaker).try_acquire(Instant::now().into_std()) {
                black_box(7);
                permit.record(CallOutcome::Success, Instant::now().into_std());
            }
        });
    });
    let delays = backoff::exponential(Duration::from_secs(10), Duration::from_secs(60));
    let peer = Config::new()
        .failure_policy(failure_policy::consecutive_failures(3, delays))
        .build();
    group.bench_function("failsafe", |bencher| {
        bencher.iter(|| black_box(peer.call(|| Ok::<_, ()>(black_box(7))).is_ok()));
    });
    group.finish();
}

fn peers(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap_or_else(|error| unreachable!("{error}"));
    retry(criterion, &runtime);
    breaker(criterion);
}

criterion_group!(benches, peers);
criterion_main!(benches);
