//! One fault a worker: each costs the job that met it one right outcome, and nobody anything else.
#![cfg(target_os = "linux")]

#[path = "faults/cases.rs"]
mod cases;

use std::sync::Arc;

use ratchet_runtime::process::{LocalProcesses, ProcessManager};

/// Starts the workers on this system.
async fn manager() -> Arc<dyn ProcessManager> {
    Arc::new(LocalProcesses::start())
}
