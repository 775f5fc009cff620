//! The executor: jobs in, outcomes out, nothing lost.

mod attempt;
mod breakers;
mod builder;
mod command;
mod context;
pub(crate) mod crew;
mod ending;
mod handle;
mod hands;
mod intake;
mod kinds;
mod ledger;
mod local;
pub mod monitor;
mod needs;
mod orchestrator;
mod order;
mod pools;
mod progress;
mod recording;
pub(crate) mod reporter;
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
pub use pools::Service;
pub use progress::{Pace, Progress, ProgressMeter, ProgressWatch};
pub use reuse::Dependencies;
pub use run::{Executor, ExecutorStatus, Run};
pub use sinks::Sink;
pub use stop::{Halt, MaxFailures, Stopped};
