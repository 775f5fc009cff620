//! Options for results.

use std::path::PathBuf;

use clap::Args;

use crate::report::ResultFormat;

/// The options for where results go, and in which format.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Results")]
pub(crate) struct OutputArguments {
    /// How results are written (default: for people on a terminal, else JSON lines; `map` writes what the
    /// commands print).
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<ResultFormat>,
    /// Write results to a file instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Write results in the order of the jobs, not in the order they end.
    #[arg(short, long)]
    pub(crate) keep_order: bool,
}
