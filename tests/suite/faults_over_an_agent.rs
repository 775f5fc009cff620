//! Workers behind an agent cost their jobs the same outcomes.
#![cfg(target_os = "linux")]

#[path = "faults/cases.rs"]
mod cases;

use std::process::Stdio;
use std::sync::Arc;

use ratchet_runtime::process::ProcessManager;
use ratchet_runtime::remote::{RemoteConfig, RemoteProcesses};
use tokio::process::Command;

/// Starts the workers through an agent, as on another host.
async fn manager() -> Arc<dyn ProcessManager> {
    let mut agent = Command::new(env!("CARGO_BIN_EXE_agent"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let input = agent.stdout.take().expect("it is piped");
    let output = agent.stdin.take().expect("it is piped");
    let processes = RemoteProcesses::connect(input, output, RemoteConfig::new("agent")).await;
    Arc::new(processes.expect("it answers"))
}
