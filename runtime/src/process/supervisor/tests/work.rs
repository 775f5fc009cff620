//! How attempts begin, end, and come back.

use std::time::Duration;

use ratchet_ipc::{Capability, Event, IpcMessage, TaskError};
use tokio::sync::mpsc;

use super::fake::{FakeWorker, config, job, manager, pass, submit};
use super::run_side::{RunSide, stop, tickets};
use crate::dispatch::{Report, StopRequest};
use crate::os::Exit;
use crate::outcome::Class;
use crate::process::{PoolConfig, Prefetch, ProcessPool, ProcessSupervisor, Size};

const MOMENT: Duration = Duration::from_millis(1);

async fn start(
    prefetch: Prefetch,
    capabilities: &[Capability],
) -> (ProcessPool, FakeWorker, mpsc::UnboundedReceiver<FakeWorker>) {
    let (manager, mut workers) = manager();
    let supervisor = ProcessSupervisor::start(manager);
    let pool = supervisor
        .add(PoolConfig {
            prefetch,
            ..config()
        })
        .await
        .unwrap();
    let mut worker = workers.recv().await.unwrap();
    worker.hello(capabilities).await;
    pass(MOMENT).await;
    (pool, worker, workers)
}

#[tokio::test(start_paused = true)]
async fn an_attempt_sent_ahead_begins_in_the_place_of_one_that_has_ended() {
    let (pool, mut worker, _workers) = start(Prefetch::Fixed(2), &[]).await;
    let mut run = RunSide::attach(&pool).unwrap();
    let tickets = tickets(3);
    for (place, ticket) in tickets.iter().enumerate() {
        run.perform(*ticket, place > 0).await;
    }
    for place in 0..3 {
        let request = worker.request().await;
        pass(Duration::from_secs(7)).await;
        worker.answer(&request).await;
        let report = run.next().await;
        let Report::Ended {
            ticket,
            next,
            ran,
            result,
            ..
        } = report
        else {
            panic!("{report:?}");
        };
        assert!(result.is_ok());
        assert_eq!(
            (ticket, next),
            (tickets[place], tickets.get(place + 1).copied())
        );
        // The clock of an attempt starts when its worker begins it.
        assert_eq!(ran, Duration::from_secs(7));
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_sent_ahead_to_an_idle_worker_comes_back() {
    let (pool, _worker, _workers) = start(Prefetch::Fixed(2), &[]).await;
    let mut run = RunSide::attach(&pool).unwrap();
    let ticket = tickets(1)[0];
    run.perform(ticket, true).await;
    let report = run.next().await;
    assert!(
        matches!(report, Report::Returned { ticket: back, .. } if back == ticket),
        "{report:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_crash_charges_the_attempts_that_had_begun_and_returns_the_others() {
    let (pool, worker, mut workers) = start(Prefetch::Fixed(2), &[]).await;
    let mut run = RunSide::attach(&pool).unwrap();
    let tickets = tickets(3);
    for (place, ticket) in tickets.iter().enumerate() {
        run.perform(*ticket, place > 0).await;
    }
    pass(MOMENT).await;
    worker.die(Exit::Signal(9));
    let mut returned = Vec::new();
    let mut crashed = Vec::new();
    for _ in 0..3 {
        match run.next().await {
            Report::Returned { ticket, .. } => returned.push(ticket),
            Report::Ended { ticket, result, .. } => {
                let failure = result.unwrap_err();
                assert_eq!(failure.class, Class::Crash);
                assert_eq!(
                    failure.message,
                    "worker echo/1 was killed by signal 9 (SIGKILL) before it answered"
                );
                crashed.push(ticket);
            }
            other => panic!("{other:?}"),
        }
    }
    returned.sort_unstable();
    assert_eq!(
        (crashed, returned),
        (vec![tickets[0]], tickets[1..].to_vec())
    );
    // Another worker takes its place, once the run has reported that work may be left.
    run.demand(crate::dispatch::Demand::Open { unseated: 0 });
    assert!(workers.recv().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_crash_returns_the_attempts_that_the_worker_has_not_started() {
    for says in [true, false] {
        let (manager, mut workers) = manager();
        let pool = ProcessPool::new(manager, config()).await.unwrap();
        let mut worker = workers.recv().await.unwrap();
        worker.hello_for(3).await;
        let mut run = RunSide::attach(&pool).unwrap();
        let tickets = tickets(3);
        for ticket in &tickets {
            run.perform(*ticket, false).await;
        }
        let first = worker.request().await;
        if says {
            worker.start(&first).await;
            pass(MOMENT).await;
        }
        worker.die(Exit::Signal(9));
        let (mut crashed, mut returned) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            match run.next().await {
                Report::Returned { ticket, .. } => returned.push(ticket),
                Report::Ended { ticket, result, .. } => {
                    assert_eq!(result.unwrap_err().class, Class::Crash);
                    crashed.push(ticket);
                }
                other => panic!("{other:?}"),
            }
        }
        // A worker that never says what it has started is not asked which attempts those were.
        let charged = if says { 1 } else { 3 };
        assert_eq!((crashed.len(), returned.len()), (charged, 3 - charged));
        assert!(crashed.contains(&tickets[0]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_call_does_not_lie_behind_a_long_one_while_a_worker_is_idle() {
    let (manager, mut workers) = manager();
    let supervisor = ProcessSupervisor::start(manager);
    let settings = PoolConfig {
        size: Size::fixed(2),
        prefetch: Prefetch::Fixed(4),
        ..config()
    };
    let pool = supervisor.add(settings).await.unwrap();
    let mut busy = workers.recv().await.unwrap();
    busy.hello(&[Capability::Cancel]).await;
    pass(MOMENT).await;
    let long_call = submit(&pool, job("long"));
    let long = busy.request().await;
    let short_call = submit(&pool, job("short"));
    let short = busy.request().await;

    // Another worker starts, and gets no work.
    let mut idle = workers.recv().await.unwrap();
    idle.hello(&[Capability::Cancel]).await;
    let cancel = busy.heard().await;
    let Some(IpcMessage::Event(Event::Cancel(cancel))) = cancel else {
        panic!("{cancel:?}");
    };
    assert_eq!(
        (cancel.id, cancel.reason.as_deref()),
        (short.id.clone(), Some("recalled"))
    );
    busy.say(
        &short,
        Err(TaskError::new(TaskError::CANCELLED, "never began")),
    )
    .await;
    let request = idle.request().await;
    idle.answer(&request).await;
    let reply = short_call.await.unwrap();
    assert_eq!(reply.worker.unwrap().as_str(), "echo/2");
    busy.answer(&long).await;
    assert!(long_call.await.unwrap().result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_cancelled_and_the_worker_goes_on() {
    let (manager, mut workers) = manager();
    let pool = ProcessPool::new(manager, config()).await.unwrap();
    let mut worker = workers.recv().await.unwrap();
    worker.hello(&[Capability::Cancel]).await;
    let run = submit(&pool, job("a"));
    let request = worker.request().await;
    run.abort();
    let cancel = worker.heard().await;
    assert!(
        matches!(cancel, Some(IpcMessage::Event(Event::Cancel(_)))),
        "{cancel:?}"
    );
    worker
        .say(
            &request,
            Err(TaskError::new(TaskError::CANCELLED, "stopped")),
        )
        .await;
    tokio::spawn(worker.serve());
    assert!(pool.run(job("b")).await.result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_killed_attempt_says_that_it_was_cancelled() {
    let (pool, _worker, _workers) = start(Prefetch::Auto, &[]).await;
    let mut run = RunSide::attach(&pool).unwrap();
    let ticket = tickets(1)[0];
    run.perform(ticket, false).await;
    let offer = run.offered().await;
    stop(&offer, ticket, StopRequest::Kill);
    match run.next().await {
        Report::Ended { result, .. } => assert_eq!(result.unwrap_err().class, Class::Cancelled),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_sent_to_a_worker_that_has_died_comes_back_uncharged() {
    let (pool, mut worker, mut workers) = start(Prefetch::Fixed(0), &[]).await;
    let mut run = RunSide::attach(&pool).unwrap();
    let tickets = tickets(3);
    run.perform(tickets[0], false).await;
    let first = run.offered().await;
    let _request = worker.request().await;
    worker.die(Exit::Code(3));
    let charged = run.next().await;
    assert!(matches!(charged, Report::Ended { ticket, .. } if ticket == tickets[0]));

    // The attempt is sent before the run knows that the worker is gone.
    run.perform_on(&first, tickets[1], false);
    let back = run.next().await;
    assert!(
        matches!(back, Report::Returned { ticket, withdrawn: true, .. } if ticket == tickets[1]),
        "{back:?}"
    );

    // Its successor is offered, and takes attempts.
    run.demand(crate::dispatch::Demand::Open { unseated: 1 });
    let mut successor = workers.recv().await.unwrap();
    successor.hello(&[]).await;
    run.perform(tickets[2], false).await;
    let request = successor.request().await;
    successor.answer(&request).await;
    let ended = run.next().await;
    assert!(matches!(ended, Report::Ended { ticket, .. } if ticket == tickets[2]));
    assert_eq!(run.withdrawn, [first.number]);
}

#[tokio::test(start_paused = true)]
async fn a_recalled_attempt_that_had_begun_passes_its_slot_to_the_next_one() {
    let (pool, mut worker, _workers) = start(Prefetch::Fixed(2), &[Capability::Cancel]).await;
    let mut run = RunSide::attach(&pool).unwrap();
    let tickets = tickets(3);
    for (place, ticket) in tickets.iter().enumerate() {
        run.perform(*ticket, place > 0).await;
    }
    let offer = run.offered().await;
    let first = worker.request().await;
    let second = worker.request().await;
    let third = worker.request().await;
    stop(&offer, tickets[1], StopRequest::Recall);
    // The worker begins it before it reads that it is recalled, and then stops.
    worker.answer(&first).await;
    pass(MOMENT).await;
    let cancelled = TaskError::new(TaskError::CANCELLED, "stopped");
    worker.say(&second, Err(cancelled)).await;
    let ended = run.next().await;
    assert!(matches!(ended, Report::Ended { next, .. } if next == Some(tickets[1])));
    let back = run.next().await;
    assert!(
        matches!(back, Report::Returned { ticket, next, .. } if (ticket, next) == (tickets[1], Some(tickets[2]))),
        "{back:?}"
    );
    worker.answer(&third).await;
    let ended = run.next().await;
    assert!(matches!(ended, Report::Ended { ticket, .. } if ticket == tickets[2]));
}

#[tokio::test(start_paused = true)]
async fn a_recall_that_comes_too_late_kills_nobody() {
    let (pool, mut worker, _workers) = start(Prefetch::Fixed(1), &[Capability::Cancel]).await;
    let mut run = RunSide::attach(&pool).unwrap();
    let tickets = tickets(2);
    run.perform(tickets[0], false).await;
    run.perform(tickets[1], true).await;
    let first = worker.request().await;
    let second = worker.request().await;
    worker.answer(&first).await;
    let ended = run.next().await;
    assert!(
        matches!(ended, Report::Ended { next, .. } if next == Some(tickets[1])),
        "{ended:?}"
    );
    let offer = run.offered().await;
    stop(&offer, tickets[1], StopRequest::Recall);
    pass(Duration::from_mins(1)).await;
    worker.answer(&second).await;
    let ended = run.next().await;
    assert!(
        matches!(&ended, Report::Ended { ticket, result: Ok(_), .. } if *ticket == tickets[1]),
        "{ended:?}"
    );
    assert!(pool.metrics().await.unwrap().retired.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pool_refuses_the_call_of_a_job_that_is_no_task() {
    let (manager, _workers) = manager();
    let pool = ProcessPool::new(manager, config()).await.unwrap();
    let closure = crate::Job::closure("a", |_| async { Ok(ratchet_ipc::Payload::null()) });
    let failure = pool.run(closure).await.result.unwrap_err();
    assert_eq!(failure.class, Class::Input, "{failure}");
}
