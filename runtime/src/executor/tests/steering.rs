//! Tests of finding, cancelling and adding single jobs during a run.

use ratchet_ipc::JobKey;
use ratchet_resilience::shutdown::Grace;

use super::scripted::{Act, Deaf, ScriptedPool};
use super::*;
use crate::Error;
use crate::context::Step;
use crate::dispatch::Report;
use crate::executor::{Cancellation, JobState, OutcomeOrder, RunHandle, WaitCause};
use crate::scheduling::{Limit, ParallelizationHint, Priority};

/// Cancels these jobs, and returns what became of each.
async fn cancel(handle: &RunHandle, ids: &[&str]) -> Vec<Cancellation> {
    let ids = ids.iter().map(|id| JobKey::from(*id));
    handle.cancel_jobs(ids).await.unwrap()
}

/// Describes the state of a job.
async fn stands(handle: &RunHandle, id: &str) -> String {
    match &handle.find([id.into()]).await.unwrap()[0] {
        None => "unknown".to_owned(),
        Some(JobState::Pending) => "pending".to_owned(),
        Some(JobState::Running(running)) => format!("attempt {}", running.attempt),
        Some(JobState::Waiting(waiting)) => waiting.cause.to_string(),
    }
}

fn sorted(outcomes: &[Arc<Outcome>]) -> Vec<String> {
    let mut told = told(outcomes);
    told.sort();
    told
}

