//! `ratchet check`.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ratchet_runtime::Resource;

use super::concurrency::resource;
use super::selection::SelectionArguments;
use crate::job_file::{self, Protocol, TypedNeeds};
use crate::style::When;
use crate::value;

/// Reads a job file, resolves everything, and runs nothing.
///
/// All errors are reported at once, each with its place and what to do about it. A summary of what
/// would run is printed to stdout.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ratchet check jobs.yaml\n  \
    ratchet check jobs.yaml --only 'db*' --resource gpu=0,1\n  \
    ratchet check --worker 'python3 resize.py' jobs.jsonl\n  \
    ratchet check --format json jobs.toml | jq .tasks")]
pub(crate) struct CheckArguments {
    /// The job file; `-` is JSON lines from stdin.
    pub(crate) file: PathBuf,
    /// One worker command for every task, where the file has no `workers`.
    #[arg(short, long, value_name = "COMMAND")]
    pub(crate) worker: Option<String>,
    /// The protocol of that worker.
    #[arg(long, value_enum, default_value_t, requires = "worker")]
    pub(crate) protocol: Protocol,
    /// How many slots a run would have (default: as many as cores); a job that needs more is refused.
    #[arg(short, long, value_name = "N", value_parser = value::positive)]
    pub(crate) jobs: Option<NonZeroU32>,
    /// Declare what jobs can have for themselves, as for `run`: `gpu=0,1`, `license=2` or `memory=16GiB`.
    #[arg(long, value_name = "NAME=WHAT", value_parser = resource)]
    pub(crate) resource: Vec<(String, Resource)>,
    /// What a job has for itself of the resources, where it does not say so, as in `gpu=1,memory=4GiB`.
    #[arg(long = "use", value_name = "NAME=N", value_parser = job_file::typed_needs)]
    pub(crate) uses: Option<TypedNeeds>,
    /// Which jobs are checked against each other and counted.
    #[command(flatten)]
    pub(crate) selection: SelectionArguments,
    /// How the summary is written.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: SummaryFormat,
    /// Use colours on stderr: `auto` does on a terminal, unless `NO_COLOR` is set or TERM is `dumb`.
    #[arg(long, value_name = "WHEN")]
    pub(crate) color: Option<When>,
}

/// How the summary of a job file, or a list of hosts, is written.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum SummaryFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON document.
    Json,
}
