//! Stops a program in phases, each harsher than the one before.
//!
//! A program that drops everything at once leaves half-written results and orphaned child processes. A program that
//! waits for something that never ends has to be killed. A shutdown in phases lets work finish, then asks it to stop,
//! then ends it, and another Ctrl-C always moves to the next phase.
//!
//! | phase | means | lasts at most |
//! |---|---|---|
//! | [`Running`](Phase::Running) | the program works | - |
//! | [`Draining`](Phase::Draining) | it takes no new work; work in progress may finish | [`Grace::draining`] |
//! | [`Cancelling`](Phase::Cancelling) | work in progress is asked to stop | [`Grace::cancelling`] |
//! | [`Killing`](Phase::Killing) | work in progress is ended | [`Grace::killing`] |
//!
//! A shutdown never returns to an earlier phase.
//!
//! The phases are driven from two sides. [`PhaseClock`] is a value for a loop that owns the work: it decides when the
//! time of a phase is over. [`ShutdownCoordinator`] is for the surrounding process: it turns [`Signals`] into phases
//! and lets any number of tasks wait for one.
//!
//! Do not use it to cancel one request or one job: a `CancellationToken` does that.

mod coordinator;
mod phase;
#[cfg(unix)]
mod signals;

pub use coordinator::ShutdownCoordinator;
pub use phase::{Grace, Phase, PhaseClock};
#[cfg(unix)]
pub use signals::{Signal, Signals};
