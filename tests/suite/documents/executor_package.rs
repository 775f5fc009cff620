//! The document of an executor for operations on clusters, item by item: its methods, its utilities, its errors.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ratchet_runtime::process::ProcessConfig;
use ratchet_runtime::summary::Results;
use ratchet_runtime::{Error, Executor, Failure, Job, Outcome, Status};
use tokio_util::sync::CancellationToken;

const MINUTE: Duration = Duration::from_mins(1);

fn new_pool(workers: u32) -> Executor {
    let pool = Executor::builder().slots(workers).build();
    pool.expect("the number of workers is valid")
}

/// Submits a task that takes until it is cancelled, and tells when it has begun.
fn submit_endless(pool: &Executor, cluster: &str) -> tokio::sync::oneshot::Receiver<()> {
    let (tell, begun) = tokio::sync::oneshot::channel();
    let tell = Arc::new(Mutex::new(Some(tell)));
    let submitted = pool.submit_closure(cluster, move |context| {
        if let Some(tell) = tell.lock().expect("nobody panics").take() {
            let _ = tell.send(());
        }
        async move {
            context.cancelled().await;
            Err::<(), _>(Failure::cancelled())
        }
    });
    submitted.expect("it can be submitted");
    begun
}

/// Returns one success and one failure of `prod`, and one success of `staging`.
async fn outcomes() -> Vec<Arc<Outcome>> {
    let pool = new_pool(3);
    for (cluster, is_well) in [("prod", true), ("prod", false), ("staging", true)] {
        let submitted = pool.submit_closure(cluster, move |_| async move {
            if is_well {
                Ok(cluster.len())
            } else {
                Err("refused".into())
            }
        });
        submitted.expect("it can be submitted");
    }
    pool.execute().await.expect("it runs")
}

mod pool_methods {
    use super::*;

    #[tokio::test]
    async fn submit_and_execute() {
        let pool = new_pool(5);
        for cluster in ["prod-us-east", "prod-eu-west"] {
            pool.submit_closure(cluster, move |_| async move { Ok(cluster) })
                .unwrap();
        }
        let results = pool.execute().await.unwrap();
        let data: Vec<String> = results
            .iter()
            .map(|result| result.read().unwrap())
            .collect();
        assert_eq!(data, ["prod-us-east", "prod-eu-west"]);
    }

    #[tokio::test]
    async fn execute_with_a_context_that_times_out() {
        let pool = new_pool(1);
        let _begun = submit_endless(&pool, "prod");
        let results = pool
            .execute()
            .deadline(Duration::from_millis(5))
            .await
            .unwrap();
        assert_eq!(results[0].status(), Status::Cancelled);
    }

    #[tokio::test]
    async fn execute_with_a_context_that_is_cancelled() {
        let pool = new_pool(1);
        let begun = submit_endless(&pool, "prod");
        let token = CancellationToken::new();
        let cancel = token.clone();
        tokio::spawn(async move {
            let _ = begun.await;
            cancel.cancel();
        });
        let results = pool.execute().cancelled_by(token).await.unwrap();
        assert_eq!(results[0].status(), Status::Cancelled);
    }

    #[tokio::test]
    async fn execute_with_progress() {
        let pool = new_pool(2);
        for _ in 0..3 {
            pool.submit_closure("prod", |_| async { Ok(()) }).unwrap();
        }
        let mut told = Vec::new();
        pool.execute_with_progress(|completed, total| told.push((completed, total)))
            .await
            .unwrap();
        assert_eq!(told, [(1, 3), (2, 3), (3, 3)]);
    }

    #[tokio::test]
    async fn shutdown() {
        let pool = new_pool(1);
        let begun = submit_endless(&pool, "prod");
        let running = tokio::spawn({
            let pool = pool.clone();
            async move { pool.execute().await }
        });
        begun.await.unwrap();
        assert_eq!(
            pool.shutdown(Duration::from_millis(5)).await,
            Err(Error::ShutdownTimeout)
        );
        assert!(!running.await.unwrap().unwrap()[0].is_success());
        assert!(pool.is_shutdown());
    }

    #[tokio::test]
    async fn accessors() {
        let pool = new_pool(4);
        assert_eq!((pool.task_count(), pool.worker_count()), (0, 4));
        assert!(!pool.is_running() && !pool.is_shutdown());
        let begun = submit_endless(&pool, "prod");
        assert_eq!(pool.task_count(), 1);
        let token = CancellationToken::new();
        let stop = token.clone();
        let running = tokio::spawn({
            let pool = pool.clone();
            async move { pool.execute().cancelled_by(stop).await }
        });
        begun.await.unwrap();
        assert!(pool.is_running());
        token.cancel();
        running.await.unwrap().unwrap();
        assert!(!pool.is_running());
        pool.shutdown(MINUTE).await.unwrap();
        assert!(pool.is_shutdown());
    }
}

