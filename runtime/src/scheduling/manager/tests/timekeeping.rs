//! The timekeeper must not sleep through a moment, and some things must not depend on it.

use std::task::Poll;

use super::{by_hand, elapsed};
use crate::scheduling::manager::*;
use crate::{Limit, Quota};

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

/// The drop of the last guard makes a moment the next thing to wait for, and no timekeeper ran before.
#[tokio::test(start_paused = true)]
async fn a_rate_that_blocks_only_after_a_lock_is_waited_for_too() {
    let quota = Quota::new("10/s".parse().unwrap(), 1).unwrap();
    let manager = ParallelizationManager::with_settings(SchedulerSettings {
        slots: 4,
        limits: vec![("api".into(), Limit::Rate(quota))],
        ..SchedulerSettings::default()
    })
    .unwrap();
    let api = [manager.limit("api").unwrap()];
    let request = |host| SchedulerRequest {
        hint: &ParallelizationHint::HostExclusive,
        host: Some(host),
        limits: &api,
        ..SchedulerRequest::new("call")
    };
    let start = tokio::time::Instant::now();
    let first = manager.acquire_request(request("a")).await.unwrap();
    let waiter = manager.clone();
    // A task of its own, so that only its own waker makes it polled.
    let second = tokio::spawn(async move {
        let api = [waiter.limit("api").unwrap()];
        let request = SchedulerRequest {
            hint: &ParallelizationHint::HostExclusive,
            host: Some("a"),
            limits: &api,
            ..SchedulerRequest::new("call")
        };
        drop(waiter.acquire_request(request).await.unwrap());
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    // This runs outside of a poll of the waiter, and without a runtime.
    std::thread::spawn(move || drop(first)).join().unwrap();
    tokio::time::timeout(Duration::from_secs(5), second)
        .await
        .unwrap()
        .unwrap();
    assert!((100..=101).contains(&elapsed(start)), "{}", elapsed(start));
}

/// A timekeeper that sleeps for the slow waiter must not sleep through the fast one's turn.
#[tokio::test(start_paused = true)]
async fn a_sooner_moment_is_not_slept_through() {
    let manager = ParallelizationManager::new();
    let slow = ParallelizationHint::rate_limited(0.1);
    let fast = ParallelizationHint::rate_limited(10.0);
    drop(manager.acquire(&slow, "h", "slow").await.unwrap());
    drop(manager.acquire(&fast, "h", "fast").await.unwrap());
    let start = tokio::time::Instant::now();
    let waiter = manager.clone();
    let waits = tokio::spawn(async move { waiter.acquire(&slow, "h", "slow").await.map(drop) });
    tokio::time::sleep(Duration::from_millis(10)).await;
    drop(manager.acquire(&fast, "h", "fast").await.unwrap());
    assert!((100..=102).contains(&elapsed(start)), "{}", elapsed(start));
    waits.await.unwrap().unwrap();
    assert!(
        (10_000..=10_002).contains(&elapsed(start)),
        "{}",
        elapsed(start)
    );
}

#[test]
fn without_a_timer_a_rate_limit_says_so_instead_of_hanging() {
    let hint = ParallelizationHint::rate_limited(0.001);
    for with_time in [false, true] {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        if with_time {
            builder.enable_time().start_paused(true);
        }
        let manager = ParallelizationManager::new();
        let answer = builder.build().unwrap().block_on(async {
            drop(manager.acquire(&hint, "h", "task").await.unwrap());
            manager.acquire(&hint, "h", "task").await.map(drop)
        });
        assert_eq!(
            answer,
            if with_time {
                Ok(())
            } else {
                Err(Error::NoTimer)
            }
        );
    }
    let manager = ParallelizationManager::new();
    assert!(
        by_hand(manager.acquire(&hint, "h", "task"))
            .poll()
            .is_ready()
    );
    match by_hand(manager.acquire(&hint, "h", "task")).poll() {
        Poll::Ready(Err(error)) => assert_eq!(error, Error::NoTimer),
        other => panic!("{other:?}"),
    }
}

/// The timekeeper lives in the runtime of one waiter; the others must not depend on it.
#[test]
fn a_waiter_outlives_the_runtime_that_kept_its_time() {
    let manager = ParallelizationManager::new();
    let hint = ParallelizationHint::rate_limited(2.0);
    let (short, long) = (runtime(), runtime());
    drop(long.block_on(manager.acquire(&hint, "h", "task")).unwrap());
    let mut waits = Box::pin(manager.acquire(&hint, "h", "task"));
    short.block_on(async {
        let poll = std::future::poll_fn(|context| {
            Poll::Ready(Future::poll(waits.as_mut(), context).is_pending())
        });
        assert!(poll.await);
    });
    drop(short);
    drop(long.block_on(waits).unwrap());
}

/// A task that is spawned on a runtime that has shut down is dropped at once, in the middle of the poll.
#[test]
fn a_runtime_that_has_shut_down_is_refused_and_the_others_go_on() {
    let manager = ParallelizationManager::new();
    let hint = ParallelizationHint::rate_limited(2.0);
    let alive = runtime();
    drop(alive.block_on(manager.acquire(&hint, "h", "task")).unwrap());
    {
        let ended = runtime().handle().clone();
        let _inside = ended.enter();
        match by_hand(manager.acquire(&hint, "h", "task")).poll() {
            Poll::Ready(Err(error)) => assert_eq!(error, Error::NoTimer),
            other => panic!("{other:?}"),
        }
    }
    drop(alive.block_on(manager.acquire(&hint, "h", "task")).unwrap());
}

/// A runtime that ends by a panic must not affect the waiters of other runtimes.
#[test]
fn a_panic_elsewhere_is_not_taken_for_a_missing_timer() {
    let manager = ParallelizationManager::new();
    let hint = ParallelizationHint::rate_limited(2.0);
    let alive = runtime();
    drop(alive.block_on(manager.acquire(&hint, "h", "task")).unwrap());
    let mut waits = Box::pin(manager.acquire(&hint, "h", "task"));
    let panics = std::panic::AssertUnwindSafe(|| {
        let short = runtime();
        short.block_on(async {
            let poll = std::future::poll_fn(|context| {
                Poll::Ready(Future::poll(waits.as_mut(), context).is_pending())
            });
            assert!(poll.await);
            // The timekeeper sleeps now, and so is dropped with the runtime.
            tokio::task::yield_now().await;
            panic!("the program's own fault");
        });
    });
    assert!(std::panic::catch_unwind(panics).is_err());
    drop(alive.block_on(waits).unwrap());
}

#[test]
fn a_timeout_without_a_timer_is_refused() {
    let manager = ParallelizationManager::new();
    let builder = tokio::runtime::Builder::new_current_thread().build();
    let answer = builder.unwrap().block_on(manager.acquire_timeout(
        &ParallelizationHint::FullyParallel,
        "h",
        "task",
        Duration::from_secs(1),
    ));
    assert_eq!(answer.map(drop), Err(Error::NoTimer));
}
