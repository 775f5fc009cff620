//! `ratchet runs`.

use clap::{Args, Subcommand};

use super::output::OutputArguments;
use super::record::StateArguments;

const HELP: &str = "\
Examples:
  ratchet runs
  ratchet runs show 20260312-101500-3f --format jsonl
  ratchet runs rm 20260312-101500-3f";

/// Lists what was run, shows a run, or removes its record.
#[derive(Debug, Args)]
#[command(after_help = HELP, args_conflicts_with_subcommands = true)]
pub(crate) struct RunsArguments {
    #[command(subcommand)]
    pub(crate) action: Option<RunsAction>,
    #[command(flatten)]
    pub(crate) state: StateArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunsAction {
    /// Lists the runs, the last one first.
    List {
        #[command(flatten)]
        state: StateArguments,
    },
    /// Shows what came of a run.
    Show {
        /// Which run.
        run: String,
        #[command(flatten)]
        output: OutputArguments,
        #[command(flatten)]
        state: StateArguments,
    },
    /// Removes the records of runs.
    Rm {
        /// Which runs.
        #[arg(required = true)]
        runs: Vec<String>,
        #[command(flatten)]
        state: StateArguments,
    },
}
