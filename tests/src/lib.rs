//! ratchet from the outside: real processes, one fault a worker.
//!
//! `src/bin` and `workers/` hold the workers, `suite/` the tests, one file a promise. Here stands what
//! several of them need: the real `ratchet` as it is called from a shell, a child process at the other end
//! of a conversation, and the languages that a machine may lack.
//!
//! ```no_run
//! use ratchet_tests::{Folder, Ratchet};
//!
//! let folder = Folder::new().file("jobs.yaml", "jobs: [{ id: a, run: [echo, hi] }]\n");
//! let ended = Ratchet::within(&folder).args(["run", "jobs.yaml", "-q"]).run();
//! assert!(ended.with_code(0).quiet().stdout().contains("succeeded"));
//! ```
//!
//! `chaos` is a soak with a checker of its own: run by hand for minutes, and in the suite for seconds.
//!
//! `orphans` kills `ratchet` in its first milliseconds and looks for what it leaves: by hand hundreds of times, and in
//! the suite a few.
//!
//! # Coverage
//!
//! `cargo llvm-cov --workspace --all-features` measures it, the real `ratchet` included, to which the harness hands
//! on where to write. Some 92 of 100 lines are covered at least. What is not: whatever runs in a process that is
//! killed at once, which many tests do and which leaves no profile; what follows when the system has no more
//! threads, descriptors or event loops; text of errors that no test makes; and what is only there for macOS.
//! A profile that a killed process has half written is damaged: where the merge refuses it, leave it out.

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
mod condition;
mod language;
#[cfg(target_os = "linux")]
mod log;
#[cfg(target_os = "linux")]
pub mod orphans;
mod ratchet;
mod signals;
#[cfg(target_os = "linux")]
mod system;

#[cfg(target_os = "linux")]
pub use alone::alone;
pub use child::WorkerProcess;
pub use condition::{eventually, within};
pub use language::{Language, present};
pub use ratchet::{Ended, Folder, Ratchet, Running, Shown, Signal};
#[cfg(target_os = "linux")]
pub use system::{
    Holdings, children_of, cpu_time, is_alive, marked, process_state, resident_bytes, with_argument,
};
