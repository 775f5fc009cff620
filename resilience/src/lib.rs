//! Retry, circuit breaker and graceful shutdown: what a program does when something it depends on fails.
//!
//! Programs that implement these three from scratch fail in the same ways. Their retries hammer a service that is down.
//! Their breakers never close again, or let every caller through at once. Their shutdowns hang or lose work. Here each
//! of the three is a plain value: it takes the time as an argument, draws random numbers from a seedable `Rng` and does
//! no I/O. A loop can drive it, and a test can repeat it to the nanosecond. If you have no event loop of your own, use
//! the type in the last column.
//!
//! | feature | module | without a loop |
//! |---|---|---|
//! | `retry` | `retry`: decides whether and when to try again | `RetryExecutor` |
//! | `circuit-breaker` | `circuit_breaker`: stops calls to what is broken | `CircuitBreaker` is synchronous |
//! | `shutdown` | `shutdown`: stops a program in phases | `ShutdownCoordinator`, `Signals` |
//!
//! All three features are on by default, and each builds alone. Two more are off by default: `tower` adds a layer that
//! sends the requests of a client through a `RetryExecutor`, and `mock` adds `mock::MockRetryPolicy` for the tests of
//! other crates.
//!
//! Do not use this crate around a library that does the same inside: do not retry an HTTP client that retries. No retry
//! makes a call safe to repeat; only the other side can do that.
//!
//! # Beside other crates
//!
//! What a call costs that succeeds at once, from one run of `cargo bench --bench peers` on a busy machine with two cores:
//!
//! | around the call | this crate | another one |
//! |---|---|---|
//! | retries | 416 ns | 22 ns (`backon` 1.6) |
//! | a closed breaker | 445 ns | 63 ns (`failsafe` 1.3) |
//!
//! A call over a network takes a thousand times as long.
//!
//! - `backon` is the better choice for calls of less than a microsecond, for blocking code, for WebAssembly and without `std`.
//! - `failsafe` is the better choice for a breaker by consecutive failures or by the rate of successes, and nothing else.
//! - Layers of tower such as those of `tower-resilience` are the better choice for bulkheads and rate limits of a service. They were not
//!   measured.
//! - This crate is the better choice if decisions have to be tested without waiting, if retries have to stay a share of the load and
//!   know the breaker, if classes of errors differ, or if slow calls count as failures.
//!
//! # The layers
//!
//! The lowest layer comes first, and each module imports only from those before it:
//!
//! 1. `error`, `random`, `time`
//! 2. `validate`
//! 3. `circuit_breaker`, `shutdown`
//! 4. `retry`, whose executor calls through a breaker
//! 5. `tower`, whose layer retries
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    all(feature = "retry", feature = "circuit-breaker"),
    doc = r#"
# Example

This call is retried through a breaker, while retries stay within their share of the load:

```
use std::sync::Arc;
use std::time::Duration;

use ratchet_resilience::circuit_breaker::CircuitBreaker;
use ratchet_resilience::retry::{BackoffPolicy, Fault, RetryBudget, RetryExecutor};

# #[tokio::main(flavor = "current_thread", start_paused = true)]
# async fn main() -> Result<(), ratchet_resilience::ResilienceError> {
let policy = BackoffPolicy::builder()
    .max_attempts(5)
    .max_delay(Duration::from_secs(10))
    .time_limit(Duration::from_secs(60))
    .build()?;
let executor = RetryExecutor::new(policy)
    .circuit_breaker(CircuitBreaker::builder().consecutive_failures(3).build()?)
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

/// The README, whose example is a test.
#[cfg(all(doctest, feature = "retry"))]
#[doc = include_str!("../README.md")]
struct Readme;

mod error;
#[cfg(any(feature = "retry", feature = "circuit-breaker"))]
mod random;
#[cfg(any(feature = "retry", feature = "circuit-breaker", feature = "shutdown"))]
mod time;
#[cfg(any(feature = "retry", feature = "circuit-breaker", feature = "shutdown"))]
mod validate;

#[cfg(feature = "circuit-breaker")]
pub mod circuit_breaker;
#[cfg(feature = "retry")]
pub mod retry;
#[cfg(feature = "shutdown")]
pub mod shutdown;
#[cfg(feature = "tower")]
pub mod tower;

pub use error::ResilienceError;
#[cfg(any(feature = "retry", feature = "circuit-breaker"))]
pub use random::Rng;

/// Mocks of the traits of this crate, for tests of code that uses it.
///
/// ```
/// use std::time::Duration;
/// use ratchet_resilience::mock::MockRetryPolicy;
/// use ratchet_resilience::retry::{Fault, GiveUpReason, RetryExecutor};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let mut never = MockRetryPolicy::new();
/// never.expect_should_retry().returning(|_, _| Err(GiveUpReason::Policy));
/// never.expect_time_limit().returning(|| None);
/// let executor = RetryExecutor::new(never);
/// let call = executor.execute(async |_| Err::<(), _>(Fault::transient("busy")));
/// assert_eq!(call.await.unwrap_err().reason(), GiveUpReason::Policy);
/// # }
/// ```
#[cfg(all(feature = "mock", feature = "retry"))]
pub mod mock {
    pub use crate::retry::MockRetryPolicy;
}
