//! The executor: jobs in, outcomes out, nothing lost.

mod attempt;
mod breakers;
mod builder;
mod command;
mod context;
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "parts of it are what the pools say, which come next"
    )
)]
pub(crate) mod crew;
mod ending;
mod handle;
mod intake;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "introductions are for the pools, which come next")
)]
mod kinds;
mod ledger;
mod local;
mod needs;
mod orchestrator;
mod order;
mod recording;
mod reporter;
mod reuse;
mod router;
mod run;
mod settle;
mod sinks;
mod source;
mod stop;
#[cfg(test)]
mod tests;

pub use builder::ExecutorBuilder;
#[cfg(any(test, feature = "mock"))]
pub use context::MockRunner;
pub use context::{Attempt, Context, Runner, Step};
pub use handle::{RunHandle, RunStatus, Submitter};
pub use ledger::Ledger;
pub use order::Ordering;
pub use run::{Executor, ExecutorStatus, Run};
pub use sinks::Sink;
pub use stop::{Halt, MaxFailures, Stopped};
