//! What can be typed.

use clap::{Parser, Subcommand};

use crate::commands;
use crate::exit;

/// Runs jobs in parallel on supervised worker processes: jobs in, results out, nothing lost.
#[derive(Debug, Parser)]
#[command(name = "ratchet", version, after_help = exit::HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Reads a job file, resolves everything, and runs nothing.
    Check(commands::check::Arguments),
    /// Shows what is set, and where it comes from.
    Config(commands::config::Arguments),
    /// Prints a JSON Schema of job files, or of the lines that ratchet writes.
    Schema(commands::schema::Arguments),
    /// The built-in worker: echo, sleep, fail, flaky, burn, command.
    Worker(commands::worker::Arguments),
}
