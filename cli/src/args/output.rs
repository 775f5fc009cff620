//! Options for results.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(next_help_heading = "Results")]
pub(crate) struct OutputArguments {
    /// How results are written (default: for people on a terminal, else JSON lines; by `map`, what the
    /// commands print).
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// Write results to a file instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Write results in the order of the jobs, not in the order they end.
    #[arg(short, long)]
    pub(crate) keep_order: bool,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people: a line a job, and why it failed.
    Human,
    /// One JSON object a line.
    Jsonl,
    /// One JSON document with a summary.
    Json,
    /// Test results in XML, as build servers read them.
    Junit,
}
