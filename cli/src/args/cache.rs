//! `ratchet cache`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::record::StateArguments;
use crate::value;

const HELP: &str = "\
Examples:
  ratchet cache
  ratchet cache explain jobs.yaml resize-17
  ratchet cache clear --task resize
  ratchet cache clear --older-than 30d";

/// Shows what the result cache holds, explains a miss, or clears it.
#[derive(Debug, Args)]
#[command(after_help = HELP, args_conflicts_with_subcommands = true)]
pub(crate) struct CacheArguments {
    #[command(subcommand)]
    pub(crate) action: Option<CacheAction>,
    #[command(flatten)]
    pub(crate) state: StateArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheAction {
    /// Shows how much is stored and how often it was of use.
    Stats {
        #[command(flatten)]
        state: StateArguments,
    },
    /// Says whether a job's result would be used again, and if not, what differs.
    Explain {
        /// The job file.
        file: PathBuf,
        /// The job's id.
        job: String,
        #[command(flatten)]
        state: StateArguments,
    },
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
