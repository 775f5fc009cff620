//! Guards a service with a circuit breaker: calls fail fast while it is down, and a probe finds out that it is back.
//!
//! `cargo run -p ratchet-resilience --example guard_a_service`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use ratchet_resilience::circuit_breaker::{CallError, CallOutcome, CircuitBreaker};

/// Returns the status code of a service that is down for a while.
async fn ask(call: u32) -> Result<u16, String> {
    tokio::task::yield_now().await;
    match call {
        1 => Ok(429),
        2..5 => Err("connection refused".to_owned()),
        _ => Ok(200),
    }
}

/// Counts errors against the service, except for the status 429, which is the caller's own fault.
fn classify(result: &Result<u16, String>) -> CallOutcome {
    match result {
        Ok(429) => CallOutcome::Ignored,
        Ok(_) => CallOutcome::Success,
        Err(_) => CallOutcome::Failure,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ratchet_resilience::ResilienceError> {
    let breaker = CircuitBreaker::builder()
        .consecutive_failures(3)
        .open_for(Duration::from_millis(100))
        .on_transition(|change| println!("  {} -> {}: {}", change.from, change.to, change.cause))
        .probes(1)
        .build()?;
    for call in 1..=7 {
        match breaker.call_classified(classify, ask(call)).await {
            Ok(status) => println!("call {call}: status {status}"),
            Err(CallError::Failed(error)) => println!("call {call}: {error}"),
            Err(CallError::Rejected(rejection)) => {
                println!("call {call}: {rejection}");
                if let Some(at) = rejection.retry_at() {
                    tokio::time::sleep_until(at.into()).await;
                }
            }
        }
    }
    Ok(())
}
