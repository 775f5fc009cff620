//! Tests of submitting, executing and shutting down.

use super::*;
use crate::Error;
use crate::os::ProcessConfig;

#[tokio::test(start_paused = true)]
async fn the_conditions_of_the_pool_have_their_words() {
    let pool = executor(2);
    let words = |refused: Result<(), Error>| refused.unwrap_err().to_string();
    assert_eq!(
        words(pool.submit(takes("", 1))),
        "task must have a cluster name"
    );
    let nothing = Job::task("a", "t", Payload::null());
    assert_eq!(
        words(pool.submit(nothing)),
        "task must have an execute function"
    );
    let nothing = Job::command("a", ProcessConfig::new(""));
    assert_eq!(
        words(pool.submit(nothing)),
        "task must have an execute function"
    );

    pool.submit(takes("a", 5)).unwrap();
    assert_eq!(pool.status().submitted, 1);
    let running = tokio::spawn({
        let pool = pool.clone();
        async move { pool.execute().await }
    });
    tokio::time::sleep(SECOND).await;
    let status = pool.status();
    assert_eq!((status.submitted, status.is_running), (0, true));
    assert_eq!(words(pool.submit(takes("b", 1))), "pool is running");
    assert_eq!(words(pool.execute().await.map(drop)), "pool is running");

    let begin = tokio::time::Instant::now();
    pool.shutdown(SECOND * 30).await.unwrap();
    assert_eq!(begin.elapsed(), SECOND * 4, "what runs may finish");
    assert_eq!(told(&running.await.unwrap().unwrap()), ["a succeeded"]);
    assert_eq!(words(pool.submit(takes("c", 1))), "pool is shutting down");
    assert_eq!(
        words(pool.execute().await.map(drop)),
        "pool is shutting down"
    );
    assert_eq!(words(pool.shutdown(SECOND).await), "pool already shut down");
    assert!(pool.status().is_shut_down && !pool.status().is_running);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_takes_too_long_kills_and_says_so() {
    let pool = executor(2);
    let run = pool.run_list([stubborn("a"), takes("b", 1)]).unwrap();
    let outcomes = tokio::spawn(all(run));
    tokio::time::sleep(SECOND / 2).await;
    let late = pool.shutdown(SECOND * 2).await.unwrap_err();
    assert_eq!(late.to_string(), "shutdown timeout");
    assert_eq!(
        told(&outcomes.await.unwrap()),
        ["b succeeded", "a cancelled"]
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_twice() {
    let pool = executor(2);
    pool.submit(takes("a", 1)).unwrap();
    assert_eq!(pool.execute().await.unwrap().len(), 1);
    assert_eq!(pool.execute().await.unwrap().len(), 0);
    let run = pool.run([takes("b", 1)]).unwrap();
    drop(run);
    tokio::task::yield_now().await;
    assert!(!pool.status().is_running, "a run that was dropped is over");
    pool.submit(takes("c", 1)).unwrap();
    assert_eq!(told(&pool.execute().await.unwrap()), ["c succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_submitted_is_not_lost_when_a_job_or_an_execution_is_refused() {
    let pool = executor(2);
    pool.submit(takes("a", 1)).unwrap();
    pool.submit(takes("b", 1).needs(["c"])).unwrap();
    let twice = pool.submit(takes("a", 2)).unwrap_err();
    assert!(
        matches!(&twice, Error::DuplicateJob { id } if id == "a"),
        "{twice}"
    );
    let refused = pool.execute().await.unwrap_err();
    assert!(matches!(refused, Error::UnknownNeed { .. }), "{refused}");
    assert_eq!(pool.status().submitted, 2);
    pool.submit(takes("c", 1)).unwrap();
    let outcomes = pool.execute().await.unwrap();
    assert_eq!(
        told(&outcomes),
        ["a succeeded", "b succeeded", "c succeeded"]
    );

    // An id is free again when its job was executed or withdrawn.
    pool.submit(takes("a", 1).needs(["a"])).unwrap();
    pool.execute().await.unwrap_err();
    assert_eq!(pool.withdraw().len(), 1);
    pool.submit(takes("a", 1)).unwrap();
    assert_eq!(told(&pool.execute().await.unwrap()), ["a succeeded"]);
}

#[test]
fn impossible_settings_are_refused_with_the_reason() {
    let refused =
        |builder: crate::executor::ExecutorBuilder| builder.build().unwrap_err().to_string();
    for (builder, reason) in [
        (Executor::builder().slots(0), "slots of 0 would run nothing"),
        (
            Executor::builder().window(0),
            "window of 0 would take no job",
        ),
        (
            Executor::builder().crash_limit(0),
            "crash_limit of 0 would fail every job",
        ),
        (
            Executor::builder().deadline(Duration::ZERO),
            "deadline of 0 leaves no time",
        ),
        (Executor::builder().capture_bytes(0), "capture_bytes of 0"),
        (
            Executor::builder().task("t", crate::ParallelizationHint::Alone),
            "task is declared, and there is no runner",
        ),
        (
            Executor::builder().cache_salt("1"),
            "cache_salt is given, and there is no cache",
        ),
        (
            Executor::builder().breaker(crate::BreakerConfig {
                probes: 0,
                ..crate::BreakerConfig::default()
            }),
            "breaker is refused: probes is 0",
        ),
        (
            Executor::builder().breaker_of("api", crate::BreakerConfig::default()),
            "breaker_of is given for `api`, and there is no pool of that name",
        ),
        (
            Executor::builder().retry_budget(1.5),
            "retry_budget is refused: share is 1.5",
        ),
    ] {
        let error = refused(builder);
        assert!(error.contains(reason), "{error}");
    }
    let run = executor(1).run_list([takes("a", 1)]);
    assert_eq!(run.unwrap_err(), Error::NoRuntime);
}
