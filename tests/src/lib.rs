//! Tests of ratchet from the outside, with real processes.
//!
//! The tests are in `suite/`, one file for each promise. The workers that they use are in `src/bin` and `workers/`. This
//! The tests are in `suite/`, one file for each promise. The workers that they use are in `src/bin` and `workers/`.
//! This library has what several tests need: calls of the real `ratchet` as from a shell, a worker process to talk to,
//! and a check for languages that may not be installed.
//!
//! ```no_run
//! use ratchet_tests::{Folder, Ratchet};
//!
//! let folder = Folder::new().file("jobs.yaml", "jobs: [{ id: a, run: [echo, hi] }]\n");
//! let ended = Ratchet::within(&folder).args(["run", "jobs.yaml", "-q"]).run();
//! assert!(ended.with_code(0).quiet().stdout().contains("succeeded"));
//! ```
//!
//! `chaos` is a soak test with its own checker. By hand it runs for minutes, and in the suite for seconds.
//!
//! `orphans` kills `ratchet` in its first milliseconds and looks for processes that it leaves. By hand it does so hundreds
//! of times, and in the suite a few times.
//!
//! # Coverage
//!
//! `cargo llvm-cov --workspace --all-features` measures the coverage. It includes the real `ratchet`, since the harness
//! passes on the variable with the path of the profile. At least some 92 % of the lines are covered. These are not:
//! code in processes that are killed at once, since they leave no profile; code for a system that has no more threads,
//! descriptors or event loops; texts of errors that no test causes; and code for macOS. A process that is killed while
//! it writes its profile leaves a damaged one. If the merge refuses a profile, remove it.

#![expect(
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a harness fails the test when what has to happen does not"
)]

#[cfg(target_os = "linux")]
mod alone;
#[cfg(target_os = "linux")]
pub mod chaos;
mod child;
mod collector;
mod condition;
mod language;
#[cfg(target_os = "linux")]
mod log;
#[cfg(target_os = "linux")]
pub mod orphans;
#[cfg(target_os = "linux")]
mod processes;
mod ratchet;
mod signals;
#[cfg(target_os = "linux")]
mod system;

#[cfg(target_os = "linux")]
pub use alone::alone;
pub use child::WorkerProcess;
pub use collector::{Collector, Manner, Request};
pub use condition::{eventually, eventually_async, within};
pub use language::{WorkerProtocol, present};
#[cfg(target_os = "linux")]
pub use processes::{all_gone, read_text, shell, start_announced};
pub use ratchet::{Ended, Folder, Ratchet, Running, Shown, Signal};
#[cfg(target_os = "linux")]
pub use system::{
    Holdings, children_of, cpu_time, is_alive, marked, process_state, resident_bytes, with_argument,
};
