//! Options for the record of runs.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(next_help_heading = "The record of runs")]
pub(crate) struct RecordArguments {
    /// Keep no record of this run: it cannot be resumed.
    #[arg(long)]
    pub(crate) no_record: bool,
    #[command(flatten)]
    pub(crate) state: StateArguments,
}

/// Where the record and the cache are.
#[derive(Debug, Args)]
pub(crate) struct StateArguments {
    /// Where runs are recorded and results are cached (default: the XDG state folder).
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}
