//! Runs an operation on many clusters at once: a bounded number of workers, a deadline, progress, results and a shutdown.
//!
//! `cargo run -p ratchet-runtime --example clusters`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use ratchet_runtime::summary::Results;
use ratchet_runtime::{Executor, Failure, Outcome};
use tokio::time::sleep;

const CLUSTERS: [&str; 4] = ["prod-us-east", "prod-eu-west", "staging", "prod-us-east"];

/// The operation. A real one would ask the cluster.
async fn count_pods(cluster: &str) -> std::io::Result<usize> {
    sleep(Duration::from_millis(20)).await;
    match cluster {
        "staging" => Err(std::io::Error::other("no route to the cluster")),
        _ => Ok(cluster.len()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Five workers. An operation that waits for the network can have more than there are processors.
    let pool = Executor::builder().slots(5).build()?;
    for cluster in CLUSTERS {
        pool.submit_closure(cluster, move |_context| async move {
            Ok(count_pods(cluster).await?)
        })?;
    }
    println!(
        "{} tasks, {} workers",
        pool.task_count(),
        pool.worker_count()
    );

    let begin = tokio::time::Instant::now();
    let outcomes = pool
        .execute_with_progress(|completed, total| println!("Progress: {completed}/{total}"))
        .deadline(Duration::from_secs(30))
        .await?;

    // Failures are printed, and the other results are used.
    for (failed, why) in outcomes.errors() {
        println!("{} failed: {why}", failed.id);
    }
    let pods = outcomes.filter_successful().map(Outcome::read::<usize>);
    println!("{} pods", pods.sum::<Result<usize, _>>()?);
    for (cluster, outcomes) in outcomes.by_host() {
        println!("{cluster} was asked {} times", outcomes.len());
    }
    let summary = outcomes.summarize(begin.elapsed());
    println!(
        "{} of {} succeeded",
        summary.counts.succeeded, summary.total
    );
    println!("{:?} on average", outcomes.average_duration());

    // A shutdown lets running tasks finish. This one also notices when it is cancelled.
    pool.submit_closure("prod-us-east", |context| async move {
        tokio::select! {
            () = sleep(Duration::from_millis(50)) => Ok("drained"),
            () = context.cancelled() => Err(Failure::cancelled()),
        }
    })?;
    let background = tokio::spawn({
        let pool = pool.clone();
        async move { pool.execute().await }
    });
    while !pool.is_running() {
        tokio::task::yield_now().await;
    }
    pool.shutdown(Duration::from_secs(5)).await?;
    println!("{}", background.await??[0].read::<String>()?);
    Ok(())
}
