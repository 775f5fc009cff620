//! Retry, circuit breaker and graceful shutdown: what a program does when what it depends on does not do its part.
//!
//! Written anew in each program these three go wrong in the same ways: retries that hammer what is down, breakers
//! that never close again or let everybody through at once, shutdowns that hang or lose work. Here each is a plain
//! value at its core. It takes the time as an argument, draws chance from a seedable `Rng` and does no I/O, so a
//! loop can drive it and a test can repeat it to the nanosecond. Around that core stands what one wants without
//! a loop of one's own.
//!
//! | feature | module | without a loop |
//! |---|---|---|
//! | `retry` | `retry`: may this be tried again, and when | `RetryExecutor` |
//! | `circuit-breaker` | `circuit_breaker`: is it worth calling at all | synchronous anyway |
//! | `shutdown` | `shutdown`: stopping in phases | `ShutdownCoordinator` |
//!
//! All three are on by default and each builds alone. `mock` adds mocks of the traits for the tests of those who
//! build on them.
//!
//! Do not reach for this crate for what a library already does inside: an HTTP client that retries should not be
//! retried. And none of it makes a call safe to repeat; that is up to the other side.
#![cfg_attr(
    all(feature = "retry", feature = "circuit-breaker"),
    doc = r#"
# Example

A call that is retried, through a breaker, while retries stay within their share of the load:

```
use std::sync::Arc;
use std::time::Duration;

use ratchet_resilience::circuit_breaker::CircuitBreaker;
use ratchet_resilience::retry::{BackoffPolicy, Fault, RetryBudget, RetryExecutor};

# #[tokio::main(flavor = "current_thread", start_paused = true)]
# async fn main() -> Result<(), ratchet_resilience::Error> {
let policy = BackoffPolicy::builder()
    .max_attempts(5)
    .max_delay(Duration::from_secs(10))
    .time_limit(Duration::from_secs(60))
    .build()?;
let executor = RetryExecutor::new(policy)
    .through(CircuitBreaker::builder().consecutive_failures(3).build()?)
    .budget(Arc::new(RetryBudget::builder().build()?));

let answer = executor
    .execute(async |attempt| {
        if attempt < 3 { Err(Fault::transient("connection reset").class("network")) } else { Ok("hello") }
    })
    .await;
assert_eq!(answer.unwrap(), "hello");
# Ok(())
# }
```
"#
)]

#[cfg(any(feature = "retry", feature = "circuit-breaker", feature = "shutdown"))]
mod check;
#[cfg(any(feature = "retry", feature = "circuit-breaker", feature = "shutdown"))]
mod clock;
mod error;
#[cfg(any(feature = "retry", feature = "circuit-breaker"))]
mod random;

#[cfg(feature = "circuit-breaker")]
pub mod circuit_breaker;
#[cfg(feature = "retry")]
pub mod retry;
#[cfg(feature = "shutdown")]
pub mod shutdown;

pub use error::Error;
#[cfg(any(feature = "retry", feature = "circuit-breaker"))]
pub use random::Rng;
