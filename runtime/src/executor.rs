//! The executor: jobs in, outcomes out, nothing lost.

mod attempt;
mod breakers;
mod builder;
mod command;
mod conclude;
mod dispatch;
mod ending;
mod handle;
mod intake;
mod introduced;
mod kinds;
mod ledger;
mod local;
mod needs;
mod orchestrator;
mod order;
mod outcomes;
mod pace;
mod performers;
mod plan;
mod pools;
mod progress;
mod provisional;
mod recording;
mod reuse;
mod run;
mod runner;
mod settle;
mod sinks;
mod snapshot;
mod source;
mod stop;
mod task_pool;
mod telling;
#[cfg(test)]
mod tests;
mod uncertain;
mod wiring;

pub use builder::ExecutorBuilder;
pub use handle::{RunHandle, RunStatus, Submitter};
pub use ledger::Ledger;
pub use order::Ordering;
pub use outcomes::Run;
pub use pools::Service;
pub use progress::{Pace, Progress, ProgressMeter, ProgressWatch};
pub use reuse::{Dependencies, SESSION_VARIABLES, Unkeyed};
pub use run::{Executor, ExecutorStatus};
#[cfg(any(test, feature = "mock"))]
pub use runner::MockRunner;
pub use runner::{Attempt, Runner};
pub use sinks::Sink;
pub use snapshot::{RunningJob, Snapshot, WaitCause, WaitingJob};
pub use stop::{Halt, MaxFailures, Stopped};
