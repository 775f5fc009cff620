//! Stopping in phases, each harder than the one before, until nothing is left or it is known what is.
//!
//! Without it a stop is one of two bad things. Either everything is dropped at once: half-written results, work that
//! was a second from done, children without a parent. Or the program waits for what never ends, and somebody has to
//! pull the plug. Common mistakes lie in between: a "graceful" stop that cancels running work at once, a cleanup
//! that hangs the rest, a panic in one task that takes the report of the others along, a second Ctrl-C that does
//! nothing.
//!
//! | phase | means | ends when all tasks have ended, or after |
//! |---|---|---|
//! | [`Running`](Phase::Running) | business as usual | - |
//! | [`Draining`](Phase::Draining) | take nothing new, finish what runs | [`Grace::draining`] |
//! | [`Cancelling`](Phase::Cancelling) | asked to stop: wind up | [`Grace::cancelling`] |
//! | [`Killing`](Phase::Killing) | aborted, wanted or not | [`Grace::killing`] |
//!
//! There is no way back. A signal, or any other call of `advance`, goes on to the next phase at once.
//!
//! [`PhaseClock`] is that table as a value, for those who have a loop. [`ShutdownCoordinator`] drives it for those
//! who have not: it tracks tasks, runs [`ShutdownHook`]s and reports what became of each.
//!
//! ```
//! use ratchet_resilience::shutdown::{Grace, Phase, ShutdownCoordinator, TaskEnding};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), ratchet_resilience::Error> {
//! let grace = Grace { draining: Duration::from_secs(10), ..Grace::default() };
//! let coordinator = ShutdownCoordinator::builder().grace(grace).build()?;
//! let handle = coordinator.handle();
//!
//! handle.spawn("short", tokio::time::sleep(Duration::from_secs(1)));
//! let cancelled = handle.token(Phase::Cancelling);
//! handle.spawn("endless", async move { cancelled.cancelled().await });
//!
//! // A signal would do this; see `Signals`.
//! handle.advance();
//! let report = coordinator.run().await;
//! assert_eq!(report.ending("short"), Some(TaskEnding::Finished));
//! assert_eq!(report.ending("endless"), Some(TaskEnding::Cancelled));
//! assert_eq!(report.took, Duration::from_secs(10));
//! # Ok(())
//! # }
//! ```
//!
//! Do not use it to cancel one request or one job: a `CancellationToken` does that. It cannot end a thread that does
//! not return; it can only say so.

mod coordinator;
mod hook;
mod phase;
mod report;
#[cfg(unix)]
mod signals;
mod tasks;

pub use coordinator::{ShutdownCoordinator, ShutdownCoordinatorBuilder, ShutdownHandle};
#[cfg(any(test, feature = "mock"))]
pub use hook::MockShutdownHook;
pub use hook::{HookError, HookPoint, ShutdownHook};
pub use phase::{Grace, Phase, PhaseClock};
pub use report::{HookEnding, HookReport, ShutdownReport, TaskEnding, TaskReport};
#[cfg(unix)]
pub use signals::{Signal, Signals};

use std::time::Instant;

/// The clock of the runtime, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
