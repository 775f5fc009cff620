//! `ratchet cache`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::record::StateArguments;
use crate::job_file::Protocol;
use crate::value;

const HELP: &str = "\
Examples:
  ratchet cache
  ratchet cache explain jobs.yaml resize-17
  ratchet cache clear --task resize
  ratchet cache clear --older-than 30d";

const STATS_HELP: &str = "\
Where stdout is no terminal, there is a line a task of these fields, with tabs between them:
  task, results, bytes, milliseconds it took to compute them, oldest (UTC), newest (UTC)";

const EXPLAIN_HELP: &str = "\
The job is looked at as `ratchet run FILE` would do it, without running anything: a flag that is \
part of what a result depends on, such as --timeout, has to be given here as there, and the \
environment has to be the same. `ratchet help run` says what is part of it and what is not.";

/// Shows what the result cache holds, explains a miss, or clears it.
#[derive(Debug, Args)]
#[command(after_help = HELP, args_conflicts_with_subcommands = true)]
pub(crate) struct CacheArguments {
    /// What is done with the cache; without, it is shown.
    #[command(subcommand)]
    pub(crate) action: Option<CacheAction>,
    /// Where the cache lies, if no action is named.
    #[command(flatten)]
    pub(crate) state: StateArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheAction {
    /// Shows how much is stored, by task.
    #[command(after_help = STATS_HELP)]
    Stats {
        #[command(flatten)]
        state: StateArguments,
    },
    /// Tells whether a job's result would be used again, and if not, what differs.
    #[command(after_help = EXPLAIN_HELP)]
    Explain(CacheExplainArguments),
    /// Removes results: all of them, or those that match.
    Clear {
        /// Only those of this task.
        #[arg(long, value_name = "TASK")]
        task: Option<String>,
        /// Only those stored longer ago than this, as in 30d.
        #[arg(long, value_name = "DURATION", value_parser = value::duration)]
        older_than: Option<Duration>,
        #[command(flatten)]
        state: StateArguments,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CacheExplainArguments {
    /// The job file; `-` is JSON lines from stdin.
    pub(crate) file: PathBuf,
    /// The job's id.
    pub(crate) job: String,
    /// One worker command for every task, where the file has no `workers`.
    #[arg(short, long, value_name = "COMMAND")]
    pub(crate) worker: Option<String>,
    /// The protocol of that worker.
    #[arg(long, value_enum, default_value_t, requires = "worker")]
    pub(crate) protocol: Protocol,
    /// How long an attempt may run, for jobs that do not set it.
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub(crate) timeout: Option<Duration>,
    /// Where the cache lies.
    #[command(flatten)]
    pub(crate) state: StateArguments,
}
