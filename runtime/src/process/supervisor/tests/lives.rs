//! How workers are replaced, given up and ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ratchet_ipc::{Capability, HandshakeMode};

use tokio::sync::mpsc;

use super::fake::{
    FakeWorker, config, job, manager, manager_with, panicking_manager, pass, serve_all, submit,
};
use super::run_side::{RunSide, tickets};
use crate::Error;
use crate::dispatch::{Demand, Report};
use crate::os::{Exit, MockProcessManager, ProcessConfig, ProcessError, ProcessId, ProcessUsage};
use crate::outcome::{Class, Status};
use crate::process::{PoolConfig, ProcessPool, ProcessSupervisor, Recycling, RestartPolicy, Size};

const MOMENT: Duration = Duration::from_millis(1);

fn recycled_after(max_jobs: u64) -> PoolConfig {
    PoolConfig {
        recycling: Recycling {
            max_jobs: Some(max_jobs),
            ..Recycling::default()
        },
        ..config()
    }
}

#[tokio::test(start_paused = true)]
async fn a_successor_is_ready_before_the_old_worker_leaves() {
    let (manager, mut workers) = manager();
    let pool = ProcessPool::new(manager, recycled_after(10)).await.unwrap();
    let mut old = workers.recv().await.unwrap();
    old.hello(&[]).await;
    // Nine jobs are the least that such a worker does.
    for _ in 0..9 {
        let run = submit(&pool, job("a"));
        let request = old.request().await;
        old.answer(&request).await;
        run.await.unwrap().result.unwrap();
    }

    // The worker has one job left, and continues to work until its successor is ready.
    let mut young = workers.recv().await.unwrap();
    let run = submit(&pool, job("b"));
    let request = old.request().await;
    young.hello(&[]).await;
    pass(MOMENT).await;
    old.answer(&request).await;
    assert_eq!(run.await.unwrap().worker.unwrap().as_str(), "echo/1");
    assert_eq!(old.heard().await, None, "its stdin is closed");
    old.die(Exit::Code(0));

    let run = submit(&pool, job("c"));
    let request = young.request().await;
    young.answer(&request).await;
    assert_eq!(run.await.unwrap().worker.unwrap().as_str(), "echo/2");
    let metrics = pool.metrics().await.unwrap();
    assert_eq!(
        (metrics.retired["max_jobs"], metrics.failures.len()),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_has_done_its_last_job_gets_no_other_one() {
    let (manager, mut workers) = manager();
    let pool = ProcessPool::new(manager, recycled_after(1)).await.unwrap();
    let mut old = workers.recv().await.unwrap();
    old.hello(&[]).await;
    let first = submit(&pool, job("a"));
    let second = submit(&pool, job("b"));
    let request = old.request().await;
    old.answer(&request).await;
    assert_eq!(first.await.unwrap().worker.unwrap().as_str(), "echo/1");
    let mut young = workers.recv().await.unwrap();
    young.hello(&[]).await;
    let request = young.request().await;
    young.answer(&request).await;
    assert_eq!(second.await.unwrap().worker.unwrap().as_str(), "echo/2");
}

#[tokio::test(start_paused = true)]
async fn workers_are_replaced_at_their_age() {
    let (manager, workers) = manager();
    serve_all(workers);
    let recycling = Recycling {
        ttl: Some(Duration::from_mins(1)),
        ..Recycling::default()
    };
    let pool = ProcessPool::new(
        manager,
        PoolConfig {
            recycling,
            ..config()
        },
    )
    .await
    .unwrap();
    pass(Duration::from_secs(59)).await;
    assert_eq!(pool.metrics().await.unwrap().spawned, 1);
    pass(Duration::from_secs(2)).await;
    let metrics = pool.metrics().await.unwrap();
    assert_eq!(
        (metrics.spawned, metrics.retired["ttl"], metrics.size),
        (2, 1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn max_jobs_vary_a_little() {
    let (manager, workers) = manager();
    serve_all(workers);
    let pool = ProcessPool::new(manager, recycled_after(100))
        .await
        .unwrap();
    let mut shares = Vec::new();
    for retired in 1..=5 {
        let mut jobs = 0;
        while pool.metrics().await.unwrap().retired.get("max_jobs") != Some(&retired) {
            assert!(pool.run(job("a")).await.result.is_ok());
            jobs += 1;
        }
        shares.push(jobs);
    }
    assert!(
        shares.iter().all(|jobs| (77..=100).contains(jobs)),
        "{shares:?}"
    );
    shares.dedup();
    assert!(shares.len() > 1, "{shares:?}");
}

fn memory_measured(soft: Option<u64>, hard: Option<u64>) -> PoolConfig {
    PoolConfig {
        recycling: Recycling {
            soft_memory: soft,
            ..Recycling::default()
        },
        hard_memory: hard,
        ..config()
    }
}

/// Makes a manager whose measurements show as much memory for the first worker as the test sets.
fn scales() -> (
    Arc<MockProcessManager>,
    mpsc::UnboundedReceiver<FakeWorker>,
    Arc<AtomicU64>,
) {
    let weight = Arc::new(AtomicU64::new(0));
    let scales = Arc::clone(&weight);
    let (manager, workers) = manager_with(|manager| {
        manager.expect_measure_processes().returning(move |ids| {
            let used = scales.load(Ordering::Relaxed);
            let first = ProcessId::new(1);
            let measure = |id: &ProcessId| {
                let memory = if *id == first { used } else { 1 };
                (*id, ProcessUsage::new(memory, Duration::ZERO))
            };
            Ok(ids.iter().map(measure).collect())
        });
    });
    (manager, workers, weight)
}

#[tokio::test(start_paused = true)]
async fn a_worker_over_its_soft_memory_finishes_its_job_and_is_replaced() {
    let (manager, mut workers, weight) = scales();
    let supervisor = ProcessSupervisor::start(manager);
    let pool = supervisor
        .add(memory_measured(Some(100), None))
        .await
        .unwrap();
    let mut old = workers.recv().await.unwrap();
    old.hello(&[]).await;
    let run = submit(&pool, job("a"));
    let request = old.request().await;
    weight.store(101, Ordering::Relaxed);
    let mut young = workers.recv().await.unwrap();
    young.hello(&[]).await;
    pass(Duration::from_secs(5)).await;
    assert!(!run.is_finished(), "the job is left in peace");
    old.answer(&request).await;
    assert!(run.await.unwrap().result.is_ok());
    assert_eq!(old.heard().await, None);
    old.die(Exit::Code(0));
    pass(MOMENT).await;
    assert_eq!(pool.metrics().await.unwrap().retired["soft_memory"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_worker_over_its_hard_memory_is_killed_and_its_job_says_so() {
    let (manager, mut workers, weight) = scales();
    let supervisor = ProcessSupervisor::start(manager);
    let pool = supervisor
        .add(memory_measured(None, Some(64 << 20)))
        .await
        .unwrap();
    let mut worker = workers.recv().await.unwrap();
    worker.hello(&[]).await;
    weight.store(100 << 20, Ordering::Relaxed);
    let failure = pool.run(job("a")).await.result.unwrap_err();
    assert_eq!(
        (failure.class, failure.class.status()),
        (Class::Memory, Status::Crashed)
    );
    assert_eq!(
        failure.message,
        "worker echo/1 was killed for its memory: 100 MiB, and 64 MiB are allowed"
    );
    drop(worker);
    let mut next = workers.recv().await.unwrap();
    next.hello(&[]).await;
    tokio::spawn(next.serve());
    let reply = pool.run(job("b")).await;
    assert!(reply.result.is_ok(), "{reply:?}");
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_dies_on_every_start_is_given_up_with_its_reason() {
    let (manager, mut workers) = manager();
    let restart = RestartPolicy {
        intensity: 3,
        period: Duration::from_secs(10),
        base: Duration::from_millis(100),
        cap: Duration::from_secs(1),
    };
    let start = tokio::time::Instant::now();
    let pool = ProcessPool::new(
        manager,
        PoolConfig {
            restart,
            ..config()
        },
    )
    .await
    .unwrap();
    let run = submit(&pool, job("a"));
    for _ in 0..3 {
        workers.recv().await.unwrap().die(Exit::Code(1));
    }
    let failure = run.await.unwrap().result.unwrap_err();
    assert_eq!(failure.class, Class::Spawn);
    assert_eq!(
        failure.message,
        "worker `echo` is given up: 3 of its workers failed within 10s; \
         the last, echo/3, ended with exit code 1"
    );
    // The delay is 100 ms before the second start, and 200 ms before the third.
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(300) && took < Duration::from_millis(400),
        "{took:?}"
    );
    let again = pool.run(job("b")).await.result.unwrap_err();
    assert_eq!(again.message, failure.message);
}

#[tokio::test(start_paused = true)]
async fn a_pool_is_given_up_once_although_more_of_its_workers_fail() {
    let (manager, mut workers) = manager();
    let restart = RestartPolicy {
        intensity: 1,
        ..RestartPolicy::default()
    };
    let config = PoolConfig {
        restart,
        size: Size::fixed(2),
        ..config()
    };
    let pool = ProcessPool::new(manager, config).await.unwrap();
    let mut run = RunSide::attach(&pool).unwrap();
    run.demand(Demand::Open { unseated: 2 });
    let both = [workers.recv().await.unwrap(), workers.recv().await.unwrap()];
    for worker in both {
        worker.die(Exit::Code(1));
        pass(MOMENT).await;
    }
    assert!(matches!(run.next().await, Report::Broken { .. }));
    let more = tokio::time::timeout(MOMENT, run.next()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_can_never_start_is_given_up_at_once() {
    let mut manager = MockProcessManager::new();
    manager.expect_spawn_process().times(1).returning(|config| {
        let command = config.command.clone();
        Err(ProcessError::NotFound { command })
    });
    let pool = ProcessPool::new(Arc::new(manager), config()).await.unwrap();
    let failure = pool.run(job("a")).await.result.unwrap_err();
    assert_eq!(
        failure.message,
        "worker echo/1 could not be started: there is no program `echo-worker`"
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_the_hello_that_its_pool_requires_is_given_up() {
    let (manager, mut workers) = manager();
    let settings = PoolConfig {
        handshake: HandshakeMode::Required,
        ..config()
    };
    let pool = ProcessPool::new(manager, settings).await.unwrap();
    tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Some(worker) = workers.recv().await {
            silent.push(worker);
        }
    });
    let failure = pool.run(job("a")).await.result.unwrap_err();
    assert!(
        failure.message.contains("said no hello in time"),
        "{failure}"
    );
    assert_eq!(failure.class, Class::Protocol);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_answer_a_ping_is_replaced() {
    let (manager, mut workers) = manager();
    let settings = PoolConfig {
        ping: Some(Duration::from_secs(5)),
        ..config()
    };
    let pool = ProcessPool::new(manager, settings).await.unwrap();
    let mut deaf = workers.recv().await.unwrap();
    deaf.hello(&[Capability::Ping]).await;
    let mut next = workers.recv().await.unwrap();
    next.hello(&[]).await;
    tokio::spawn(next.serve());
    assert!(pool.run(job("a")).await.result.is_ok());
    assert_eq!(pool.metrics().await.unwrap().failures["no_pong"], 1);
    drop(deaf);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_jobs_finish_and_returns_when_all_workers_have_ended() {
    let (manager, mut workers) = manager();
    let supervisor = ProcessSupervisor::start(manager);
    let pool = supervisor.add(config()).await.unwrap();
    let mut worker = workers.recv().await.unwrap();
    worker.hello(&[]).await;
    let run = submit(&pool, job("a"));
    let request = worker.request().await;
    let closing = tokio::spawn({
        let supervisor = supervisor.clone();
        async move { supervisor.shutdown().await }
    });
    pass(Duration::from_secs(3)).await;
    assert!(!closing.is_finished());
    let late = pool.run(job("late")).await.result.unwrap_err();
    assert_eq!(late.class, Class::Cancelled);
    worker.answer(&request).await;
    assert!(run.await.unwrap().result.is_ok());
    assert_eq!(worker.heard().await, None);
    worker.die(Exit::Code(0));
    closing.await.unwrap();
}

#[test]
fn a_pool_is_refused_if_no_thread_can_be_started_to_read_its_program() {
    crate::blocking::tests::run_without_threads(async {
        let supervisor = ProcessSupervisor::start(Arc::new(MockProcessManager::new()));
        let added = supervisor
            .add(PoolConfig::new("a", ProcessConfig::new("a")))
            .await;
        assert!(matches!(added, Err(Error::NoThread { .. })));
    });
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_panics_fails_its_call_and_its_worker_is_killed_and_replaced() {
    let (manager, mut ended) = panicking_manager();
    let supervisor = ProcessSupervisor::start(manager);
    let silent = PoolConfig {
        handshake: HandshakeMode::None,
        ..config()
    };
    let pool = supervisor.add(silent).await.unwrap();
    let failure = pool.run(job("a")).await.result.unwrap_err();
    assert_eq!(failure.class, Class::Crash);
    assert!(failure.message.contains("bug in ratchet"), "{failure:?}");
    assert_eq!(ended.recv().await, Some(ProcessId::new(1)));
    pass(Duration::from_mins(1)).await;
    let metrics = pool.metrics().await.unwrap();
    assert_eq!((metrics.failures["bug"], metrics.spawned), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_run_is_told_that_a_connection_panicked_and_the_supervisor_can_be_shut_down() {
    let (manager, _ended) = panicking_manager();
    let supervisor = ProcessSupervisor::start(manager);
    let silent = PoolConfig {
        handshake: HandshakeMode::None,
        ..config()
    };
    let pool = supervisor.add(silent).await.unwrap();
    let mut run = RunSide::attach(&pool).unwrap();
    run.perform(tickets(1)[0], false).await;
    let broke = loop {
        let report = run.reports.reports.recv().await.unwrap();
        if let Report::ConnectionBroke { worker, reason } = report {
            break (worker, reason);
        }
    };
    assert_eq!(broke.0.as_str(), "echo/1");
    assert_eq!(broke.1, "the pipe is upset");
    drop(run);
    let limit = Duration::from_hours(1);
    let shut_down = tokio::time::timeout(limit, supervisor.shutdown()).await;
    assert!(shut_down.is_ok());
}