mod result_utilities {
    use super::*;

    #[tokio::test]
    async fn counting() {
        let results = outcomes().await;
        assert_eq!((results.count_successful(), results.count_failed()), (2, 1));
    }

    #[tokio::test]
    async fn filtering() {
        let results = outcomes().await;
        assert!(results.filter_successful().all(Outcome::is_success));
        assert_eq!(results.filter_failed().count(), 1);
        assert_eq!(results.filter_by_host("prod").count(), 2);
    }

    #[tokio::test]
    async fn grouping() {
        let results = outcomes().await;
        let sizes: Vec<_> = results
            .by_host()
            .into_iter()
            .map(|(name, of)| (name, of.len()))
            .collect();
        assert_eq!(sizes, [("prod", 2), ("staging", 1)]);
    }

    #[tokio::test]
    async fn statistics() {
        let results = outcomes().await;
        let (least, most) = (
            results.min_duration().unwrap(),
            results.max_duration().unwrap(),
        );
        let average = results.average_duration().unwrap();
        assert!(least <= average && average <= most);
    }

    #[tokio::test]
    async fn analysis() {
        let results = outcomes().await;
        assert!((results.success_rate() - 200.0 / 3.0).abs() < 1e-9);
        assert!((results.failure_rate() - 100.0 / 3.0).abs() < 1e-9);
        assert!(results.has_errors() && !results.all_successful());
    }

    #[tokio::test]
    async fn summary() {
        let results = outcomes().await;
        let summary = results.summarize(MINUTE);
        assert_eq!(
            (
                summary.total,
                summary.counts.succeeded,
                summary.counts.failed
            ),
            (3, 2, 1)
        );
        assert_eq!(format!("{:.1}%", summary.success_rate), "66.7%");
    }
}

mod error_conditions {
    use super::*;

    fn submit(pool: &Executor) -> Error {
        let submitted = pool.submit_closure("prod", |_| async { Ok(()) });
        submitted.expect_err("the pool takes no jobs now")
    }

    #[tokio::test]
    async fn pool_is_shutting_down() {
        let pool = new_pool(1);
        pool.shutdown(MINUTE).await.unwrap();
        assert_eq!(submit(&pool).to_string(), "pool is shutting down");
    }

    #[tokio::test]
    async fn pool_is_running() {
        let pool = new_pool(1);
        let begun = submit_endless(&pool, "prod");
        let other = pool.clone();
        let running = tokio::spawn(async move { other.execute().await });
        begun.await.unwrap();
        assert_eq!(submit(&pool).to_string(), "pool is running");
        assert_eq!(
            pool.execute().await.unwrap_err().to_string(),
            "pool is running"
        );
        running.abort();
    }

    #[tokio::test]
    async fn pool_already_shut_down() {
        let pool = new_pool(1);
        pool.shutdown(MINUTE).await.unwrap();
        let again = pool.shutdown(MINUTE).await.unwrap_err();
        assert_eq!(again.to_string(), "pool already shut down");
    }

    #[tokio::test]
    async fn shutdown_timeout() {
        let pool = new_pool(1);
        let begun = submit_endless(&pool, "prod");
        let other = pool.clone();
        let running = tokio::spawn(async move { other.execute().await });
        begun.await.unwrap();
        let late = pool.shutdown(Duration::ZERO).await.unwrap_err();
        assert_eq!(late.to_string(), "shutdown timeout");
        running.await.unwrap().unwrap();
    }

    #[test]
    fn task_must_have_a_cluster_name() {
        let nameless = new_pool(1)
            .submit_closure("", |_| async { Ok(()) })
            .unwrap_err();
        assert_eq!(nameless.to_string(), "task must have a cluster name");
    }

    #[test]
    fn task_must_have_an_execute_function() {
        let nothing = Job::command("prod", ProcessConfig::new(""));
        let idle = new_pool(1).submit(nothing).unwrap_err();
        assert_eq!(idle.to_string(), "task must have an execute function");
    }
}

#[tokio::test]
async fn tasks_run_at_once_up_to_the_number_of_workers() {
    // Each task waits for four others, so all five have to run at once. No clock is looked at.
    let barrier = Arc::new(tokio::sync::Barrier::new(5));
    let pool = new_pool(5);
    for _ in 0..10 {
        let barrier = Arc::clone(&barrier);
        let submitted = pool.submit_closure("prod", move |_| {
            let barrier = Arc::clone(&barrier);
            async move {
                barrier.wait().await;
                Ok(())
            }
        });
        submitted.expect("it can be submitted");
    }
    let results = pool.execute().deadline(MINUTE).await.expect("it runs");
    assert!(results.all_successful());
    let peak = pool.status().run.map(|run| run.peak);
    assert_eq!(peak, Some(5));
}
