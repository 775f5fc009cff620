//! Validates many cases in parallel: the most urgent first, with a timeout and two retries each, and watches the machine.
//!
//! `cargo run -p ratchet-runtime --example validation_runner`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::time::Duration;

use ratchet_resilience::retry::BackoffPolicy;
use ratchet_runtime::monitor::ResourceMonitor;
use ratchet_runtime::summary::Results;
use ratchet_runtime::{Context, Executor, Failure, Job, Outcome, Priority, Terms, Timeouts};

type Done<T> = Result<T, Box<dyn std::error::Error>>;

/// A query, how urgent it is to validate it, and how many results it has to have.
type Case = (&'static str, Priority, usize);

const CASES: [Case; 3] = [
    ("nearest to x", Priority::Low, 3),
    ("to be or not", Priority::Normal, 5),
    ("[] {}", Priority::High, 2),
];

/// Asks the index, which takes a moment.
async fn search(query: &str) -> usize {
    tokio::time::sleep(Duration::from_millis(5)).await;
    query.split_whitespace().count()
}

/// Compares what the index finds with what it should find.
async fn validate((query, _, expected): Case, context: Context) -> Result<usize, Failure> {
    let found = search(query).await;
    // The index answers the first question after a pause wrongly, so it is asked again.
    if context.attempt() == 1 || found != expected {
        return Err(format!("`{query}` has {found} results").into());
    }
    Ok(found)
}

/// Runs a batch of cases, and returns an outcome for each.
async fn execute_batch(executor: &Executor, cases: &[Case]) -> Done<Vec<Arc<Outcome>>> {
    let policy = Arc::new(BackoffPolicy::builder().max_attempts(3).build()?);
    let jobs = (0..).zip(cases.to_vec()).map(|(number, case)| {
        let terms = Terms {
            priority: case.1,
            timeouts: Timeouts::after(Duration::from_secs(30)),
            retry: Some(Arc::clone(&policy)),
            ..Terms::default()
        };
        let id = format!("test_{number:06}");
        Job::closure(id, move |context| validate(case, context)).terms(terms)
    });
    Ok(executor.run_all(jobs).await?)
}

#[tokio::main]
async fn main() -> Done<()> {
    let executor = Executor::builder()
        .slots(4)
        .keep_stats()
        .resource_monitor(ResourceMonitor::new())
        .build()?;
    let outcomes = execute_batch(&executor, &CASES).await?;
    for (failed, why) in outcomes.errors() {
        println!("{} failed: {why}", failed.id);
    }
    if let Some(stats) = executor.stats() {
        println!(
            "{} of {} valid, {} retries",
            stats.completed_jobs, stats.total_jobs, stats.total_retries
        );
    }
    Ok(())
}
