//! How runs and callers share a pool.

use std::time::Duration;

use ratchet_ipc::{Capability, TaskError};

use super::fake::{config, job, manager, pass, submit};
use super::run_side::{RunSide, tickets};
use crate::Error;
use crate::dispatch::Report;
use crate::outcome::Class;
use crate::process::ProcessPool;

const MOMENT: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_pool_has_one_run_at_a_time_and_no_callers_meanwhile() {
    let (manager, mut workers) = manager();
    let pool = ProcessPool::new(manager, config()).await.unwrap();
    let mut worker = workers.recv().await.unwrap();
    worker.hello(&[Capability::Cancel]).await;
    tokio::spawn(worker.serve());
    assert!(pool.run(job("before")).await.result.is_ok());

    let run = RunSide::attach(&pool).unwrap();
    let second = RunSide::attach(&pool.clone()).err();
    let name = "echo".to_owned();
    assert_eq!(second, Some(Error::PoolInUse { pool: name }));
    let refused = pool.run(job("meanwhile")).await.result.unwrap_err();
    assert!(
        refused.message.contains("a run has the pool `echo`"),
        "{refused}"
    );
    assert!(pool.acquire().await.is_err());

    drop(run);
    assert!(pool.run(job("after")).await.result.is_ok());
    assert!(RunSide::attach(&pool).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_under_way_goes_on_and_its_worker_is_offered_to_the_run_afterwards() {
    let (manager, mut workers) = manager();
    let pool = ProcessPool::new(manager, config()).await.unwrap();
    let mut worker = workers.recv().await.unwrap();
    worker.hello(&[Capability::Cancel]).await;
    let call = submit(&pool, job("mine"));
    let request = worker.request().await;
    let mut run = RunSide::attach(&pool).unwrap();
    pass(MOMENT).await;
    assert!(
        !std::iter::from_fn(|| run.reports.reports.try_recv().ok())
            .any(|report| matches!(report, Report::Offered { .. }))
    );
    worker.answer(&request).await;
    assert!(call.await.unwrap().result.is_ok());
    run.perform(tickets(1)[0], false).await;
    let request = worker.request().await;
    worker.answer(&request).await;
    assert!(matches!(
        run.next().await,
        Report::Ended { result: Ok(_), .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_offered_to_the_next_run_once_it_has_stopped_what_the_last_one_gave_it() {
    let (manager, mut workers) = manager();
    let pool = ProcessPool::new(manager, config()).await.unwrap();
    let mut worker = workers.recv().await.unwrap();
    worker.hello(&[Capability::Cancel]).await;
    let mut first = RunSide::attach(&pool).unwrap();
    let ticket = tickets(1)[0];
    first.perform(ticket, false).await;
    let request = worker.request().await;
    drop(first);
    let mut second = RunSide::attach(&pool).unwrap();
    let cancel = worker.heard().await;
    assert!(matches!(
        cancel,
        Some(ratchet_ipc::IpcMessage::Event(ratchet_ipc::Event::Cancel(
            _
        )))
    ));
    pass(MOMENT).await;
    assert!(
        !std::iter::from_fn(|| second.reports.reports.try_recv().ok())
            .any(|report| matches!(report, Report::Offered { .. }))
    );
    let stopped = TaskError::new(TaskError::CANCELLED, "stopped");
    worker.say(&request, Err(stopped)).await;
    // The same ticket refers to another attempt now.
    second.perform(ticket, false).await;
    let request = worker.request().await;
    worker.answer(&request).await;
    let ended = second.next().await;
    assert!(
        matches!(ended, Report::Ended { result: Ok(_), .. }),
        "{ended:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_hears_when_the_supervisor_of_its_pool_is_gone() {
    let (manager, mut workers) = manager();
    let supervisor = crate::process::ProcessSupervisor::start(manager);
    let pool = supervisor.add(config()).await.unwrap();
    let _worker = workers.recv().await.unwrap();
    let mut run = RunSide::attach(&pool).unwrap();
    tokio::spawn(async move { supervisor.shutdown().await });
    let broken = run.next().await;
    assert!(
        matches!(&broken, Report::Broken { failure, .. } if failure.class == Class::Cancelled),
        "{broken:?}"
    );
}
