//! What becomes of attempts.

use std::sync::Arc;
use std::time::Duration;

use ratchet_ipc::{Capability, Event, IpcMessage, TaskError};
use tokio::sync::mpsc;

use super::fake::{FakeWorker, config, job, manager, pass, submit};
use crate::executor::crew::{Assignment, Crew, Report, Stop};
use crate::executor::reporter::{Reporter, Reports};
use crate::outcome::Class;
use crate::process::{Exit, PoolConfig, Prefetch, ProcessPool, ProcessSupervisor, Size};
use crate::scheduling::{Decision, Kind, Request, Scheduler, Settings, Ticket};

const MOMENT: Duration = Duration::from_millis(1);

/// Tickets as an executor has them.
pub(super) fn tickets(count: usize) -> Vec<Ticket> {
    let now = tokio::time::Instant::now().into_std();
    let slots = u32::try_from(count).unwrap();
    let settings = Settings {
        slots,
        ..Settings::default()
    };
    let mut scheduler = Scheduler::new(settings, now).unwrap();
    let tickets = (0..count).map(|_| {
        scheduler.push(Request::new("echo"), now).unwrap();
        match scheduler.pop(now) {
            Decision::Start(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    });
    tickets.collect()
}

pub(super) fn assignment(ticket: Ticket, ahead: bool) -> Assignment {
    Assignment {
        ticket,
        job: Arc::new(job("a")),
        number: 1,
        kind: Kind(1),
        ahead,
        edition: 1,
    }
}

/// The next report about attempts.
pub(super) async fn next(reports: &mut Reports) -> Report {
    loop {
        match reports.news.recv().await.unwrap() {
            Report::Places { .. } | Report::Introduced { .. } | Report::Worker(_) => {}
            report => return report,
        }
    }
}

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
async fn what_was_sent_ahead_begins_in_the_place_of_what_has_ended() {
    let (pool, mut worker, _workers) = start(Prefetch::Fixed(2), &[]).await;
    let (reporter, mut reports) = Reporter::new();
    let mut crew = pool.crew(Kind(1), reporter);
    let tickets = tickets(3);
    for (place, ticket) in tickets.iter().enumerate() {
        crew.start(assignment(*ticket, place > 0));
    }
    let report = next(&mut reports).await;
    assert!(
        matches!(report, Report::Started { ticket, .. } if ticket == tickets[0]),
        "{report:?}"
    );
    for place in 0..3 {
        let request = worker.request().await;
        pass(Duration::from_secs(7)).await;
        worker.answer(&request).await;
        let report = next(&mut reports).await;
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
        // Its clock starts when its worker turns to it.
        assert_eq!(ran, Duration::from_secs(7));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_ahead_of_nothing_comes_back() {
    let (pool, _worker, _workers) = start(Prefetch::Fixed(2), &[]).await;
    let (reporter, mut reports) = Reporter::new();
    let mut crew = pool.crew(Kind(1), reporter);
    let ticket = tickets(1)[0];
    crew.start(assignment(ticket, true));
    let report = next(&mut reports).await;
    assert!(
        matches!(report, Report::Returned { ticket: back } if back == ticket),
        "{report:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_crash_charges_what_had_begun_and_returns_the_rest() {
    let (pool, worker, mut workers) = start(Prefetch::Fixed(2), &[]).await;
    let (reporter, mut reports) = Reporter::new();
    let mut crew = pool.crew(Kind(1), reporter);
    let tickets = tickets(3);
    for (place, ticket) in tickets.iter().enumerate() {
        crew.start(assignment(*ticket, place > 0));
    }
    assert!(matches!(next(&mut reports).await, Report::Started { .. }));
    pass(MOMENT).await;
    worker.die(Exit::Signal(9));
    let mut returned = Vec::new();
    let mut crashed = Vec::new();
    for _ in 0..3 {
        match next(&mut reports).await {
            Report::Returned { ticket } => returned.push(ticket),
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
    // And another worker takes its place.
    assert!(workers.recv().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_short_job_does_not_lie_behind_a_long_one_while_a_worker_is_idle() {
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
    let (reporter, mut reports) = Reporter::new();
    let mut crew = pool.crew(Kind(1), reporter);
    let tickets = tickets(2);
    crew.start(assignment(tickets[0], false));
    crew.start(assignment(tickets[1], true));
    let long = busy.request().await;
    let short = busy.request().await;
    assert!(matches!(next(&mut reports).await, Report::Started { .. }));

    // Another worker comes, and finds nothing to do.
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
    let report = next(&mut reports).await;
    assert!(
        matches!(report, Report::Returned { ticket } if ticket == tickets[1]),
        "{report:?}"
    );
    crew.start(assignment(tickets[1], false));
    let request = idle.request().await;
    idle.answer(&request).await;
    assert!(matches!(next(&mut reports).await, Report::Started { .. }));
    let report = next(&mut reports).await;
    assert!(
        matches!(report, Report::Ended { ticket, .. } if ticket == tickets[1]),
        "{report:?}"
    );
    busy.answer(&long).await;
    let report = next(&mut reports).await;
    assert!(
        matches!(report, Report::Ended { ticket, .. } if ticket == tickets[0]),
        "{report:?}"
    );
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
    let (reporter, mut reports) = Reporter::new();
    let mut crew = pool.crew(Kind(1), reporter);
    let ticket = tickets(1)[0];
    crew.start(assignment(ticket, false));
    assert!(matches!(next(&mut reports).await, Report::Started { .. }));
    crew.stop(ticket, Stop::Kill);
    match next(&mut reports).await {
        Report::Ended { result, .. } => assert_eq!(result.unwrap_err().class, Class::Cancelled),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn places_follow_the_workers_and_ahead_what_jobs_take() {
    let (pool, mut worker, _workers) = start(Prefetch::Auto, &[Capability::Cancel]).await;
    let (reporter, mut reports) = Reporter::new();
    let mut crew = pool.crew(Kind(1), reporter);
    let first = reports.news.recv().await.unwrap();
    let expected = (Kind(1), 1, 0);
    assert!(
        matches!(first, Report::Places { kind, places, ahead, .. } if (kind, places, ahead) == expected),
        "{first:?}"
    );
    assert!(matches!(
        reports.news.recv().await,
        Some(Report::Introduced { tasks: None, .. })
    ));
    crew.start(assignment(tickets(1)[0], false));
    let request = worker.request().await;
    worker.answer(&request).await;
    // On the paused clock it took no time at all.
    loop {
        if let Report::Places { places, ahead, .. } = reports.news.recv().await.unwrap() {
            assert_eq!((places, ahead), (1, 256));
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_whose_place_is_gone_comes_back_instead_of_waiting_for_another() {
    let (pool, mut worker, mut workers) = start(Prefetch::Fixed(0), &[]).await;
    let (reporter, mut reports) = Reporter::new();
    let mut crew = pool.crew(Kind(1), reporter);
    let tickets = tickets(4);
    crew.start(assignment(tickets[0], false));
    let _first = worker.request().await;

    // Nobody says that the place is another: somebody else may have borrowed the worker, so it waits..
    crew.start(assignment(tickets[1], false));
    pass(MOMENT).await;
    worker.die(Exit::Code(3));
    // ..until the place is gone, with the worker.
    let charged = next(&mut reports).await;
    assert!(matches!(charged, Report::Started { ticket, .. } if ticket == tickets[0]));
    let charged = next(&mut reports).await;
    assert!(matches!(charged, Report::Ended { ticket, .. } if ticket == tickets[0]));
    let back = next(&mut reports).await;
    assert!(matches!(back, Report::Returned { ticket } if ticket == tickets[1]));

    // Sent to the place that is no more, before the news of it were heard.
    crew.start(assignment(tickets[2], false));
    let back = next(&mut reports).await;
    assert!(matches!(back, Report::Returned { ticket } if ticket == tickets[2]));

    // With the successor there is a place again.
    let mut successor = workers.recv().await.unwrap();
    successor.hello(&[]).await;
    pass(MOMENT).await;
    let known = Assignment {
        edition: 3,
        ..assignment(tickets[3], false)
    };
    crew.start(known);
    let request = successor.request().await;
    successor.answer(&request).await;
    let started = next(&mut reports).await;
    assert!(matches!(started, Report::Started { ticket, .. } if ticket == tickets[3]));
}

#[tokio::test(start_paused = true)]
async fn an_executor_stops_its_own_attempts_and_not_those_that_others_call_the_same() {
    let (pool, mut worker, _workers) = start(Prefetch::Fixed(0), &[]).await;
    let ticket = tickets(1)[0];
    let (mine, mut my_reports) = Reporter::new();
    let (theirs, mut their_reports) = Reporter::new();
    let mut my_crew = pool.crew(Kind(1), mine);
    let mut their_crew = pool.crew(Kind(1), theirs);
    my_crew.start(assignment(ticket, false));
    let running = worker.request().await;
    assert!(matches!(
        next(&mut my_reports).await,
        Report::Started { .. }
    ));
    // Mine runs, and theirs waits for the worker.
    their_crew.start(assignment(ticket, false));
    my_crew.stop(ticket, Stop::Ask { grace: MOMENT });
    let stopped = next(&mut my_reports).await;
    assert!(
        matches!(&stopped, Report::Ended { result: Err(failure), .. } if failure.class == Class::Cancelled),
        "{stopped:?}"
    );
    drop(running);
    // Its place has gone with the worker that had to be killed, which is all that becomes of it.
    let theirs = next(&mut their_reports).await;
    assert!(matches!(theirs, Report::Returned { .. }), "{theirs:?}");
}

#[tokio::test(start_paused = true)]
async fn a_recall_that_comes_too_late_kills_nobody() {
    let (pool, mut worker, _workers) = start(Prefetch::Fixed(1), &[Capability::Cancel]).await;
    let (reporter, mut reports) = Reporter::new();
    let mut crew = pool.crew(Kind(1), reporter);
    let tickets = tickets(2);
    crew.start(assignment(tickets[0], false));
    crew.start(assignment(tickets[1], true));
    let first = worker.request().await;
    let second = worker.request().await;
    worker.answer(&first).await;
    assert!(matches!(next(&mut reports).await, Report::Started { .. }));
    let ended = next(&mut reports).await;
    assert!(
        matches!(ended, Report::Ended { next, .. } if next == Some(tickets[1])),
        "{ended:?}"
    );
    crew.stop(tickets[1], Stop::Recall);
    pass(Duration::from_mins(1)).await;
    worker.answer(&second).await;
    let ended = next(&mut reports).await;
    assert!(
        matches!(&ended, Report::Ended { ticket, result: Ok(_), .. } if *ticket == tickets[1]),
        "{ended:?}"
    );
    assert!(pool.metrics().await.unwrap().retired.is_empty());
}
