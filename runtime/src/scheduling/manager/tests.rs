//! All tests use tokio's paused clock: time passes exactly when all tasks wait.

mod timekeeping;

use super::*;
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

/// The global lock also excludes host-exclusive work on its host, in both directions.
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
        // Request n leaves at n x 200 ms, rounded up to tokio's millisecond.
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
    // One token was taken and half of it has come back: the figure is that of the call, not that of the last take.
    let bucket = busy.rate_limiter_states["ec2"];
    assert!((bucket.tokens - 1.5).abs() < 0.02, "{bucket:?}");
    assert!((bucket.capacity - 2.0).abs() < 1e-9 && (bucket.refill_rate - 10.0).abs() < 1e-9);

    drop(global);
    waiting.await.unwrap();
    let after = manager.stats();
    assert!(after.global_available && after.host_locks.is_empty());
    assert_eq!((after.waiters, after.running), (0, 0));
    assert_eq!(manager.wait_times().count(), 3);
    assert_eq!(manager.wait_times().longest().as_millis(), 50);
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

/// A waiting future can be dropped in three states: before its first poll, while it waits, and after it was granted but
/// before it was polled again.
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
    // `behind` was polled at the yield, so it is first in the queue.
    assert_eq!(manager.stats().waiters, 3);
    drop(waits);
    assert_eq!(manager.stats().waiters, 2);
    drop(guard);
    behind.await.unwrap();
    // It was granted by now, and is dropped without being polled.
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
    let manager = ParallelizationManager::with_settings(SchedulerSettings {
        slots: 3,
        ..SchedulerSettings::default()
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

#[tokio::test(start_paused = true)]
async fn a_timeout_of_nothing_takes_what_is_free() {
    let manager = ParallelizationManager::new();
    let hint = ParallelizationHint::HostExclusive;
    let now = Duration::ZERO;
    let guard = manager.acquire_timeout(&hint, "h", "task", now).await;
    let taken = manager.acquire_timeout(&hint, "h", "task", now).await;
    assert!(guard.is_ok());
    assert!(matches!(taken, Err(Error::AcquireTimeout { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_cancelled_waiters_leave_no_memory_behind() {
    let manager = ParallelizationManager::new();
    let hint = ParallelizationHint::HostExclusive;
    let guard = manager.acquire(&hint, "h", "task").await.unwrap();
    let mut waiting: Vec<_> = (0..100_000)
        .map(|_| by_hand(manager.acquire(&hint, "h", "task")))
        .collect();
    assert!(waiting.iter_mut().all(|one| one.poll().is_pending()));
    assert_eq!(manager.stats().waiters, 100_000);
    drop(waiting);
    assert_eq!(manager.stats().waiters, 0);
    drop(guard);
    assert_eq!(manager.lock().waiters.capacity(), 0);
}

/// Dropping a waker may run any code, which may use the same manager.
#[test]
fn a_waker_is_dropped_outside_the_lock() {
    struct Looks(ParallelizationManager);
    impl std::task::Wake for Looks {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Looks {
        fn drop(&mut self) {
            assert!(self.0.shared.try_lock().is_ok());
        }
    }
    let manager = ParallelizationManager::new();
    let hint = ParallelizationHint::HostExclusive;
    let mut held = by_hand(manager.acquire(&hint, "h", "task"));
    let guard = held.poll();
    for replaced in [true, false] {
        let mut waits = by_hand(manager.acquire(&hint, "h", "task"));
        let waker = Arc::new(Looks(manager.clone())).into();
        let mut context = std::task::Context::from_waker(&waker);
        assert!(Future::poll(std::pin::Pin::new(&mut waits.0), &mut context).is_pending());
        drop(waker);
        if replaced {
            assert!(waits.poll().is_pending());
        }
    }
    drop(guard);
}
