//! A command runs once, and gives back what it printed, whatever it does.
#![cfg(target_os = "linux")]

mod cases;

use ratchet_runtime::process::{CommandRunner, Keeper};

/// Makes a runner whose threads start the commands themselves.
fn runner() -> CommandRunner {
    CommandRunner::new(Keeper::start().ok())
}
