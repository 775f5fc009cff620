//! Commands that a process manager starts give back the same.
#![cfg(target_os = "linux")]

#[path = "commands/cases.rs"]
mod cases;

use std::sync::Arc;

use ratchet_runtime::process::{
    CommandLimits, CommandRunner, LocalProcesses, ProcessConfig, ProcessError,
};
use ratchet_tests::within;
use tokio_util::sync::CancellationToken;

/// Makes a runner whose commands are started through a manager.
fn runner() -> CommandRunner {
    CommandRunner::through(Arc::new(LocalProcesses::start()))
}

#[tokio::test]
async fn a_command_through_a_manager_cannot_have_the_terminal() {
    let config = ProcessConfig::new("cat").on_terminal();
    let never = CancellationToken::new();
    let refused = within(runner().run(&config, CommandLimits::default(), &never)).await;
    assert!(
        matches!(refused, Err(ProcessError::NoTerminal { .. })),
        "{refused:?}"
    );
}
