//! The suite that every engine has to pass: the same claims hold over all nodes, and each job ends once.
//!
//! `conformance` states single promises. `differential` compares the engines with each other, and their answers with a
//! slow model, on random queues.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail the test that called them"
)]
#![cfg_attr(
    feature = "redis",
    expect(clippy::print_stderr, reason = "a test that is skipped says so")
)]

#[cfg(feature = "redis")]
#[path = "engines/access.rs"]
mod access;
#[path = "engines/bench.rs"]
mod bench;
#[path = "engines/checker.rs"]
mod checker;
#[path = "engines/claims.rs"]
mod claims;
#[path = "engines/differential.rs"]
mod differential;
#[cfg(feature = "redis")]
#[path = "engines/faults.rs"]
mod faults;
#[path = "engines/inspect.rs"]
mod inspect;
#[path = "engines/jobs.rs"]
mod jobs;
#[path = "engines/nodes.rs"]
mod nodes;
#[path = "engines/payloads.rs"]
mod payloads;
#[cfg(feature = "redis")]
#[path = "engines/proxy.rs"]
mod proxy;
#[path = "engines/random.rs"]
mod random;
#[cfg(feature = "redis")]
#[path = "engines/redis_server.rs"]
mod redis_server;
#[cfg(feature = "redis")]
#[path = "engines/server.rs"]
mod server;
#[path = "engines/wakes.rs"]
mod wakes;

/// Makes a test of each function, for each engine.
#[macro_export]
macro_rules! on_every_engine {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test($crate::bench::Bench::memory()).await;
                }
            )*
        }

        #[cfg(feature = "redis")]
        mod redis {
            $(
                #[tokio::test]
                async fn $test() {
                    if let Some(bench) = $crate::bench::Bench::redis().await {
                        super::$test(bench).await;
                    }
                }
            )*
        }
    };
}
