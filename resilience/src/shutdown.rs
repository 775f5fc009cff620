//! Stopping a program in phases, each harder than the one before.
//!
//! A program that drops everything at once leaves half-written results and children without a parent. A program that
//! waits for what never ends has to be killed. A shutdown in phases lets work finish, then asks it to stop, then ends
//! it, and a second Ctrl-C always does something.
//!
//! | phase | means | lasts at most |
//! |---|---|---|
//! | [`Running`](Phase::Running) | the program works | - |
//! | [`Draining`](Phase::Draining) | it takes no new work; work under way may finish | [`Grace::draining`] |
//! | [`Cancelling`](Phase::Cancelling) | work under way is asked to stop | [`Grace::cancelling`] |
//! | [`Killing`](Phase::Killing) | work under way is ended | [`Grace::killing`] |
//!
//! A shutdown never goes back a phase.
//!
//! The phases are driven from two sides. [`PhaseClock`] is a value for a loop that owns the work: it says when the
//! time of a phase is over. [`ShutdownCoordinator`] is for the process around it: it turns [`Signals`] into phases and
//! lets any number of tasks wait for one.
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
