//! How many workers a pool has.

use std::future::poll_fn;
use std::num::NonZeroU32;
use std::task::Poll;
use std::time::Duration;

use ratchet_ipc::Capability;

use super::fake::{config, job, manager, pass, serve_all, submit};
use super::run_side::RunSide;
use crate::process::{PoolConfig, Prefetch, ProcessPool, ProcessSupervisor, Recycling, Size};

const MOMENT: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_pool_is_scaled_up_and_down_on_request() {
    let (manager, workers) = manager();
    serve_all(workers);
    let pool = ProcessPool::new(manager, config()).await.unwrap();

    pool.scale_to(5).await.unwrap();
    assert_eq!(pool.size().await.unwrap(), 5);

    pool.scale_to(3).await.unwrap();
    assert_eq!(pool.size().await.unwrap(), 3);
    pass(MOMENT).await;
    let metrics = pool.metrics().await.unwrap();
    assert_eq!((metrics.spawned, metrics.retired["shrunk"]), (5, 2));
}

#[tokio::test(start_paused = true)]
async fn a_pool_grows_while_jobs_wait_for_long_but_not_beyond_its_maximum() {
    let (manager, mut workers) = manager();
    let size = Size {
        grow_after: Duration::from_millis(100),
        ..Size::between(1, 3)
    };
    let pool = ProcessPool::new(manager, PoolConfig { size, ..config() })
        .await
        .unwrap();
    let mut first = workers.recv().await.unwrap();
    first.hello(&[]).await;
    pass(MOMENT).await;
    let _runs: Vec<_> = (0..5)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.run(job(&n.to_string())).await })
        })
        .collect();
    let mut held = Vec::new();
    for (after, expected) in [(50, 1), (60, 2), (110, 3), (500, 3)] {
        pass(Duration::from_millis(after)).await;
        assert_eq!(
            pool.size().await.unwrap(),
            expected,
            "after {after} ms more"
        );
        while let Ok(mut worker) = workers.try_recv() {
            worker.hello(&[]).await;
            held.push(worker);
        }
    }
    assert!(
        pool.metrics().await.unwrap().queue_age.is_zero(),
        "it can grow no more"
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_job_starts_the_first_worker_at_once() {
    let (manager, workers) = manager();
    serve_all(workers);
    let size = Size::between(0, 2);
    let pool = ProcessPool::new(manager, PoolConfig { size, ..config() })
        .await
        .unwrap();
    pass(MOMENT).await;
    assert_eq!(pool.size().await.unwrap(), 0);
    let start = tokio::time::Instant::now();
    assert!(pool.run(job("a")).await.result.is_ok());
    assert!(start.elapsed() < size.grow_after, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn idle_workers_end_until_the_minimum_size_is_reached() {
    let (manager, workers) = manager();
    serve_all(workers);
    let settings = PoolConfig {
        size: Size {
            grow_after: Duration::ZERO,
            ..Size::between(1, 4)
        },
        recycling: Recycling {
            idle_ttl: Some(Duration::from_secs(10)),
            ..Recycling::default()
        },
        ..config()
    };
    let pool = ProcessPool::new(manager, settings).await.unwrap();
    let runs: Vec<_> = (0..4)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.run(job(&n.to_string())).await })
        })
        .collect();
    for run in runs {
        assert!(run.await.unwrap().result.is_ok());
    }
    assert_eq!(pool.size().await.unwrap(), 4);
    pass(Duration::from_secs(9)).await;
    assert_eq!(pool.size().await.unwrap(), 4);
    pass(Duration::from_secs(2)).await;
    assert_eq!(pool.size().await.unwrap(), 1);
    pass(Duration::from_mins(1)).await;
    assert_eq!(pool.metrics().await.unwrap().retired["idle_ttl"], 3);
}

#[tokio::test(start_paused = true)]
async fn the_cap_over_all_pools_is_kept_and_idle_pools_make_room() {
    let (manager, workers) = manager();
    serve_all(workers);
    let supervisor = ProcessSupervisor::capped(manager, 2);
    let kind = |name: &str| PoolConfig {
        name: name.to_owned(),
        size: Size {
            grow_after: Duration::ZERO,
            ..Size::between(0, 2)
        },
        ..config()
    };
    let one = supervisor.add(kind("one")).await.unwrap();
    let other = supervisor.add(kind("other")).await.unwrap();
    for _ in 0..2 {
        let (a, b) = tokio::join!(one.run(job("a")), one.run(job("b")));
        assert!(a.result.is_ok() && b.result.is_ok());
        // The first pool has both workers; one leaves to make room for the second pool.
        assert!(other.run(job("c")).await.result.is_ok());
        let sizes = (one.size().await.unwrap(), other.size().await.unwrap());
        assert!(sizes.0 + sizes.1 <= 2, "{sizes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_comes_back_on_drop_and_nobody_else_has_its_worker_meanwhile() {
    let (manager, mut workers) = manager();
    let pool = ProcessPool::new(manager, config()).await.unwrap();
    let mut worker = workers.recv().await.unwrap();
    worker.hello(&[Capability::Cancel]).await;
    tokio::spawn(worker.serve());

    let mut lease = pool.acquire().await.unwrap();
    assert!(lease.run(job("mine")).await.result.is_ok());
    let others = submit(&pool, job("theirs"));
    pass(Duration::from_secs(1)).await;
    assert!(!others.is_finished());
    drop(lease);
    assert!(others.await.unwrap().result.is_ok());
    // The caller of these is dropped before the lease has arrived, or before the caller has taken it.
    for has_arrived in [false, true] {
        let mut lease = Box::pin(pool.acquire());
        let is_pending = poll_fn(|cx| Poll::Ready(lease.as_mut().poll(cx).is_pending())).await;
        assert!(is_pending, "the supervisor has not answered yet");
        if has_arrived {
            pass(MOMENT).await;
        }
        drop(lease);
        assert!(pool.run(job("again")).await.result.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn the_free_seats_of_workers_with_the_greatest_concurrency_are_capped() {
    let (manager, workers) = manager();
    serve_all(workers);
    let settings = PoolConfig {
        size: Size::fixed(2),
        concurrency: NonZeroU32::new(1 << 31),
        prefetch: Prefetch::Fixed(1 << 31),
        ..config()
    };
    let pool = ProcessPool::new(manager, settings).await.unwrap();
    pass(MOMENT).await;
    assert!(pool.run(job("a")).await.result.is_ok());
    let mut run = RunSide::attach(&pool).unwrap();
    let now = tokio::time::Instant::now().into_std();
    let mut seats = pool.seats();
    for _ in 0..2 {
        seats.offered(run.offered().await, now);
        run.offers.remove(0);
    }
    assert_eq!((seats.free(), seats.room_ahead()), (u32::MAX, u32::MAX));
}
