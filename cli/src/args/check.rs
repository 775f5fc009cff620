//! `ratchet check`.

use std::path::PathBuf;

use clap::Args;

/// Reads a job file, resolves everything, and runs nothing.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ratchet check jobs.yaml")]
pub(crate) struct CheckArguments {
    /// The job file; `-` is JSON lines from stdin.
    pub(crate) file: PathBuf,
}
