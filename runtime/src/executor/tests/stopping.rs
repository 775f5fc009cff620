//! Tests of stop rules, deadlines, phases and grace.

use ratchet_resilience::shutdown::{Grace, Phase};

use super::scripted::{Act, Deaf, How, ScriptedPool};
use super::*;
use crate::dispatch::{Demand, Report};
use crate::executor::{Halt, MaxFailures, RunHandle, Stopped, SuccessGoal};
use crate::ids::WorkerName;

fn grace(draining: u32, cancelling: u32, killing: u32) -> Grace {
    Grace {
        draining: SECOND * draining,
        cancelling: SECOND * cancelling,
        killing: SECOND * killing,
    }
}

#[tokio::test(start_paused = true)]
async fn enough_failures_stop_the_run_and_the_rest_say_so() {
    let executor = Executor::builder()
        .slots(2)
        .max_failures(MaxFailures::Count(2))
        .build()
        .unwrap();
    let jobs = [
        takes("a", 5),
        fails("b"),
        fails("c"),
        takes("d", 1),
        takes("e", 1),
    ];
    let mut run = executor.run_list(jobs).unwrap();
    let outcomes = rest(&mut run).await;
    assert_eq!(
        told(&outcomes),
        [
            "b failed",
            "c failed",
            "d cancelled",
            "e cancelled",
            "a succeeded"
        ]
    );
    assert_eq!(message(&outcomes[2]), "it was not started: 2 jobs failed");
    assert_eq!(outcomes[2].attempts, 0);
    assert_eq!(run.stopped(), Some(&Stopped::Failures { failed: 2 }));
}

#[tokio::test(start_paused = true)]
async fn a_halt_now_asks_what_runs_to_stop() {
    let executor = Executor::builder()
        .slots(3)
        .halt(MaxFailures::percent(100.0), Halt::Now)
        .grace(grace(30, 2, 1))
        .build()
        .unwrap();
    let begin = tokio::time::Instant::now();
    // Of three jobs, one failure is the percentage that counts, because there are no 20 jobs.
    let outcomes = executor
        .run_all([fails("a"), fails("b"), fails("c")])
        .await
        .unwrap();
    assert_eq!(told(&outcomes), ["a failed", "b failed", "c failed"]);

    let executor = Executor::builder()
        .slots(2)
        .halt(MaxFailures::Count(1), Halt::Now)
        .grace(grace(30, 2, 1))
        .build()
        .unwrap();
    let outcomes = executor.run_all([fails("a"), stubborn("b")]).await.unwrap();
    assert_eq!(told(&outcomes), ["a failed", "b cancelled"]);
    assert_eq!(begin.elapsed(), SECOND * 2);
    assert!(message(&outcomes[1]).starts_with("it was killed"));
}

