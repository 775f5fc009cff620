//! Options for the records of runs.

use std::path::PathBuf;

use clap::Args;

use super::telemetry::TelemetryArguments;
use crate::style::When;

/// The options for whether and where a run is recorded.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "The record of runs")]
pub(crate) struct RecordArguments {
    /// Do not record this run. It cannot be resumed.
    #[arg(long)]
    pub(crate) no_record: bool,
    /// Write each event of the run to a file as a JSON line, as in `--events run.events.jsonl` (`ratchet schema events`
    /// describes the lines).
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
    /// Whether a summary of the run is added to the file `$GITHUB_STEP_SUMMARY`, with annotations for failed jobs: always, never, or
    /// in workflows on GitHub.
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "always", default_value = "auto")]
    pub(crate) github: When,
    /// Where telemetry of the run is sent.
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArguments,
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
