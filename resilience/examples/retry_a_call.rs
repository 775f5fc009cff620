//! Retries a call to a service that is busy at first, limits each attempt, and reports the retries.
//!
//! `cargo run -p ratchet-resilience --example retry_a_call`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::io::{Error, ErrorKind};
use std::time::Duration;

use ratchet_resilience::retry::{BackoffPolicy, RetryExecutor};

/// A service that succeeds at the third attempt.
async fn fetch(attempt: u32) -> Result<String, Error> {
    match attempt {
        1 => Err(ErrorKind::ConnectionReset.into()),
        // This attempt hangs, so that only its timeout ends it.
        2 => std::future::pending().await,
        _ => Ok(format!("hello at attempt {attempt}")),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let policy = BackoffPolicy::builder()
        .max_attempts(5)
        .time_limit(Duration::from_secs(30))
        .build()?;
    let executor = RetryExecutor::new(policy)
        .attempt_timeout(Duration::from_millis(200))?
        .on_retry(|retry| println!("attempt {}: {}", retry.attempt, retry.error));

    let is_transient = |error: &Error| error.kind() != ErrorKind::NotFound;
    println!("{}", executor.execute_if(is_transient, fetch).await?);

    // A permanent error is not retried.
    let missing = async |_| Err::<(), _>(Error::from(ErrorKind::NotFound));
    if let Err(given_up) = executor.execute_if(is_transient, missing).await {
        println!("{given_up}");
    }
    Ok(())
}
