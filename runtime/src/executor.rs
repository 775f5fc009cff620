//! The executor: jobs in, outcomes out, nothing lost.

mod context;
#[expect(
    dead_code,
    reason = "the loop and the pools, which speak it, come next"
)]
pub(crate) mod crew;
pub mod monitor;
mod progress;

#[cfg(any(test, feature = "mock"))]
pub use context::MockRunner;
pub use context::{Attempt, Context, Runner, Step};
pub use progress::{Pace, Progress, ProgressMeter, ProgressWatch};
