//! Tests of jobs that are submitted and executed together: their numbers, and the deadline, token and progress of an
//! execution.

use std::sync::Mutex;

use ratchet_ipc::JobKey;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::Error;
use crate::outcome::Status;

#[tokio::test(start_paused = true)]
async fn progress_is_told_at_each_end_and_outcomes_come_as_submitted() {
    let pool = executor(3);
    for job in [takes("slow", 9), takes("quick", 1), takes("middle", 5)] {
        pool.submit(job).unwrap();
    }
    let begin = tokio::time::Instant::now();
    let mut steps = Vec::new();
    let outcomes = pool
        .execute_with_progress(|completed, total| {
            steps.push((completed, total, begin.elapsed().as_secs()));
        })
        .await
        .unwrap();
    assert_eq!(steps, [(1, 3, 1), (2, 3, 5), (3, 3, 9)]);
    let ids: Vec<&str> = outcomes.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids, ["slow", "quick", "middle"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_stops_one_execution_and_no_other() {
    let pool = executor(1);
    let token = CancellationToken::new();
    let stop = token.clone();
    pool.submit_closure("prod", move |context| {
        let stop = stop.clone();
        async move {
            stop.cancel();
            context.cancelled().await;
            Err::<(), _>(Failure::cancelled())
        }
    })
    .unwrap();
    pool.submit(takes("waits", 1)).unwrap();
    let outcomes = pool.execute().cancelled_by(token).await.unwrap();
    let ends: Vec<Status> = outcomes.iter().map(|one| one.status()).collect();
    assert_eq!(ends, [Status::Cancelled, Status::Cancelled]);

    pool.submit(takes("again", 1)).unwrap();
    assert!(pool.execute().await.unwrap()[0].is_success());
}

#[tokio::test(start_paused = true)]
async fn the_earlier_of_two_deadlines_counts() {
    for (of_all, of_one) in [(5, 60), (60, 5)] {
        let pool = Executor::builder().slots(1).deadline(SECOND * of_all);
        let pool = pool.build().unwrap();
        pool.submit(takes("endless", 1000)).unwrap();
        let begin = tokio::time::Instant::now();
        let outcomes = pool.execute().deadline(SECOND * of_one).await.unwrap();
        assert_eq!(outcomes[0].status(), Status::Cancelled);
        assert_eq!(begin.elapsed().as_secs(), 5);
    }
    let pool = executor(1);
    pool.submit(takes("stays", 1)).unwrap();
    let refused = pool.execute().deadline(Duration::ZERO).await.unwrap_err();
    assert!(
        refused.to_string().starts_with("deadline of 0"),
        "{refused}"
    );
    assert_eq!(pool.task_count(), 1, "what was refused is still submitted");
}

#[tokio::test(start_paused = true)]
async fn an_executor_tells_its_counts_before_its_first_run_and_during_it() {
    let pool = executor(2);
    assert_eq!((pool.task_count(), pool.worker_count()), (0, 2));
    assert!(!pool.is_running() && !pool.is_shutdown());
    for id in ["a", "b", "c"] {
        pool.submit(takes(id, 2)).unwrap();
    }
    assert_eq!(pool.task_count(), 3);
    let other = pool.clone();
    let running = tokio::spawn(async move { other.execute().await });
    tokio::time::sleep(SECOND).await;
    assert!(pool.is_running());
    assert_eq!(pool.task_count(), 3);
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(pool.task_count(), 1);
    running.await.unwrap().unwrap();
    assert!(!pool.is_running());
    assert_eq!(pool.task_count(), 0);
    pool.shutdown(SECOND).await.unwrap();
    assert!(pool.is_shutdown());
}

#[tokio::test]
async fn a_job_without_an_id_gets_the_next_free_number() {
    let pool = executor(2);
    pool.submit(instant("2")).unwrap();
    let submit = |host: &str| pool.submit_closure(host, |_| async {});
    let given = [submit("web1").unwrap(), submit("web1").unwrap()];
    assert_eq!(given.each_ref().map(JobKey::as_str), ["1", "3"]);
    assert_eq!(submit("").unwrap_err(), Error::NoName);
    assert!(
        pool.execute()
            .await
            .unwrap()
            .iter()
            .all(|one| one.is_success())
    );
    assert_eq!(
        submit("web1").unwrap().as_str(),
        "1",
        "each execution counts anew"
    );
}

#[tokio::test]
async fn a_closure_knows_its_job_and_its_attempt() {
    let pool = executor(1);
    let facts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&facts);
    let job = Job::closure("a", move |context| {
        let fact = (
            context.job_id().map(ToString::to_string),
            context.host().map(ToString::to_string),
            context.attempt(),
            context.slot().map(crate::SlotNumber::get),
        );
        seen.lock().unwrap().push(fact);
        async move {
            if context.attempt() == 1 {
                return Err("once more".into());
            }
            Ok(())
        }
    });
    let terms = Terms {
        retry: Some(retrying(2)),
        ..Terms::default()
    };
    tokio::time::pause();
    let outcomes = pool
        .run_all([job.on_host("web1").terms(terms)])
        .await
        .unwrap();
    assert!(outcomes[0].is_success());
    let fact = |attempt| (Some("a".into()), Some("web1".into()), attempt, Some(1));
    assert_eq!(*facts.lock().unwrap(), [fact(1), fact(2)]);
}

/// An error that has a cause, as the errors of most crates have.
#[derive(Debug, thiserror::Error)]
#[error("the file is lost")]
struct Lost(#[source] std::io::Error);

#[tokio::test]
async fn an_error_of_any_type_is_the_failure_of_its_job_with_its_causes() {
    let lost = || Lost(std::io::Error::other("the disk is gone"));
    let typed = Job::closure("typed", move |_| async move { Err::<u8, _>(lost().into()) });
    let boxed = Job::closure("boxed", move |_| async move {
        let boxed: Box<dyn std::error::Error + Send + Sync> = lost().into();
        Err::<(), _>(boxed)?;
        Ok(())
    });
    let float = Job::closure("map", |_| async {
        Ok(std::collections::BTreeMap::from([((1, 2), 3)]))
    });
    let outcomes = executor(1).run_all([typed, boxed, float]).await.unwrap();
    for outcome in &outcomes[..2] {
        let failure = outcome.failure().unwrap();
        assert_eq!(failure.class, Class::Task);
        assert_eq!(failure.to_string(), "the file is lost: the disk is gone");
    }
    let failure = outcomes[2].failure().unwrap();
    assert!(
        failure.message.contains("cannot be written as JSON"),
        "{failure}"
    );
    assert!(!failure.retryable, "the same value comes again");
    let unreadable = Outcome::new("a", "a", Ok(Payload::null())).read::<u8>();
    assert!(matches!(unreadable, Err(Error::UnreadableResult { .. })));
}