#[tokio::test(start_paused = true)]
async fn no_job_starts_once_enough_jobs_have_succeeded() {
    for halt in [Halt::Soon, Halt::Now] {
        let executor = Executor::builder()
            .slots(1)
            .halt_on_success(SuccessGoal::Count(1), halt)
            .build()
            .unwrap();
        let jobs = [fails("a"), takes("b", 1), takes("c", 1), takes("d", 1)];
        let mut run = executor.run_list(jobs).unwrap();
        let outcomes = rest(&mut run).await;
        assert_eq!(
            told(&outcomes),
            ["a failed", "b succeeded", "c cancelled", "d cancelled"]
        );
        assert_eq!(outcomes[2].attempts, 0);
        assert_eq!(
            message(&outcomes[2]),
            "it was not started: a job succeeded, and no more are wanted"
        );
        assert_eq!(run.stopped(), Some(&Stopped::Goal { succeeded: 1 }));
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_rate_of_starts_is_waiting_for_a_rate() {
    let rate = crate::Limit::rate("1/s".parse().unwrap(), 1).unwrap();
    let executor = Executor::builder()
        .slots(2)
        .limit(crate::Limit::RATE_OF_STARTS, rate)
        .build()
        .unwrap();
    let terms = Terms {
        limits: vec![crate::Limit::RATE_OF_STARTS.to_owned()],
        ..Terms::default()
    };
    let jobs = ["a", "b"].map(|id| instant(id).terms(terms.clone()));
    let outcomes = executor.run_all(jobs).await.unwrap();
    assert_eq!(outcomes[1].waits.of(&crate::Blocker::Rate), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_it_all() {
    let executor = Executor::builder()
        .slots(1)
        .deadline(SECOND * 3)
        .grace(grace(30, 2, 1))
        .build()
        .unwrap();
    let begin = tokio::time::Instant::now();
    let mut run = executor
        .run_list([takes("a", 1), stubborn("b"), takes("c", 1)])
        .unwrap();
    let outcomes = rest(&mut run).await;
    assert_eq!(
        told(&outcomes),
        ["a succeeded", "c cancelled", "b cancelled"]
    );
    assert_eq!(
        message(&outcomes[1]),
        "it was not started: the time of the run is over"
    );
    assert_eq!(begin.elapsed(), SECOND * 5);
    assert_eq!(run.stopped(), Some(&Stopped::Deadline));
}

#[tokio::test(start_paused = true)]
async fn the_phases_follow_each_other_and_end_even_what_will_not_die() {
    let pool = ScriptedPool::new(3, 0);
    let act = |deaf| Act {
        deaf,
        ..Act::well(1_000)
    };
    pool.script("hears", 1, act(Deaf::No));
    pool.script("is killed", 1, act(Deaf::ToAsking));
    pool.script("will not die", 1, act(Deaf::ToKilling));
    let executor = Executor::builder()
        .slots(3)
        .grace(grace(10, 5, 2))
        .pool_source(Arc::new(pool))
        .build()
        .unwrap();
    let job = |id: &str| Job::task(id, "t", Payload::null());
    let jobs = ["hears", "is killed", "will not die", "waits"].map(job);
    let mut run = executor.run_list(jobs).unwrap();
    tokio::time::sleep(SECOND).await;
    let begin = tokio::time::Instant::now();
    run.handle().drain();
    let mut ended = Vec::new();
    while let Some(outcome) = run.next().await {
        ended.push((begin.elapsed().as_secs(), outcome.id.to_string()));
    }
    let expected = [
        (0, "waits"),
        (10, "hears"),
        (15, "is killed"),
        (17, "will not die"),
    ];
    assert_eq!(ended, expected.map(|(at, id)| (at, id.to_owned())));
    assert_eq!(run.stopped(), Some(&Stopped::Asked));
}

#[tokio::test(start_paused = true)]
async fn a_drain_tries_nothing_again() {
    let job = fails_and_is_tried_again("a");
    let run = executor(1).run_list([job]).unwrap();
    run.handle().drain();
    let outcomes = all(run).await;
    // The job was not even started, because the order came before the first turn.
    assert_eq!(told(&outcomes), ["a cancelled"]);

    let job = fails_and_is_tried_again("a");
    let run = executor(1).run_list([job]).unwrap();
    tokio::time::sleep(SECOND / 2).await;
    run.handle().drain();
    let outcomes = all(run).await;
    assert_eq!(told(&outcomes), ["a failed"]);
    assert_eq!(outcomes[0].attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn patience_with_the_queue_ends() {
    let impatient = terms(Timeouts {
        queue: Some(SECOND * 2),
        ..Timeouts::default()
    });
    let jobs = [
        takes("a", 3),
        takes("b", 1).terms(impatient.clone()),
        takes("c", 1),
    ];
    let outcomes = executor(1).run_all(jobs).await.unwrap();
    assert_eq!(
        told(&outcomes),
        ["a succeeded", "b timed_out", "c succeeded"]
    );
    assert_eq!(
        message(&outcomes[1]),
        "it waited for its start for longer than 2s"
    );
    assert_eq!((outcomes[1].attempts, outcomes[1].queued), (0, SECOND * 2));

    // A start in time ends the queue timeout. How long the job runs is the matter of other timeouts.
    let outcomes = executor(1)
        .run_all([takes("a", 9).terms(impatient)])
        .await
        .unwrap();
    assert_eq!(told(&outcomes), ["a succeeded"]);
}

/// Makes a task that may wait for its start for two seconds.
fn impatient(id: &str) -> Job {
    let queue = Some(SECOND * 2);
    Job::task(id, "t", Payload::null()).terms(terms(Timeouts {
        queue,
        ..Timeouts::default()
    }))
}

#[tokio::test(start_paused = true)]
async fn patience_with_the_queue_ends_while_a_job_waits_for_a_hello() {
    let pool = ScriptedPool::new(1, 0).silent();
    let executor = Executor::builder().pool_source(Arc::new(pool.clone()));
    let mut run = (executor.build().unwrap())
        .run_list([impatient("a"), Job::task("b", "t", Payload::null())])
        .unwrap();
    let outcome = run.next().await.unwrap();
    assert_eq!(told(std::slice::from_ref(&outcome)), ["a timed_out"]);
    assert_eq!(
        message(&outcome),
        "it waited for its start for longer than 2s"
    );
    assert_eq!((outcome.attempts, outcome.queued), (0, SECOND * 2));
    pool.report(|pool| Report::Introduced {
        kind: pool.kind,
        version: None,
        tasks: None,
    });
    assert!(run.next().await.unwrap().is_success(), "others go on");
}

#[tokio::test(start_paused = true)]
async fn patience_with_the_queue_begins_when_all_needs_are_met() {
    let waits = terms(Timeouts {
        queue: Some(SECOND * 2),
        ..Timeouts::default()
    });
    let after = |id, seconds| takes(id, seconds).terms(waits.clone()).needs(["a"]);
    let jobs = [takes("a", 5), after("b", 3), after("c", 1)];
    let outcomes = executor(1).run_all(jobs).await.unwrap();
    assert_eq!(
        told(&outcomes),
        ["a succeeded", "b succeeded", "c timed_out"]
    );
    assert_eq!(outcomes[2].queued, SECOND * 7);
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_while_a_run_is_paused_or_held() {
    let run = executor(1)
        .run_list([takes("a", 1), takes("b", 1)])
        .unwrap();
    let handle = run.handle();
    handle.pause();
    tokio::time::sleep(SECOND * 10).await;
    assert_eq!(handle.status().held.as_deref(), Some("paused"));
    handle.hold(Some("memory is short".to_owned()));
    handle.resume();
    tokio::time::sleep(SECOND * 10).await;
    let status = handle.status();
    assert_eq!((status.running, status.waiting, status.ended), (0, 2, 0));
    assert_eq!(status.held.as_deref(), Some("memory is short"));
    handle.hold(None);
    let outcomes = all(run).await;
    assert_eq!(outcomes[0].queued, SECOND * 20);
    assert_eq!(handle.status().held, None);
    assert_eq!(handle.status().phase, Phase::Running);
}

#[tokio::test(start_paused = true)]
async fn slots_and_limits_change_while_it_runs() {
    let executor = Executor::builder()
        .slots(1)
        .limit("db", crate::Limit::max(1).unwrap())
        .build()
        .unwrap();
    let named = |id| {
        takes(id, 10).terms(Terms {
            limits: vec!["db".to_owned()],
            ..Terms::default()
        })
    };
    let begin = tokio::time::Instant::now();
    let run = executor.run_list(["a", "b", "c"].map(named)).unwrap();
    let handle = run.handle();
    tokio::time::sleep(SECOND).await;
    handle.set_slots(3).await.unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!(handle.status().running, 1, "the limit holds");
    handle
        .set_limit("db", crate::Limit::max(3).unwrap())
        .await
        .unwrap();
    let wrong = handle.set_limit("bd", crate::Limit::max(3).unwrap()).await;
    assert_eq!(
        wrong.unwrap_err().to_string(),
        "unknown limit `bd`, did you mean `db`?"
    );
    assert!(handle.set_slots(0).await.is_err());
    all(run).await;
    assert_eq!(begin.elapsed(), SECOND * 12);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_would_be_tried_again_has_failed_when_the_run_stops() {
    let again = Terms {
        retry: Some(retrying(9)),
        ..Terms::default()
    };
    let jobs = [fails("a").terms(again), takes("b", 5)];
    let mut run = executor(2).run_list(jobs).unwrap();
    let handle = run.handle();
    tokio::time::sleep(SECOND / 2).await;
    handle.drain();
    let first = run.next().await.unwrap();
    assert_eq!(told(std::slice::from_ref(&first)), ["a failed"]);
    assert_eq!((message(&first), first.attempts), ("no", 1));
    assert!(run.next().await.unwrap().is_success());
}

#[tokio::test(start_paused = true)]
async fn a_pool_hears_when_nothing_is_left() {
    let over_after = |order: Option<fn(&RunHandle)>| async move {
        let pool = ScriptedPool::new(1, 0);
        pool.script("a", 1, Act::well(2));
        let failing = Act {
            end: How::Fails,
            ..Act::well(2)
        };
        pool.script("b", 1, failing);
        pool.script("b", 2, Act::well(2));
        let executor = Executor::builder()
            .slots(1)
            .pool_source(Arc::new(pool.clone()));
        let again = Terms {
            retry: Some(retrying(2)),
            ..Terms::default()
        };
        let jobs = [
            Job::task("a", "t", Payload::null()),
            Job::task("b", "t", Payload::null()).terms(again),
        ];
        let run = executor.build().unwrap().run_list(jobs).unwrap();
        tokio::time::sleep(SECOND).await;
        if let Some(order) = order {
            order(&run.handle());
        }
        all(run).await;
        pool.demands()
    };
    let open = |unseated| Demand::Open { unseated };
    // The failed job waits for its retry, and a seat is free beside it.
    let last = Demand::Last;
    let to_the_end = [open(2), open(1), last, open(0), last, Demand::Over];
    assert_eq!(over_after(None).await, to_the_end);
    let drained = [open(2), open(1), Demand::Over];
    assert_eq!(over_after(Some(RunHandle::drain)).await, drained);
    let killed = [open(2), open(1), Demand::Killed];
    assert_eq!(over_after(Some(RunHandle::kill)).await, killed);
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_panics_is_no_success() {
    let pool = Arc::new(ScriptedPool::new(0, 0).panicking());
    let executor = Executor::builder().pool_source(pool).build().unwrap();
    let jobs = ["a", "b"].map(|id| Job::task(id, "t", Payload::null()));
    let mut run = executor.run_list(jobs.to_vec()).unwrap();
    assert!(run.next().await.is_none());
    let reason = "the pool is upset".to_owned();
    assert_eq!(run.stopped(), Some(&Stopped::Broken { reason }));
    // `run_all` returns the error, too.
    let refused = executor.run_all(jobs).await.unwrap_err();
    assert!(
        refused.to_string().contains("the pool is upset"),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_attempt_was_lost_with_its_connection_is_no_success_and_does_not_wait_for_it() {
    let pool = ScriptedPool::new(1, 0);
    pool.script("a", 1, Act::well(1_000_000));
    let executor = Executor::builder().pool_source(Arc::new(pool.clone()));
    let executor = executor.build().unwrap();
    let jobs = ["a", "b"].map(|id| Job::task(id, "t", Payload::null()));
    let mut run = executor.run_list(jobs.to_vec()).unwrap();
    tokio::time::sleep(SECOND).await;
    pool.report(|_| Report::ConnectionBroke {
        worker: WorkerName::new("t", 1),
        reason: "the pipe is upset".into(),
    });
    let ended = tokio::time::timeout(SECOND, run.next()).await.unwrap();
    assert!(ended.is_none());
    let reason = "the connection to worker t/1 broke: the pipe is upset".to_owned();
    assert_eq!(run.stopped(), Some(&Stopped::Broken { reason }));
}
