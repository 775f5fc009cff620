//! All on tokio's paused clock: time passes exactly when everybody waits.

use super::*;
use crate::{Limit, Quota};
use std::sync::atomic::{AtomicUsize, Ordering};

fn elapsed(start: tokio::time::Instant) -> u128 {
    start.elapsed().as_millis()
}

async fn hold(manager: &ParallelizationManager, hint: ParallelizationHint, host: &str, ms: u64) {
    let guard = manager.acquire(&hint, host, "task").await.unwrap();
    tokio::time::sleep(Duration::from_millis(ms)).await;
    drop(guard);
}

fn spawn_hold(
    manager: &ParallelizationManager,
    hint: &ParallelizationHint,
    host: &str,
    ms: u64,
) -> tokio::task::JoinHandle<()> {
    let (manager, hint, host) = (manager.clone(), hint.clone(), host.to_owned());
    tokio::spawn(async move { hold(&manager, hint, &host, ms).await })
}

async fn finish_all(tasks: Vec<tokio::task::JoinHandle<()>>) {
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn test_fully_parallel_no_blocking() {
    let manager = ParallelizationManager::new();
    let start = tokio::time::Instant::now();
    let tasks = (0..20).map(|_| spawn_hold(&manager, &ParallelizationHint::FullyParallel, "h", 50));
    finish_all(tasks.collect()).await;
    assert_eq!(elapsed(start), 50);
}

#[tokio::test(start_paused = true)]
async fn test_host_exclusive_blocks_per_host() {
    let manager = ParallelizationManager::new();
    let start = tokio::time::Instant::now();
    let first = spawn_hold(&manager, &ParallelizationHint::HostExclusive, "h", 50);
    let second = spawn_hold(&manager, &ParallelizationHint::HostExclusive, "h", 50);
    first.await.unwrap();
    assert_eq!(elapsed(start), 50);
    second.await.unwrap();
    assert_eq!(elapsed(start), 100);
}

#[tokio::test(start_paused = true)]
async fn test_host_exclusive_different_hosts_parallel() {
    let manager = ParallelizationManager::new();
    let start = tokio::time::Instant::now();
    let tasks =
        ["a", "b"].map(|host| spawn_hold(&manager, &ParallelizationHint::HostExclusive, host, 50));
    finish_all(tasks.into()).await;
    assert_eq!(elapsed(start), 50);
}

#[tokio::test(start_paused = true)]
async fn test_global_exclusive_blocks_all() {
    let manager = ParallelizationManager::new();
    let start = tokio::time::Instant::now();
    let tasks = ["a", "b"]
        .map(|host| spawn_hold(&manager, &ParallelizationHint::GlobalExclusive, host, 50));
    finish_all(tasks.into()).await;
    assert_eq!(elapsed(start), 100);
}

/// And alone with host-exclusive work on its host, in both directions.
#[tokio::test(start_paused = true)]
async fn global_exclusive_excludes_host_exclusive_on_its_host_only() {
    let manager = ParallelizationManager::new();
    let (global, host) = (
        ParallelizationHint::GlobalExclusive,
        ParallelizationHint::HostExclusive,
    );
    let held = manager.acquire(&host, "a", "task").await.unwrap();
    assert!(manager.try_acquire(&global, "a", "task").unwrap().is_none());
    let elsewhere = manager.try_acquire(&global, "b", "task").unwrap();
    assert!(elsewhere.is_some());
    assert!(manager.try_acquire(&host, "b", "task").unwrap().is_none());
    assert!(manager.try_acquire(&host, "c", "task").unwrap().is_some());
    drop(held);
    assert!(manager.try_acquire(&global, "a", "task").unwrap().is_none());
    drop(elsewhere);
    assert!(manager.try_acquire(&global, "a", "task").unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn test_rate_limited_enforces_limit() {
    let manager = ParallelizationManager::new();
    let start = tokio::time::Instant::now();
    let hint = ParallelizationHint::rate_limited(5.0);
    for request in 0..10u128 {
        let guard = manager.acquire(&hint, "h", "ec2").await.unwrap();
        // The n-th leaves at n x 200 ms, rounded up to tokio's millisecond.
        assert!((request * 200..=request * 200 + request + 1).contains(&elapsed(start)));
        drop(guard);
    }
    assert!(start.elapsed() > Duration::from_millis(1_600));
}

#[tokio::test(start_paused = true)]
async fn test_stats_tracking() {
    let manager = ParallelizationManager::new();
    let idle = manager.stats();
    assert!(idle.global_available && idle.host_locks.is_empty());
    assert!(idle.rate_limiter_states.is_empty());

    let global = manager
        .acquire(&ParallelizationHint::GlobalExclusive, "a", "task")
        .await
        .unwrap();
    let rate = ParallelizationHint::RateLimited {
        requests_per_second: 10.0,
        burst: 2,
        key: Some("ec2".into()),
    };
    drop(manager.acquire(&rate, "a", "task").await.unwrap());
    let waiting = spawn_hold(&manager, &ParallelizationHint::HostExclusive, "a", 10);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let busy = manager.stats();
    assert!(!busy.global_available);
    assert_eq!(busy.host_locks, [("a".to_owned(), true)].into());
    assert_eq!((busy.waiters, busy.running), (1, 1));
    // One token was taken, half of one has come back: seen now, not as it was left.
    let bucket = busy.rate_limiter_states["ec2"];
    assert!((bucket.tokens - 1.5).abs() < 0.02, "{bucket:?}");
    assert!((bucket.capacity - 2.0).abs() < 1e-9 && (bucket.refill_rate - 10.0).abs() < 1e-9);

    drop(global);
    waiting.await.unwrap();
    let after = manager.stats();
    assert!(after.global_available && after.host_locks.is_empty());
    assert_eq!((after.waiters, after.running), (0, 0));
    assert_eq!(after.wait_times.count(), 3);
    assert_eq!(after.wait_times.longest().as_millis(), 50);
}

#[tokio::test(start_paused = true)]
async fn waiters_go_in_the_order_they_came() {
    let manager = ParallelizationManager::new();
    let hint = ParallelizationHint::rate_limited(1_000.0);
    let order = Arc::new(Mutex::new(Vec::new()));
    let tasks = (0..300).map(|number| {
        let (manager, hint, order) = (manager.clone(), hint.clone(), Arc::clone(&order));
        tokio::spawn(async move {
            let _guard = manager.acquire(&hint, "h", "task").await.unwrap();
            order.lock().unwrap().push(number);
        })
    });
    finish_all(tasks.collect()).await;
    assert_eq!(*order.lock().unwrap(), (0..300).collect::<Vec<_>>());
}

/// Every place at which a waiting future can be dropped: before its first poll, while it waits,
/// and after it was let through but before it knows.
#[tokio::test(start_paused = true)]
async fn a_dropped_acquire_holds_nothing_and_strands_nobody() {
    let manager = ParallelizationManager::new();
    let hint = ParallelizationHint::HostExclusive;
    drop(manager.acquire(&hint, "h", "task"));

    let guard = manager.acquire(&hint, "h", "task").await.unwrap();
    let mut waits = by_hand(manager.acquire(&hint, "h", "task"));
    let mut granted = by_hand(manager.acquire(&hint, "h", "task"));
    let behind = spawn_hold(&manager, &hint, "h", 10);
    tokio::task::yield_now().await;
    assert!(waits.poll().is_pending() && granted.poll().is_pending());
    // `behind` ran at the yield, so it is first in the queue.
    assert_eq!(manager.stats().waiters, 3);
    drop(waits);
    assert_eq!(manager.stats().waiters, 2);
    drop(guard);
    behind.await.unwrap();
    // Now it has been let through, and goes without looking.
    assert_eq!(manager.stats().running, 1);
    drop(granted);
    assert_eq!(manager.stats().running, 0);
    assert!(manager.try_acquire(&hint, "h", "task").unwrap().is_some());
}

/// A future that is polled by hand.
struct Polled<'a>(Acquire<'a>);

fn by_hand(acquire: Acquire<'_>) -> Polled<'_> {
    Polled(acquire)
}

impl Polled<'_> {
    fn poll(&mut self) -> std::task::Poll<Result<ParallelizationGuard, Error>> {
        let mut context = std::task::Context::from_waker(Waker::noop());
        Future::poll(std::pin::Pin::new(&mut self.0), &mut context)
    }
}

#[tokio::test(start_paused = true)]
async fn cancelled_waiters_at_random_moments_leave_a_clean_manager() {
    let manager = ParallelizationManager::with_settings(Settings {
        slots: 3,
        ..Settings::default()
    })
    .unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let tasks = (0u64..400).map(|number| {
        let (manager, done) = (manager.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let hints = [
                ParallelizationHint::FullyParallel,
                ParallelizationHint::HostExclusive,
                ParallelizationHint::GlobalExclusive,
                ParallelizationHint::rate_limited(700.0),
                ParallelizationHint::Alone,
            ];
            let hint = &hints[(number % 5) as usize];
            let host = format!("host {}", number % 7);
            let patience = Duration::from_millis(number * 37 % 211);
            tokio::time::sleep(Duration::from_millis(number * 13 % 97)).await;
            match manager.acquire_timeout(hint, &host, "task", patience).await {
                Ok(_guard) => tokio::time::sleep(Duration::from_millis(number % 9)).await,
                Err(error) => assert!(matches!(error, Error::AcquireTimeout { .. })),
            }
            done.fetch_add(1, Ordering::Relaxed);
        })
    });
    finish_all(tasks.collect()).await;
    assert_eq!(done.load(Ordering::Relaxed), 400);
    let stats = manager.stats();
    assert_eq!((stats.waiters, stats.running), (0, 0));
    assert!(stats.host_locks.is_empty() && stats.global_available);
}

#[tokio::test(start_paused = true)]
async fn a_panic_gives_everything_back() {
    let manager = ParallelizationManager::new();
    let inside = manager.clone();
    let task = tokio::spawn(async move {
        let _guard = inside
            .acquire(&ParallelizationHint::Alone, "h", "task")
            .await
            .unwrap();
        panic!("the task's own fault");
    });
    assert!(task.await.unwrap_err().is_panic());
    assert!(
        manager
            .try_acquire(&ParallelizationHint::Alone, "h", "task")
            .unwrap()
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn a_timeout_says_who_waited_where_and_how_long() {
    let manager = ParallelizationManager::new();
    let hint = ParallelizationHint::HostExclusive;
    let _guard = manager.acquire(&hint, "web1", "apt").await.unwrap();
    let start = tokio::time::Instant::now();
    let wait = Duration::from_millis(250);
    let error = manager
        .acquire_timeout(&hint, "web1", "apt", wait)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`apt` on `web1` could not start within 250ms"
    );
    assert!((250..=251).contains(&elapsed(start)));
    assert_eq!(manager.stats().waiters, 0);
}

#[tokio::test(start_paused = true)]
async fn what_could_never_run_is_refused_at_once() {
    let manager = ParallelizationManager::new();
    for rate in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        let hint = ParallelizationHint::rate_limited(rate);
        let error = manager.acquire(&hint, "h", "task").await.unwrap_err();
        assert!(matches!(error, Error::InvalidRate { .. }), "{error}");
    }
    let slow = ParallelizationHint::rate_limited(1.0);
    let fast = ParallelizationHint::rate_limited(2.0);
    let _held = manager.acquire(&slow, "h", "ec2").await.unwrap();
    let error = manager.acquire(&fast, "h", "ec2").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "rate key `ec2` is declared twice: 1/s with burst 1, and 2/s with burst 1"
    );
}

