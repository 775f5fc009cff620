//! The `ratchet` command.

#![expect(
    dead_code,
    unused_imports,
    reason = "`run` and `map` are wired next; what they are made of is here already"
)]

mod args;
mod commands;
mod error;
mod exit;
mod map;
mod progress;
mod report;
mod value;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Verb};
use error::CliError;

fn main() -> ExitCode {
    let Arguments { verb } = Arguments::parse();
    let out = &mut io::stdout();
    let done = match verb {
        Verb::Worker(worker) => commands::worker::run(&worker),
        Verb::Completions(completions) => commands::completions::run(&completions, out),
        Verb::Man(man) => commands::man::run(&man, out),
        #[cfg(test)]
        other => Err(CliError::usage(format!("{other:?} is not wired"))),
    };
    match done {
        Ok(()) => exit::SUCCESS.into(),
        Err(error) => report(&error).into(),
    }
}

/// Says what went wrong and why, a cause a line, and what to do about it.
fn report(error: &CliError) -> u8 {
    if !error.is_broken_pipe() {
        let mut lines = vec![format!("ratchet: {error}\n")];
        let mut cause = error.source();
        while let Some(error) = cause {
            lines.push(format!("  because: {error}\n"));
            cause = error.source();
        }
        if let Some(help) = error.help() {
            lines.push(format!("  help: {help}\n"));
        }
        // There is nobody left to tell where stderr is closed; the exit code still says it.
        let _ = io::stderr().write_all(lines.concat().as_bytes());
    }
    error.exit_code()
}
