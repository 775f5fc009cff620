//! Tests of retries, of poison, and of failures that are not tried again.

use super::scripted::{Act, How, ScriptedPool};
use super::*;
use crate::context::Context;

fn with_retry(policy: &Arc<BackoffPolicy>) -> Terms {
    Terms {
        retry: Some(Arc::clone(policy)),
        ..Terms::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_and_holds_nothing_while_it_does() {
    let flaky = Job::closure("flaky", |context: Context| async move {
        match context.attempt() {
            3 => Ok(Payload::null()),
            _ => Err(Failure::new(Class::Task, "not yet")),
        }
    });
    let jobs = [flaky.terms(with_retry(&retrying(3))), takes("other", 1)];
    let begin = tokio::time::Instant::now();
    let outcomes = all(executor(1).run_list(jobs).unwrap()).await;
    assert_eq!(told(&outcomes), ["other succeeded", "flaky succeeded"]);
    assert_eq!(outcomes[1].attempts, 3);
    assert_eq!(outcomes[1].queued, SECOND * 2);
    assert_eq!(begin.elapsed(), SECOND * 2);
}

#[tokio::test(start_paused = true)]
async fn the_policy_says_how_often_and_what_for() {
    let failing = |id: &str, failure: Failure| {
        Job::closure(id, move |_| {
            std::future::ready(Err::<(), _>(failure.clone()))
        })
    };
    let only_timeouts = BackoffPolicy::builder()
        .classes(["timeout"])
        .build()
        .unwrap();
    let slow = Failure {
        retry_after: Some(SECOND * 500),
        ..Failure::new(Class::Task, "busy")
    };
    let jobs = [
        failing("no policy", Failure::new(Class::Task, "no")),
        failing("all used up", Failure::new(Class::Task, "no")).terms(with_retry(&retrying(4))),
        failing(
            "permanent",
            Failure::new(Class::Task, "no").retryable(false),
        )
        .terms(with_retry(&retrying(4))),
        failing("other class", Failure::new(Class::Task, "no"))
            .terms(with_retry(&Arc::new(only_timeouts))),
        failing(
            "cancelled",
            Failure::new(Class::Cancelled, "no").retryable(true),
        )
        .terms(with_retry(&retrying(4))),
        failing("asks for too much", slow).terms(with_retry(&retrying(2))),
    ];
    let begin = tokio::time::Instant::now();
    let outcomes = executor(8).run_all(jobs).await.unwrap();
    let attempts: Vec<u32> = outcomes.iter().map(|outcome| outcome.attempts).collect();
    assert_eq!(attempts, [1, 4, 1, 1, 1, 2]);
    assert_eq!(begin.elapsed(), SECOND * 30, "the policy's cap holds");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_takes_too_many_workers_with_it_is_poison() {
    let pool = ScriptedPool::new(2, 0);
    let crashes = Act {
        end: How::Crashes,
        ..Act::well(1)
    };
    (1..10).for_each(|attempt| pool.script("bad", attempt, crashes));
    pool.script("unlucky", 1, crashes);
    pool.script("no retry", 1, crashes);
    let executor = Executor::builder()
        .pool_source(Arc::new(pool))
        .build()
        .unwrap();
    let job = |id: &str| Job::task(id, "t", Payload::null());
    let jobs = [
        job("bad").terms(with_retry(&retrying(9))),
        job("unlucky").terms(with_retry(&retrying(9))),
        job("no retry"),
    ];
    let outcomes = executor.run_all(jobs).await.unwrap();
    assert_eq!(
        told(&outcomes),
        ["bad failed", "unlucky succeeded", "no retry crashed"]
    );
    assert_eq!(outcomes[0].attempts, 3);
    assert_eq!(outcomes[0].failure().unwrap().class, Class::Poison);
    assert_eq!(
        message(&outcomes[0]),
        "it crashed 3 workers: its worker died"
    );
    assert!(outcomes[0].worker.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_is_not_charged() {
    let pool = ScriptedPool::new(1, 0);
    let back = Act {
        end: How::Returned,
        ..Act::well(1)
    };
    pool.script("a", 1, back);
    let executor = Executor::builder()
        .pool_source(Arc::new(pool.clone()))
        .build()
        .unwrap();
    let outcomes = executor
        .run_all([Job::task("a", "t", Payload::null())])
        .await
        .unwrap();
    assert_eq!(told(&outcomes), ["a succeeded"]);
    assert_eq!(outcomes[0].attempts, 1);
    assert_eq!(pool.begun().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_broke_fails_what_waits_for_it_and_what_comes() {
    let pool = ScriptedPool::new(1, 0);
    pool.script("0", 1, Act::well(5));
    let executor = Executor::builder()
        .window(2)
        .pool_source(Arc::new(pool.clone()))
        .build()
        .unwrap();
    let jobs = (0..4).map(|number| Job::task(number.to_string(), "t", Payload::null()));
    let run = executor.run(jobs).unwrap();
    tokio::time::sleep(SECOND).await;
    pool.report(|pool| crate::dispatch::Report::Broken {
        pool,
        failure: Box::new(Failure::new(Class::Spawn, "there is no such program")),
    });
    let outcomes = all(run).await;
    assert_eq!(
        told(&outcomes),
        ["1 failed", "2 failed", "3 failed", "0 succeeded"]
    );
    assert_eq!(message(&outcomes[1]), "there is no such program");
}

/// Makes a job of a group that is given up at its first failure.
fn of_group(job: Job, group: &str) -> Job {
    job.terms(Terms {
        fail_fast: Some(group.into()),
        ..Terms::default()
    })
}

fn fails_after(id: &str, seconds: u32) -> Job {
    Job::closure(id, move |_| async move {
        tokio::time::sleep(SECOND * seconds).await;
        Err::<(), _>(Failure::new(Class::Task, "no"))
    })
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_of_a_group_skips_what_has_not_started_and_cancels_what_runs() {
    let hears = Job::closure("hears", |context: Context| async move {
        context.cancelled().await;
        Err::<(), _>(Failure::new(Class::Cancelled, "asked to stop"))
    });
    let jobs = [
        of_group(hears, "db"),
        of_group(fails_after("bad", 1), "db"),
        takes("other", 5),
        of_group(takes("waits", 1), "db"),
        of_group(takes("needs other", 1), "db").needs(["other"]),
        of_group(takes("of another", 1), "web"),
        takes("dependent", 1).needs(["waits"]),
    ];
    let outcomes = all(executor(3).run_list(jobs).unwrap()).await;
    let mut seen = told(&outcomes);
    seen.sort();
    assert_eq!(
        seen,
        [
            "bad failed",
            "dependent skipped",
            "hears cancelled",
            "needs other skipped",
            "of another succeeded",
            "other succeeded",
            "waits skipped",
        ]
    );
    let why = |id: &str| {
        let outcome = outcomes.iter().find(|outcome| outcome.id.as_str() == id);
        message(outcome.unwrap()).to_owned()
    };
    assert_eq!(why("waits"), "job `bad` of its group `db` did not succeed");
    assert!(why("hears").starts_with("job `bad` of its group `db` did not succeed: "));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_comes_after_its_group_has_failed_is_skipped() {
    let (submitter, mut run) = executor(2).open().unwrap();
    let submit = async |job| submitter.submit(of_group(job, "db")).await.unwrap();
    submit(fails_after("bad", 1)).await;
    assert_eq!(run.next().await.unwrap().status().as_str(), "failed");
    submit(takes("late", 1)).await;
    let late = run.next().await.unwrap();
    assert_eq!((late.status().as_str(), late.attempts), ("skipped", 0));
    assert_eq!(late.failure().unwrap().code.as_deref(), Some("group"));
}

#[tokio::test(start_paused = true)]
async fn a_job_of_a_group_that_is_tried_again_has_not_failed_yet() {
    let flaky = Job::closure("flaky", |context: Context| async move {
        match context.attempt() {
            2 => Ok(Payload::null()),
            _ => Err(Failure::new(Class::Task, "not yet")),
        }
    });
    let retried = Terms {
        fail_fast: Some("db".into()),
        ..with_retry(&retrying(2))
    };
    let jobs = [flaky.terms(retried), of_group(takes("other", 1), "db")];
    let outcomes = all(executor(1).run_list(jobs).unwrap()).await;
    assert_eq!(told(&outcomes), ["other succeeded", "flaky succeeded"]);
    assert!(outcomes[1].is_flaky() && !outcomes[0].is_flaky());
}