fn short_grace(slots: u32) -> Executor {
    let grace = Grace {
        cancelling: SECOND * 2,
        ..Grace::default()
    };
    Executor::builder()
        .slots(slots)
        .grace(grace)
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn jobs_are_cancelled_wherever_they_are_and_the_run_goes_on() {
    let executor = Executor::builder().slots(2).window(6).build();
    let jobs = [
        stubborn("runs"),
        fails_and_is_tried_again("retried"),
        takes("waits", 1),
        instant("needs").needs(["runs"]),
        instant("dependent").needs(["waits"]),
        takes("goes on", 3),
        takes("pending", 1),
        takes("last", 1),
    ];
    let mut run = executor.unwrap().run_list(jobs).unwrap();
    let handle = run.handle();
    tokio::time::sleep(SECOND * 3 / 2).await;
    assert_eq!(stands(&handle, "retried").await, "waits to be tried again");
    assert_eq!(stands(&handle, "pending").await, "pending");
    let ids = ["runs", "retried", "waits", "needs", "pending", "nobody"];
    let became = cancel(&handle, &ids).await;
    assert_eq!(became[0], Cancellation::Asked);
    assert_eq!(became[5], Cancellation::Unknown);
    assert!(became[1..3].iter().all(|one| *one != Cancellation::Unknown));
    assert_eq!(became[3..5], [Cancellation::Ended; 2]);
    let outcomes = rest(&mut run).await;
    let expected = [
        "dependent skipped",
        "goes on succeeded",
        "last succeeded",
        "needs cancelled",
        "pending cancelled",
        "retried cancelled",
        "runs cancelled",
    ];
    let told = sorted(&outcomes);
    assert_eq!(told[..7], expected);
    let of = |id: &str| outcomes.iter().find(|outcome| outcome.id.as_str() == id);
    let retried = of("retried").unwrap();
    assert_eq!((retried.attempts, retried.duration), (1, SECOND));
    assert_eq!(
        message(retried),
        "somebody cancelled it while it waited for another attempt"
    );
    assert_eq!(
        message(of("pending").unwrap()),
        "somebody cancelled it before it started"
    );
    assert_eq!(run.stopped(), None);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_cancelled_while_it_runs_has_its_grace_and_no_other_attempt() {
    let mut run = short_grace(2)
        .run_list([stubborn("a"), fails_and_is_tried_again("b")])
        .unwrap();
    let handle = run.handle();
    tokio::time::sleep(SECOND / 2).await;
    let begin = tokio::time::Instant::now();
    assert_eq!(cancel(&handle, &["a"]).await, [Cancellation::Asked]);
    let first = run.next().await.unwrap();
    assert_eq!(told(&[Arc::clone(&first)]), ["a cancelled"]);
    assert_eq!((first.attempts, begin.elapsed()), (1, SECOND * 2));
    assert!(message(&first).starts_with("somebody cancelled it: "));
    // The job ignores the request, and fails by itself.
    handle.cancel_jobs(["b".into()]).await.unwrap();
    let last = run.next().await.unwrap();
    assert_eq!(told(&[last]), ["b cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_cancelled_twice_is_killed_at_once() {
    let mut run = short_grace(1).run_list([stubborn("a")]).unwrap();
    let handle = run.handle();
    tokio::time::sleep(SECOND).await;
    let begin = tokio::time::Instant::now();
    cancel(&handle, &["a"]).await;
    cancel(&handle, &["a"]).await;
    assert_eq!(told(&rest(&mut run).await), ["a cancelled"]);
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_sent_ahead_is_cancelled_before_it_begins() {
    let pool = ScriptedPool::new(1, 2);
    for id in ["a", "b", "c"] {
        pool.script(id, 1, Act::well(1_000));
    }
    let executor = Executor::builder()
        .slots(1)
        .pool_source(Arc::new(pool))
        .build()
        .unwrap();
    let jobs = ["a", "b", "c"].map(|id| Job::task(id, "t", Payload::null()));
    let mut run = executor.run_list(jobs).unwrap();
    tokio::time::sleep(SECOND / 2).await;
    let became = cancel(&run.handle(), &["b"]).await;
    assert_ne!(became, [Cancellation::Unknown]);
    let outcomes = rest(&mut run).await;
    assert_eq!(
        sorted(&outcomes),
        ["a succeeded", "b cancelled", "c succeeded"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_a_worker_whose_job_was_cancelled_is_no_failure_of_the_job() {
    let pool = ScriptedPool::new(1, 0);
    let act = Act {
        deaf: Deaf::ToAsking,
        ..Act::well(60_000)
    };
    pool.script("a", 1, act);
    let executor = Executor::builder()
        .slots(1)
        .pool_source(Arc::new(pool))
        .build()
        .unwrap();
    let job = Job::task("a", "t", Payload::null()).terms(Terms {
        retry: Some(retrying(5)),
        ..Terms::default()
    });
    let mut run = executor.run_list([job]).unwrap();
    tokio::time::sleep(SECOND).await;
    cancel(&run.handle(), &["a"]).await;
    cancel(&run.handle(), &["a"]).await;
    assert_eq!(told(&rest(&mut run).await), ["a cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_job_waits_for_is_told_with_how_long_it_lasts() {
    let executor = Executor::builder()
        .slots(8)
        .limit("api", Limit::rate("1/10s".parse().unwrap(), 1).unwrap())
        .build()
        .unwrap();
    let rated = ParallelizationHint::RateLimited {
        requests_per_second: 0.25,
        burst: 1,
        key: Some("key".to_owned()),
    };
    let rated = |id| {
        let hint = Some(rated.clone());
        instant(id).terms(Terms {
            hint,
            ..Terms::default()
        })
    };
    let limited = |id| {
        instant(id).terms(Terms {
            limits: vec!["api".to_owned()],
            ..Terms::default()
        })
    };
    let urgent = instant("urgent").terms(Terms {
        limits: vec!["api".to_owned()],
        priority: Priority::Critical,
        ..Terms::default()
    });
    let jobs = [
        fails_and_is_tried_again("retried"),
        rated("first"),
        rated("rated"),
        limited("started"),
        limited("limited"),
        rated("rated next"),
        limited("limited next"),
        urgent,
    ];
    let run = executor.run_list(jobs).unwrap();
    tokio::time::sleep(SECOND * 3 / 2).await;
    let handle = run.handle();
    let ids = [
        "retried",
        "rated",
        "rated next",
        "started",
        "limited",
        "limited next",
    ]
    .map(JobKey::from);
    let states = handle.find(ids).await.unwrap();
    let told: Vec<_> = states
        .iter()
        .map(|state| match state {
            Some(JobState::Waiting(waiting)) => {
                let left = waiting.cause.left().map(|left| left.as_millis());
                (waiting.cause.blocker().word().into_owned(), left)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let Some(JobState::Waiting(waiting)) = &states[3] else {
        panic!("{states:?}");
    };
    let WaitCause::Limit { held_by, .. } = &waiting.cause else {
        panic!("{waiting:?}");
    };
    assert!(
        held_by.is_empty(),
        "nobody holds the tokens of a rate: {held_by:?}"
    );
    // The urgent one has taken the first token of the limit, and others take those in between.
    let expected = [
        ("retry", 500),
        ("rate", 2_500),
        ("rate", 6_500),
        ("limit:api", 8_500),
        ("limit:api", 18_500),
        ("limit:api", 28_500),
    ];
    assert_eq!(
        told,
        expected.map(|(word, left)| (word.to_owned(), Some(left)))
    );
}

#[tokio::test(start_paused = true)]
async fn what_an_attempt_says_is_kept_until_the_next_attempt() {
    let job = Job::closure("a", |context| async move {
        let step = |message: &str| Step {
            done: Some(1.0),
            message: Some(message.to_owned()),
            ..Step::default()
        };
        context.progress(step(&format!("attempt {}", context.attempt())));
        context.progress(step(&format!("attempt {}", context.attempt())));
        tokio::time::sleep(SECOND * 2).await;
        Err::<(), _>(Failure::new(Class::Task, "no"))
    });
    let job = job.terms(Terms {
        retry: Some(retrying(2)),
        ..Terms::default()
    });
    let run = executor(1).run_list([job]).unwrap();
    let handle = run.handle();
    for attempt in 1..=2 {
        tokio::time::sleep(SECOND).await;
        let output = handle.output("a".into()).await.unwrap().unwrap();
        let said = output.stderr().to_excerpt();
        assert_eq!(
            (output.attempt(), said.as_str()),
            (attempt, &*format!("attempt {attempt}\n"))
        );
        assert_eq!(output.progress().unwrap().done, Some(1.0));
        tokio::time::sleep(SECOND * 2).await;
    }
    drop(run);
    tokio::time::sleep(SECOND).await;
    assert_eq!(
        handle.output("a".into()).await.unwrap_err(),
        Error::RunEnded
    );
}

#[tokio::test(start_paused = true)]
async fn added_jobs_may_need_what_runs_what_waits_and_each_other() {
    let executor = Executor::builder()
        .slots(1)
        .window(2)
        .ordering(OutcomeOrder::Submission)
        .build()
        .unwrap();
    let jobs = [takes("a", 1), takes("b", 1), fails("c"), takes("d", 1)];
    let mut run = executor.run_list(jobs).unwrap();
    tokio::time::sleep(SECOND / 2).await;
    let handle = run.handle();
    let added = vec![
        instant("e").needs(["a", "d"]),
        instant("f").needs(["e"]),
        instant("g").needs(["c"]),
    ];
    handle.add_jobs(added).await.unwrap();
    let outcomes = rest(&mut run).await;
    let expected = [
        "a succeeded",
        "b succeeded",
        "c failed",
        "d succeeded",
        "e succeeded",
        "f succeeded",
        "g skipped",
    ];
    assert_eq!(told(&outcomes), expected);
    assert_eq!(run.stopped(), None);
}

#[tokio::test(start_paused = true)]
async fn jobs_are_added_to_a_stream_before_the_rest_of_it() {
    let executor = executor(1);
    let (submitter, mut run) = executor.open().unwrap();
    submitter.submit(takes("a", 1)).await.unwrap();
    tokio::time::sleep(SECOND / 2).await;
    run.handle()
        .add_jobs(vec![instant("b"), instant("c")])
        .await
        .unwrap();
    let handle = run.handle();
    let error = handle.add_jobs(vec![instant("c"), instant("z")]).await;
    assert_eq!(error.unwrap_err().to_string(), "job `c` is there twice");
    drop(submitter);
    let outcomes = rest(&mut run).await;
    assert_eq!(
        told(&outcomes),
        ["a succeeded", "b succeeded", "c succeeded"]
    );
}

#[tokio::test(start_paused = true)]
async fn jobs_that_cannot_be_added_are_refused_as_a_whole() {
    let run = executor(1)
        .run_list([takes("a", 1), takes("b", 1)])
        .unwrap();
    let handle = run.handle();
    tokio::time::sleep(SECOND / 2).await;
    for (jobs, why) in [
        (vec![instant("c"), instant("a")], "job `a` is there twice"),
        (vec![instant("c"), instant("b")], "job `b` is there twice"),
        (vec![instant("c"), instant("c")], "job `c` is there twice"),
        (
            vec![instant("c"), instant("d").needs(["z"])],
            "job `d` needs `z`, which does not exist",
        ),
        (
            vec![instant("c").needs(["c"])],
            "job `c` needs `c`, which does not exist",
        ),
        (vec![instant("")], "task must have a cluster name"),
    ] {
        let error = handle.add_jobs(jobs).await.unwrap_err();
        assert_eq!(error.to_string(), why);
    }
    let outcomes = all(run).await;
    assert_eq!(told(&outcomes), ["a succeeded", "b succeeded"]);
    let late = handle.add_jobs(vec![instant("late")]).await;
    assert_eq!(late.unwrap_err(), Error::RunEnded);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_stops_takes_no_more_jobs() {
    let mut run = executor(1).run_list([takes("a", 1)]).unwrap();
    let handle = run.handle();
    tokio::time::sleep(SECOND / 2).await;
    handle.drain();
    let late = handle.add_jobs(vec![instant("late")]).await;
    assert_eq!(late.unwrap_err(), Error::ShuttingDown);
    assert_eq!(told(&rest(&mut run).await), ["a succeeded"]);
}

/// Returns a job that fills this many slots.
fn filling(job: Job, slots: u32) -> Job {
    job.terms(Terms {
        slots,
        ..Terms::default()
    })
}

/// Asks for fewer slots, and checks that this is refused because a job needs more.
async fn refuses_fewer(handle: &RunHandle, slots: u32, asked: u32) {
    let error = handle.set_slots(slots).await.unwrap_err();
    let total = slots;
    assert_eq!(error, Error::ImpossibleSlots { asked, total });
    assert_eq!(
        error.to_string(),
        format!("a job of {asked} slots can never run with {slots} in total")
    );
}

#[tokio::test(start_paused = true)]
async fn fewer_slots_than_an_unfinished_job_needs_are_refused_wherever_the_job_waits() {
    for (window, needs) in [(4096, &["a"][..]), (1, &[]), (4096, &[])] {
        let executor = Executor::builder().slots(3).window(window);
        let big = filling(takes("big", 1), 3).needs(needs.iter().copied());
        let mut run = (executor.build().unwrap())
            .run_list([takes("a", 2), big, takes("c", 1)])
            .unwrap();
        let handle = run.handle();
        tokio::time::sleep(SECOND).await;
        refuses_fewer(&handle, 2, 3).await;
        assert!(handle.set_slots(4).await.is_ok());
        refuses_fewer(&handle, 2, 3).await;
        assert!(rest(&mut run).await.iter().all(|one| one.is_success()));
    }
}

#[tokio::test(start_paused = true)]
async fn fewer_slots_are_refused_while_a_job_that_needs_more_waits_for_a_hello() {
    let pool = ScriptedPool::new(2, 0).silent();
    let executor = Executor::builder()
        .slots(3)
        .pool_source(Arc::new(pool.clone()))
        .build()
        .unwrap();
    let big = filling(Job::task("big", "t", Payload::null()), 3);
    let mut run = executor.run_list([big]).unwrap();
    let handle = run.handle();
    tokio::time::sleep(SECOND).await;
    refuses_fewer(&handle, 2, 3).await;
    pool.report(|pool| Report::Introduced {
        kind: pool.kind,
        version: None,
        tasks: None,
    });
    assert!(run.next().await.unwrap().is_success());
}

#[tokio::test(start_paused = true)]
async fn a_larger_job_that_waits_fills_what_it_asks_for_once_slots_are_raised_again() {
    let executor = executor(4);
    let (submitter, mut run) = executor.open().unwrap();
    let handle = run.handle();
    handle.set_slots(1).await.unwrap();
    submitter.submit(takes("first", 2)).await.unwrap();
    submitter.submit(filling(takes("big", 9), 3)).await.unwrap();
    tokio::time::sleep(SECOND).await;
    for slots in [2, 4] {
        // With two slots it still fills all, and waits for the first job.
        handle.set_slots(slots).await.unwrap();
    }
    tokio::time::sleep(SECOND / 2).await;
    // It runs beside the first one in the other three.
    assert_eq!(handle.status().slots_used, 4);
    submitter.submit(takes("small", 1)).await.unwrap();
    drop(submitter);
    let order: Vec<_> = rest(&mut run)
        .await
        .iter()
        .map(|one| one.id.to_string())
        .collect();
    assert_eq!(order, ["first", "small", "big"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_comes_after_slots_were_lowered_and_is_larger_takes_all_of_them() {
    let executor = executor(3);
    let (submitter, mut run) = executor.open().unwrap();
    let handle = run.handle();
    handle.set_slots(2).await.unwrap();
    let begin = tokio::time::Instant::now();
    submitter.submit(takes("a", 2)).await.unwrap();
    let big = |id, slots| filling(takes(id, 3), slots);
    submitter.submit(big("big", 3)).await.unwrap();
    handle.add_jobs(vec![big("added", 3)]).await.unwrap();
    submitter.submit(big("never", 4)).await.unwrap();
    tokio::time::sleep(SECOND).await;
    // A smaller number is refused again, for what the queued jobs take by now.
    refuses_fewer(&handle, 1, 2).await;
    submitter.submit(takes("c", 1)).await.unwrap();
    drop(submitter);
    let outcomes = rest(&mut run).await;
    let told = sorted(&outcomes);
    let expected = [
        "a succeeded",
        "added succeeded",
        "big succeeded",
        "c succeeded",
        "never failed",
    ];
    assert_eq!(told, expected);
    // Nothing runs beside those that are larger than the run is for the moment.
    assert_eq!(begin.elapsed(), SECOND * 8);
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_named_before_the_hello_for_which_a_job_waits() {
    let pool = ScriptedPool::new(1, 0).silent();
    let executor = Executor::builder().pool_source(Arc::new(pool));
    let run = (executor.build().unwrap())
        .run_list([Job::task("a", "t", Payload::null())])
        .unwrap();
    let handle = run.handle();
    tokio::time::sleep(SECOND).await;
    assert_eq!(
        stands(&handle, "a").await,
        "waits for a worker that knows `t`"
    );
    handle.pause();
    assert_eq!(stands(&handle, "a").await, "waits: the run is paused");
    handle.kill();
    assert_eq!(told(&all(run).await), ["a cancelled"]);
}
