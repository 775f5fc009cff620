//! A soak: very many jobs of all kinds on workers that fail in every way, under a host that is killed again and again.
//!
//! ```text
//! cargo run --release -p ratchet-tests --bin chaos -- --seed 7 --jobs 200000 --kills 5
//! ```
pub mod checker;
mod driver;
mod host;
pub mod notes;
pub mod plan;
mod worker;

pub use checker::{Report, Rule, Violation};
pub use driver::Soak;
pub use host::live;
pub use plan::Plan;
pub use worker::work;

/// Where workers write, in a soak's folder.
const WORKER_NOTES: &str = "worker_notes";

/// Where hosts write.
const HOST_NOTES: &str = "host_notes";

/// What all processes of a soak have in their environment.
const MARK: &str = "RATCHET_CHAOS";
