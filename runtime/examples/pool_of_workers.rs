//! A pool of worker processes in Rust, and a unit test of the same code without processes.
//!
//! `cargo run -p ratchet-runtime --features mock --example pool_of_workers`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use ratchet_ipc::TaskError;
use ratchet_ipc::serve::{Call, Json, Task, Worker};
use ratchet_runtime::process::{
    LocalProcesses, PoolConfig, ProcessConfig, ProcessManager, ProcessPool, Size,
};
use ratchet_runtime::{Error, Executor, Job, Payload};

/// The task of the workers. Each runs in a process of its own, so that a crash takes nothing else with it.
fn count_words(call: &Call) -> Result<Json<usize>, TaskError> {
    Ok(Json(call.read::<String>()?.split_whitespace().count()))
}

/// Counts the words of texts on two workers.
async fn count_all(
    processes: Arc<dyn ProcessManager>,
    texts: &[&str],
) -> Result<Vec<usize>, Error> {
    // The workers are this program itself. Any program would do, as one in Python.
    let program = std::env::current_exe().unwrap_or_default();
    let config = PoolConfig {
        size: Size::fixed(2),
        ..PoolConfig::new("words", ProcessConfig::new(program).arg("worker"))
    };
    let pool = ProcessPool::new(processes, config).await?;
    let executor = Executor::builder().slots(2).pool(pool, []).build()?;
    let jobs = (0..).zip(texts).map(|(number, text): (u32, _)| {
        Job::task(number.to_string(), "count", Payload::from_text(text))
    });
    let outcomes = executor.run_all(jobs).await?;
    outcomes.iter().map(|outcome| outcome.read()).collect()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().nth(1).as_deref() == Some("worker") {
        let count = Task::blocking("count", count_words);
        return Ok(Worker::new("words").task(count).serve().await?);
    }
    let processes = Arc::new(LocalProcesses::start());
    println!(
        "{:?}",
        count_all(processes, &["to be", "or not to be"]).await?
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use ratchet_runtime::mock::{FakeProcesses, MockProcessManager};
    use ratchet_runtime::process::ProcessError;

    use super::*;

    #[tokio::test]
    async fn each_text_is_counted_by_a_worker() {
        let processes =
            FakeProcesses::of_task("count", |call: Call| async move { count_words(&call) });
        let counts = count_all(Arc::new(processes.clone()), &["a", "b c"]).await;
        assert_eq!(counts.unwrap(), [1, 2]);
        assert_eq!(processes.started(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_cannot_be_started_is_an_error() {
        let mut processes = MockProcessManager::new();
        processes
            .expect_spawn_process()
            .returning(|_| Err(ProcessError::Ended));
        let counted = count_all(Arc::new(processes), &["a"]).await;
        assert!(matches!(counted, Err(Error::NoResult { .. })));
    }
}
