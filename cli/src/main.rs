//! The `ratchet` command.

mod args;
mod commands;
mod error;
mod exit;
mod value;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Verb};
use error::CliError;

fn main() -> ExitCode {
    let Arguments { verb } = Arguments::parse();
    let done = match verb {
        Verb::Worker(worker) => commands::worker::run(&worker),
    };
    done.map_or_else(|error| report(&error), |()| exit::SUCCESS)
}

/// Says what went wrong and why, a cause a line.
fn report(error: &CliError) -> ExitCode {
    let mut text = format!("ratchet: {error}\n");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str("  because: ");
        text.push_str(&error.to_string());
        text.push('\n');
        cause = error.source();
    }
    // There is nobody left to tell where stderr is closed; the exit code still says it.
    let _ = io::stderr().write_all(text.as_bytes());
    error.exit_code()
}
