//! `ratchet runs`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::output::Format;
use super::record::StateArguments;

const HELP: &str = "\
Examples:
  ratchet runs
  ratchet runs show 1ksdg00
  ratchet runs show 1ksd --format jsonl
  ratchet runs rm 1ksdg00 1ksdg01

A run may be named by the beginning of its id.";

const LIST_HELP: &str = "\
Where stdout is no terminal, there is a line a run of these fields, with tabs between them; `-` is a field \
that nobody knows:
  id, when it began (UTC), state, jobs that ended, succeeded, failed, not done, what was run
The states are running, finished, interrupted and unreadable. `failed` counts those that failed, timed out \
or crashed, `not done` those that were cancelled or skipped.";

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
    #[command(after_help = LIST_HELP)]
    List {
        #[command(flatten)]
        state: StateArguments,
    },
    /// Shows what came of a run: for people what did not succeed, for programs every result.
    Show(ShowArguments),
    /// Removes the records of runs; what they name has to exist, and none may be running.
    Rm {
        /// Which runs.
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<String>,
        #[command(flatten)]
        state: StateArguments,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// Which run.
    pub(crate) run: String,
    /// How it is written (default: for people on a terminal, else JSON lines).
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// Write to a file instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) state: StateArguments,
}
