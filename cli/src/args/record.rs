//! Options for the records of runs.

use std::path::PathBuf;

use clap::Args;

/// The options for whether and where a run is recorded.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "The record of runs")]
pub(crate) struct RecordArguments {
    /// Do not record this run. It cannot be resumed.
    #[arg(long)]
    pub(crate) no_record: bool,
    /// Where the record of the run is written.
    #[command(flatten)]
    pub(crate) state: StateArguments,
}

/// The option for the folder of records and cache.
#[derive(Debug, Default, Args)]
pub(crate) struct StateArguments {
    /// Where runs are recorded and results are cached (default: the XDG state folder).
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}
