//! The document of an engine that validates test cases in parallel, item by item.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ratchet_resilience::retry::{BackoffPolicy, Delay};
use ratchet_runtime::monitor::ResourceMonitor;
use ratchet_runtime::summary::Results;
use ratchet_runtime::{Class, Executor, Job, Outcome, Priority, Status, Terms, Timeouts};

/// The order in which cases began: the number of each, and of its attempt.
type Begun = Arc<Mutex<Vec<(u32, u32)>>>;

/// Returns the settings of the document: a timeout, and two retries.
fn terms(priority: Priority) -> Terms {
    let policy = BackoffPolicy::builder()
        .max_attempts(3)
        .delay(Delay::Fixed(Duration::from_millis(1)));
    Terms {
        priority,
        timeouts: Timeouts::after(Duration::from_secs(30)),
        retry: Some(Arc::new(policy.build().expect("the policy is valid"))),
        ..Terms::default()
    }
}

/// Returns a test case that fails in its first attempts.
fn test_case(number: u32, priority: Priority, failures: u32, begun: &Begun) -> Job {
    let begun = Arc::clone(begun);
    let job = Job::closure(format!("test_{number:06}"), move |context| {
        let attempt = context.attempt();
        begun.lock().expect("nobody panics").push((number, attempt));
        async move {
            if attempt <= failures {
                return Err(format!("not found in attempt {attempt}").into());
            }
            Ok(number)
        }
    });
    job.terms(terms(priority))
}

fn executor(max_concurrent_tests: u32) -> Executor {
    let executor = Executor::builder()
        .slots(max_concurrent_tests)
        .keep_stats()
        .build();
    executor.expect("the settings are valid")
}

/// Returns one case that succeeds, one that needs a retry, and one that always fails.
async fn execute_batch(executor: &Executor) -> Vec<Arc<Outcome>> {
    let begun = Begun::default();
    let cases = [0, 1, 9].into_iter().zip(0..);
    let cases =
        cases.map(|(failures, number)| test_case(number, Priority::Normal, failures, &begun));
    executor.run_all(cases).await.expect("it runs")
}

#[test]
fn config_takes_every_setting() {
    let executor = Executor::builder()
        .slots(8) // max_concurrent_tests
        .window(10) // batch_size
        .resource_monitor(ResourceMonitor::new().interval(Duration::from_secs(10)))
        .build();
    assert_eq!(executor.expect("the settings are valid").worker_count(), 8);
    let terms = terms(Priority::Normal);
    assert_eq!(terms.timeouts.soft, Some(Duration::from_secs(30))); // test_timeout_seconds
    assert!(terms.retry.is_some()); // retry_attempts, which `stats_tell_everything` counts
}

#[test]
fn priorities_are_ordered() {
    assert!(Priority::High > Priority::Normal && Priority::Normal > Priority::Low);
}

#[tokio::test]
async fn jobs_run_in_the_order_of_their_priority() {
    let begun = Begun::default();
    let priorities = [Priority::Low, Priority::High, Priority::Normal]
        .into_iter()
        .zip(0..);
    let jobs = priorities.map(|(priority, number)| test_case(number, priority, 0, &begun));
    executor(1).run_all(jobs).await.expect("it runs");
    assert_eq!(
        *begun.lock().expect("nobody panics"),
        [(1, 1), (2, 1), (0, 1)]
    );
}

#[tokio::test]
async fn an_execution_result_tells_everything() {
    let results = execute_batch(&executor(4)).await;
    let [first, second, third] = &results[..] else {
        panic!("three results");
    };
    assert_eq!(first.id.as_str(), "test_000000"); // job_id
    assert_eq!(first.read::<u32>(), Ok(0)); // validation_result
    assert!(first.duration > Duration::ZERO); // execution_time
    assert_eq!((first.attempts, second.attempts, third.attempts), (1, 2, 3)); // retry_count
    let error = third.failure().map(ToString::to_string);
    assert_eq!(error.as_deref(), Some("not found in attempt 3")); // error
    assert!(first.slot.is_some()); // worker_id
}

#[tokio::test]
async fn stats_tell_everything() {
    let executor = executor(4);
    let empty = executor.stats().expect("it keeps them");
    assert_eq!((empty.total_jobs, empty.completed_jobs), (0, 0));
    execute_batch(&executor).await;
    let stats = executor.stats().expect("it keeps them"); // get_stats
    assert_eq!(
        (stats.total_jobs, stats.completed_jobs, stats.failed_jobs),
        (3, 2, 1)
    );
    assert_eq!(stats.total_retries, 3);
    assert!(stats.average_execution_time > Duration::ZERO);
    assert!((1..=3).contains(&stats.peak_concurrent_jobs));
    assert!(stats.throughput_per_second > 0.0);
}

#[tokio::test]
async fn failed_and_successful_jobs_are_told_apart() {
    let results = execute_batch(&executor(2)).await;
    let failed: Vec<&str> = results.filter_failed().map(|one| one.id.as_str()).collect();
    assert_eq!(failed, ["test_000002"]); // get_failed_jobs
    let successful: Vec<&str> = results
        .filter_successful()
        .map(|one| one.id.as_str())
        .collect();
    assert_eq!(successful, ["test_000000", "test_000001"]); // get_successful_jobs
}

#[tokio::test]
async fn a_second_batch_begins_with_new_figures() {
    let executor = executor(2);
    execute_batch(&executor).await;
    execute_batch(&executor).await;
    assert_eq!(executor.stats().map(|stats| stats.total_jobs), Some(3));
}

#[tokio::test]
async fn the_queue_status_is_told_before_and_after() {
    let executor = executor(2);
    let begun = Begun::default();
    executor
        .submit(test_case(0, Priority::Normal, 0, &begun))
        .expect("it is submitted");
    let status = executor.queue_status();
    assert_eq!((status.queued, status.ended, status.total), (1, 0, 1));
    executor.execute().await.expect("it runs");
    let status = executor.queue_status();
    assert_eq!((status.queued, status.ended, status.total), (0, 1, 1));
}

#[tokio::test]
async fn a_case_that_takes_too_long_times_out() {
    let case = Job::closure("endless", |_| std::future::pending::<()>());
    let case = case.terms(Terms {
        timeouts: Timeouts::after(Duration::from_millis(5)),
        ..Terms::default()
    });
    let results = executor(1).run_all([case]).await.expect("it runs");
    assert_eq!(results[0].status(), Status::TimedOut);
    assert_eq!(
        results[0].failure().map(|failure| failure.class),
        Some(Class::Timeout)
    );
}

#[tokio::test]
async fn progress_is_told_while_cases_run() {
    let executor = executor(2);
    let begun = Begun::default();
    for number in 0..4 {
        executor
            .submit(test_case(number, Priority::Normal, 0, &begun))
            .expect("it is submitted");
    }
    let mut last = (0, 0);
    executor
        .execute_with_progress(|completed, total| last = (completed, total))
        .await
        .expect("it runs");
    assert_eq!(last, (4, 4));
}
