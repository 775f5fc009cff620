//! How unexpected messages of workers, or messages at unusual times, are handled.

use std::time::Duration;

use ratchet_ipc::{
    Capability, Event, HandshakeMode, IpcMessage, IpcTransport, Nonce, StrayMode, TaskError,
};

use super::fake::{config, job, manager, pass, submit};
use super::run_side::RunSide;
use crate::dispatch::Report;
use crate::job::{Terms, Timeouts};
use crate::outcome::Class;
use crate::process::{PoolConfig, Prefetch, ProcessPool};

#[tokio::test(start_paused = true)]
async fn a_malformed_hello_is_refused_and_says_why() {
    let says = r#"{"type":"event","event":"hello","protocol":[1],"concurrency":0}"#;
    let why = "worker echo/1 cannot be used: its hello is malformed: `concurrency` is 0, and has to \
               be a whole number from 1";
    for handshake in [HandshakeMode::Auto, HandshakeMode::Required] {
        let (manager, mut workers) = manager();
        let config = PoolConfig {
            handshake,
            ..config()
        };
        let pool = ProcessPool::new(manager, config).await.unwrap();
        let mut worker = workers.recv().await.unwrap();
        let run = submit(&pool, job("a"));
        worker.print(says).await;
        let failure = run.await.unwrap().result.unwrap_err();
        assert_eq!(failure.class, Class::Protocol);
        assert_eq!(failure.message, why);
        pass(Duration::from_secs(100)).await;
        assert!(workers.try_recv().is_err(), "the next would say the same");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_sent_before_a_malformed_hello_fails_for_it() {
    let (manager, mut workers) = manager();
    let config = PoolConfig {
        handshake: HandshakeMode::Auto,
        ..config()
    };
    let wait = config.handshake_wait;
    let pool = ProcessPool::new(manager, config).await.unwrap();
    let mut worker = workers.recv().await.unwrap();
    pass(wait).await;
    let run = submit(&pool, job("a"));
    worker.request().await;
    worker
        .print(r#"{"type":"event","event":"hello","protocol":[1],"concurrency":0}"#)
        .await;
    let failure = run.await.unwrap().result.unwrap_err();
    assert_eq!(failure.class, Class::Protocol, "{failure:?}");
    assert!(
        failure.message.contains("its hello is malformed"),
        "{failure:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_error_cancelled_is_a_failure_of_the_job_if_nobody_cancelled_it() {
    let (manager, mut workers) = manager();
    let pool = ProcessPool::new(manager, config()).await.unwrap();
    let mut worker = workers.recv().await.unwrap();
    worker.hello(&[Capability::Cancel]).await;
    for retryable in [true, false] {
        let run = submit(&pool, job("a"));
        let request = worker.request().await;
        let error = TaskError::new(TaskError::CANCELLED, "the lock was lost").retryable(retryable);
        worker.say(&request, Err(error)).await;
        let failure = run.await.unwrap().result.unwrap_err();
        assert_eq!((failure.class, failure.retryable), (Class::Task, retryable));
        assert_eq!(failure.code.as_deref(), Some("cancelled"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_pong_does_not_answer_the_next_ping() {
    let (manager, mut workers) = manager();
    let config = PoolConfig {
        ping: Some(Duration::from_secs(10)),
        ..config()
    };
    let _pool = ProcessPool::new(manager, config).await.unwrap();
    let mut worker = workers.recv().await.unwrap();
    worker.hello(&[Capability::Ping]).await;
    for expected in 1..=3 {
        let heard = worker.heard().await;
        let Some(IpcMessage::Event(Event::Ping(Nonce { nonce }))) = heard else {
            panic!("{heard:?}");
        };
        assert_eq!(nonce, expected);
        let pong = Event::Pong(Nonce { nonce });
        worker.transport.send(pong.into()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_request_is_rounded_up_to_whole_milliseconds() {
    let (manager, mut workers) = manager();
    let pool = ProcessPool::new(manager, config()).await.unwrap();
    let mut worker = workers.recv().await.unwrap();
    worker.hello(&[Capability::Cancel]).await;
    for (limit, told) in [(300, 1), (1000, 1), (1001, 2)] {
        let limit = Timeouts::after(Duration::from_micros(limit));
        let timed = job("a").terms(Terms {
            timeouts: limit,
            ..Terms::default()
        });
        let run = submit(&pool, timed);
        let request = worker.request().await;
        assert_eq!(request.timeout_ms, Some(told));
        worker.answer(&request).await;
        let _ = run.await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_run_is_told_the_version_of_a_worker() {
    let (manager, mut workers) = manager();
    let pool = ProcessPool::new(manager, config()).await.unwrap();
    let mut worker = workers.recv().await.unwrap();
    let mut run = RunSide::attach(&pool).unwrap();
    let hello = r#"{"type":"event","event":"hello","protocol":[1],"version":"2.1"}"#;
    worker.print(hello).await;
    for _ in 0..2 {
        let told = loop {
            match run.reports.reports.recv().await.unwrap() {
                Report::Introduced { version, tasks, .. } => break (version, tasks.is_some()),
                Report::Worker(_) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(told, (Some("2.1".to_owned()), false));
        drop(run);
        run = RunSide::attach(&pool).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_failed_a_job_by_a_stray_line_is_replaced_before_the_next_job_runs() {
    let (manager, mut workers) = manager();
    let mut config = config();
    config.prefetch = Prefetch::Fixed(1);
    config.limits.stray = StrayMode::Fail;
    let pool = ProcessPool::new(manager, config).await.unwrap();
    let mut worker = workers.recv().await.unwrap();
    worker.hello(&[]).await;
    let run = submit(&pool, job("a"));
    let request = worker.request().await;
    let next = submit(&pool, job("b"));
    worker.print("working..").await;
    worker.answer(&request).await;
    let failure = run.await.unwrap().result.unwrap_err();
    assert_eq!(failure.class, Class::Protocol);
    let what = "worker echo/1 printed a line that is not a message: working..";
    assert_eq!(failure.message, what);

    let mut second = workers.recv().await.unwrap();
    second.hello(&[]).await;
    tokio::spawn(second.serve());
    let reply = next.await.unwrap();
    assert!(reply.result.is_ok());
    assert_eq!(reply.worker.unwrap().as_str(), "echo/2");
    let metrics = pool.metrics().await.unwrap();
    assert!(metrics.failures.is_empty(), "it is not the kind's fault");
}