/// The last guard's drop is what makes a moment the next thing to wait for, and nobody was there
/// to keep time before.
#[tokio::test(start_paused = true)]
async fn a_rate_that_blocks_only_after_a_lock_is_waited_for_too() {
    let quota = Quota::new("10/s".parse().unwrap(), 1).unwrap();
    let manager = ParallelizationManager::with_settings(Settings {
        slots: 4,
        limits: vec![("api".into(), Limit::Rate(quota))],
        ..Settings::default()
    })
    .unwrap();
    let api = [manager.limit("api").unwrap()];
    let request = |host| Request {
        hint: &ParallelizationHint::HostExclusive,
        host: Some(host),
        limits: &api,
        ..Request::new("call")
    };
    let start = tokio::time::Instant::now();
    let first = manager.acquire_request(request("a")).await.unwrap();
    let waiter = manager.clone();
    // A task of its own, so that nothing but its own waker has it polled.
    let second = tokio::spawn(async move {
        let api = [waiter.limit("api").unwrap()];
        let request = Request {
            hint: &ParallelizationHint::HostExclusive,
            host: Some("a"),
            limits: &api,
            ..Request::new("call")
        };
        drop(waiter.acquire_request(request).await.unwrap());
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    // Not in a poll of the waiter, and without a runtime's handle at hand.
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
        std::task::Poll::Ready(Err(error)) => assert_eq!(error, Error::NoTimer),
        other => panic!("{other:?}"),
    }
}

/// The timekeeper lives in the runtime of one waiter; the others must not depend on it.
#[test]
fn a_waiter_outlives_the_runtime_that_kept_its_time() {
    let manager = ParallelizationManager::new();
    let hint = ParallelizationHint::rate_limited(2.0);
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let (short, long) = (runtime(), runtime());
    drop(long.block_on(manager.acquire(&hint, "h", "task")).unwrap());
    let mut waits = Box::pin(manager.acquire(&hint, "h", "task"));
    short.block_on(async {
        let poll = std::future::poll_fn(|context| {
            std::task::Poll::Ready(Future::poll(waits.as_mut(), context).is_pending())
        });
        assert!(poll.await);
    });
    drop(short);
    drop(long.block_on(waits).unwrap());
}
