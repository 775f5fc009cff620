//! Tests of the sources of jobs, of needs, and of the order of outcomes.

use super::*;
use crate::Error;
use crate::executor::Stopped;
use crate::scheduling::ParallelizationHint;

#[tokio::test(start_paused = true)]
async fn needs_may_point_forward_in_a_list() {
    let jobs = [
        takes("deploy", 1).needs(["build", "test"]),
        takes("test", 1).needs(["build"]),
        takes("build", 1),
        takes("other", 1),
    ];
    let begin = tokio::time::Instant::now();
    let mut ended = Vec::new();
    let executor = Executor::builder().slots(4).window(1).build().unwrap();
    let mut run = executor.run_list(jobs).unwrap();
    while let Some(outcome) = run.next().await {
        ended.push(format!("{} at {}", outcome.id, begin.elapsed().as_secs()));
    }
    assert_eq!(
        ended,
        ["build at 1", "test at 2", "deploy at 3", "other at 4"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_needs_a_job_that_did_not_succeed_is_skipped_and_says_why() {
    let jobs = [
        takes("c", 1).needs(["b", "d"]),
        takes("b", 1).needs(["a"]),
        fails("a"),
        takes("d", 5),
    ];
    let outcomes = executor(4).run_all(jobs).await.unwrap();
    assert_eq!(
        told(&outcomes),
        ["c skipped", "b skipped", "a failed", "d succeeded"]
    );
    assert_eq!(message(&outcomes[0]), "it needs `b`, which did not succeed");
    assert_eq!(message(&outcomes[1]), "it needs `a`, which did not succeed");
    assert_eq!(outcomes[1].failure().unwrap().class, Class::Need);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_contradicts_itself_is_refused_before_anything_runs() {
    let executor = executor(1);
    let refused = |jobs: Vec<Job>| executor.run_list(jobs).unwrap_err().to_string();
    assert_eq!(
        refused(vec![instant("a"), instant("a")]),
        "job `a` is there twice"
    );
    assert_eq!(
        refused(vec![instant("build"), instant("b").needs(["biuld"])]),
        "job `b` needs `biuld`, which does not exist, did you mean `build`?"
    );
    assert_eq!(
        refused(vec![instant("a").needs(["b"]), instant("b").needs(["a"])]),
        "these jobs wait for each other for ever: a -> b -> a"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_knows_its_unfinished_jobs_and_remembers_ended_ones_on_request() {
    let jobs = || {
        [
            takes("a", 1),
            takes("a", 1),
            takes("b", 1).needs(["a"]),
            takes("c", 1).needs(["later"]),
            takes("later", 1),
            takes("", 1),
        ]
    };
    let run = executor(8).run(jobs()).unwrap();
    let outcomes = all(run).await;
    assert_eq!(
        told(&outcomes),
        [
            "a failed",
            "b failed",
            "c failed",
            " failed",
            "a succeeded",
            "later succeeded"
        ]
    );
    assert_eq!(message(&outcomes[0]), "job `a` is there twice");
    assert!(message(&outcomes[1]).contains("let the executor remember"));
    assert_eq!(message(&outcomes[3]), "task must have a cluster name");

    let remembers = Executor::builder()
        .slots(8)
        .window(1)
        .remember(true)
        .build()
        .unwrap();
    let outcomes = all(remembers.run(jobs()).unwrap()).await;
    assert_eq!(
        told(&outcomes),
        [
            "a succeeded",
            "a failed",
            "b succeeded",
            "c failed",
            "later succeeded",
            " failed"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn jobs_are_submitted_to_an_open_run_until_nobody_can() {
    let executor = Executor::builder().slots(1).window(2).build().unwrap();
    let (submitter, run) = executor.open().unwrap();
    let refused = submitter.submit(takes("", 1)).await;
    assert_eq!(refused, Err(Error::NoName));
    let sending = tokio::spawn(async move {
        for number in 0..400 {
            submitter
                .submit(instant(&number.to_string()))
                .await
                .unwrap();
        }
        submitter
    });
    let outcomes = tokio::spawn(all(run));
    let submitter = sending.await.unwrap();
    submitter.submit(takes("last", 1)).await.unwrap();
    drop(submitter);
    let outcomes = outcomes.await.unwrap();
    assert_eq!(outcomes.len(), 401);
    assert!(outcomes.iter().all(|outcome| outcome.is_success()));
}

#[tokio::test(start_paused = true)]
async fn what_was_submitted_has_an_outcome_even_if_the_run_stops() {
    let executor = Executor::builder().slots(1).window(1).build().unwrap();
    let (submitter, run) = executor.open().unwrap();
    for id in ["a", "b", "c"] {
        submitter.submit(takes(id, 9)).await.unwrap();
    }
    tokio::time::sleep(SECOND).await;
    run.handle().drain();
    tokio::time::sleep(SECOND).await;
    assert_eq!(
        submitter.submit(takes("d", 9)).await,
        Err(Error::ShuttingDown)
    );
    let outcomes = all(run).await;
    assert_eq!(
        told(&outcomes),
        ["b cancelled", "c cancelled", "a succeeded"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_ends_the_run_in_good_order() {
    let jobs = (0..5).map(|number: u32| {
        assert!(number < 2, "the file ends in the middle of a line");
        takes(&number.to_string(), 1)
    });
    let mut run = executor(1).run(jobs).unwrap();
    let outcomes = rest(&mut run).await;
    assert_eq!(told(&outcomes), ["0 cancelled", "1 cancelled"]);
    let reason = "the file ends in the middle of a line".to_owned();
    assert_eq!(run.stopped(), Some(&Stopped::Source { reason }));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_could_never_run_fails_with_the_reason() {
    let with = |id, terms| takes(id, 1).terms(terms);
    let jobs = [
        with(
            "a",
            Terms {
                limits: vec!["dv".to_owned()],
                ..Terms::default()
            },
        ),
        with(
            "b",
            Terms {
                slots: 9,
                ..Terms::default()
            },
        ),
        with(
            "c",
            Terms {
                hint: Some(ParallelizationHint::rate_limited(0.0)),
                ..Terms::default()
            },
        ),
        Job::task("d", "t", Payload::null()),
        takes("e", 1),
    ];
    let executor = Executor::builder()
        .slots(2)
        .limit("db", crate::Limit::max(1).unwrap())
        .build()
        .unwrap();
    let outcomes = executor.run_all(jobs).await.unwrap();
    assert_eq!(
        message(&outcomes[0]),
        "unknown limit `dv`, did you mean `db`?"
    );
    assert_eq!(
        message(&outcomes[1]),
        "a job of 9 slots can never run with 2 in total"
    );
    assert!(
        message(&outcomes[2]).starts_with("rate 0/s"),
        "{}",
        message(&outcomes[2])
    );
    assert_eq!(message(&outcomes[3]), "task must have an execute function");
    assert!(
        outcomes[..4]
            .iter()
            .all(|one| one.failure().unwrap().class == Class::Input)
    );
    assert!(outcomes[4].is_success());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_task_is_refused_by_name_and_hints_are_those_declared() {
    let mut runner = crate::executor::MockRunner::new();
    runner
        .expect_run()
        .times(2)
        .returning(|_, _| Ok(Payload::null()));
    let executor = Executor::builder()
        .slots(2)
        .runner(runner)
        .task("resize", ParallelizationHint::Alone)
        .build()
        .unwrap();
    let jobs = ["resize", "resise", "resize", "print"].iter().enumerate();
    let jobs = jobs.map(|(at, task)| Job::task(at.to_string(), *task, Payload::null()));
    let outcomes = executor.run_all(jobs).await.unwrap();
    assert_eq!(
        told(&outcomes),
        ["0 succeeded", "1 failed", "2 succeeded", "3 failed"]
    );
    assert_eq!(
        message(&outcomes[1]),
        "unknown task `resise`, did you mean `resize`?"
    );
    assert_eq!(message(&outcomes[3]), "unknown task `print`; known: resize");
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_needs_are_checked_remembers_only_what_was_lost() {
    let executor = Executor::builder().slots(2).needs_are_checked();
    let executor = executor.build().unwrap();
    let jobs = [
        takes("well", 1),
        fails("lost"),
        takes("long", 9),
        takes("a", 1).needs(["well", "long"]),
        takes("b", 1).needs(["lost"]),
        takes("c", 1).needs(["well"]),
        // Jobs come when all that they need has ended.
        takes("d", 1).needs(["c", "a"]),
        takes("e", 1).needs(["b"]),
    ];
    let outcomes = all(executor.run(jobs).unwrap()).await;
    let mut told = told(&outcomes);
    told.sort_unstable();
    let expected = [
        "a succeeded",
        "b skipped",
        "c succeeded",
        "d succeeded",
        "e skipped",
        "long succeeded",
        "lost failed",
        "well succeeded",
    ];
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_before_counts_and_is_needed_and_is_not_run() {
    let earlier = executor(1).run_all([takes("a", 1), fails("b")]).await;
    let [a, b] = <[Arc<Outcome>; 2]>::try_from(earlier.unwrap()).unwrap();
    let begin = tokio::time::Instant::now();
    let jobs = [
        Job::ended(Arc::clone(&a)),
        takes("c", 1).needs(["a"]),
        Job::ended(Arc::clone(&b)),
        takes("d", 1).needs(["b"]),
    ];
    let outcomes = executor(1).run_all(jobs).await.unwrap();
    assert_eq!(
        told(&outcomes),
        ["a succeeded", "c succeeded", "b failed", "d skipped"]
    );
    assert_eq!((&outcomes[0], &outcomes[2]), (&a, &b));
    assert_eq!(begin.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_refused_under_a_name_that_lives_says_what_is_wrong_with_it() {
    let wrong = Failure::new(Class::Input, "line 2: unknown key");
    let jobs = [takes("a", 1), Job::refused("a", "t", wrong)];
    let outcomes = all(executor(2).run(jobs).unwrap()).await;
    assert_eq!(told(&outcomes), ["a failed", "a succeeded"]);
    assert_eq!(message(&outcomes[0]), "line 2: unknown key");
}
