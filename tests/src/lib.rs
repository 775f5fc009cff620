//! ratchet from the outside: real processes, one fault a worker.
//!
//! `src/bin` and `workers/` hold the workers, `suite/` the tests, one file a promise. Here stands what
//! several of them need: the real `ratchet` as it is called from a shell, a child process at the other end
//! of a conversation, and the languages that a machine may lack.

#![expect(
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a harness fails the test when what has to happen does not"
)]

#[cfg(target_os = "linux")]
mod alone;
mod child;
mod condition;
mod language;
mod ratchet;
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
    Holdings, children_of, cpu_time, is_alive, marked, process_state, resident_bytes,
};
