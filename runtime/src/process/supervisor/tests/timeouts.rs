//! Clocks of attempts: which worker is asked to stop, and which is killed.

use std::time::Duration;

use ratchet_ipc::{Capability, Event, IpcMessage, IpcTransport, Payload};

use super::fake::{config, job, manager, pass, submit};
use crate::job::{Terms, Timeouts};
use crate::outcome::Class;
use crate::process::ProcessPool;

const MOMENT: Duration = Duration::from_millis(1);

fn timed(timeouts: Timeouts) -> crate::Job {
    job("a").terms(Terms {
        timeouts,
        ..Terms::default()
    })
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_cancel_is_asked_to_stop_an_attempt_and_goes_on() {
    let (manager, mut workers) = manager();
    let pool = ProcessPool::new(manager, config()).await.unwrap();
    let mut worker = workers.recv().await.unwrap();
    worker.hello(&[Capability::Cancel]).await;
    let run = submit(&pool, timed(Timeouts::after(Duration::from_secs(3))));
    let request = worker.request().await;
    assert_eq!(request.timeout_ms, Some(3000));
    let cancel = worker.heard().await;
    let Some(IpcMessage::Event(Event::Cancel(cancel))) = cancel else {
        panic!("{cancel:?}");
    };
    assert_eq!(
        (cancel.id, cancel.reason.as_deref()),
        (request.id.clone(), Some("timeout"))
    );
    // Even a result is too late now.
    worker.say(&request, Ok(Payload::null())).await;
    let failure = run.await.unwrap().result.unwrap_err();
    assert_eq!(
        (failure.class, failure.message.as_str()),
        (Class::Timeout, "timed out after 3s")
    );
    tokio::spawn(worker.serve());
    assert_eq!(pool.run(job("b")).await.worker.unwrap().as_str(), "echo/1");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_be_asked_or_does_not_stop_is_killed() {
    let second = Duration::from_secs(1);
    let after = Timeouts::after(second * 3);
    let soft = Timeouts {
        soft: Some(second * 3),
        hard: Some(second * 8),
        ..Timeouts::default()
    };
    let idle = Timeouts {
        idle: Some(second * 2),
        ..Timeouts::default()
    };
    for (capabilities, timeouts, ends_after) in [
        (&[][..], after, 3),
        (&[][..], soft, 8),
        (&[][..], idle, 2),
        (&[Capability::Cancel][..], after, 4),
        (&[Capability::Cancel][..], soft, 8),
        // The worker is asked after two seconds, with five seconds of grace.
        (&[Capability::Cancel][..], idle, 7),
    ] {
        let (manager, mut workers) = manager();
        let pool = ProcessPool::new(manager, config()).await.unwrap();
        let mut worker = workers.recv().await.unwrap();
        worker.hello(capabilities).await;
        pass(MOMENT).await;
        tokio::spawn(worker.hang());
        let start = tokio::time::Instant::now();
        let reply = pool.run(timed(timeouts)).await;
        let failure = reply.result.unwrap_err();
        assert_eq!(failure.class, Class::Timeout, "{failure}");
        let took = start.elapsed();
        let expected = second * ends_after;
        assert!(
            took >= expected && took < expected + MOMENT * 10,
            "{took:?} for {timeouts:?}"
        );
        // The next worker has started.
        let mut next = workers.recv().await.unwrap();
        next.hello(&[]).await;
        tokio::spawn(next.serve());
        assert!(pool.run(job("b")).await.result.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn progress_resets_the_idle_clock_and_not_the_hard_one() {
    let second = Duration::from_secs(1);
    let timeouts = Timeouts {
        idle: Some(second * 2),
        hard: Some(second * 5),
        ..Timeouts::default()
    };
    let (manager, mut workers) = manager();
    let pool = ProcessPool::new(manager, config()).await.unwrap();
    let mut worker = workers.recv().await.unwrap();
    worker.hello(&[]).await;
    let run = submit(&pool, timed(timeouts));
    let request = worker.request().await;
    for done in 1..=4 {
        pass(second).await;
        let progress = ratchet_ipc::Progress {
            id: request.id.clone(),
            done: Some(f64::from(done)),
            total: None,
            message: None,
        };
        worker
            .transport
            .send(Event::Progress(progress).into())
            .await
            .unwrap();
    }
    let reply = run.await.unwrap();
    assert_eq!(reply.result.unwrap_err().message, "timed out after 5s");
    assert!(reply.ran >= second * 5 && reply.ran < second * 6);
}
