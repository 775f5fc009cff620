//! `ratchet resume`.

use std::path::PathBuf;

use clap::Args;

use super::record::StateArguments;
use super::shared_run::SharedRunArguments;
use super::telemetry::TelemetryArguments;
use crate::exit;

const HELP: &str = "\
Examples:
  ratchet resume
  ratchet resume 1rtfzfx -j 2 --retries 3
  ratchet resume --events resumed.events.jsonl";

/// Continues a run that was interrupted, or whose jobs failed.
///
/// Jobs that succeeded are not run again, unless a job that they need is; all others are. The options of the run
/// apply again, unless they are typed anew. Jobs or items that came from stdin have to be given again, all of
/// them, as in `ratchet resume 1rtfzfx < items`.
#[derive(Debug, Args)]
#[command(after_help = [HELP, exit::HELP].join("\n\n"))]
pub(crate) struct ResumeArguments {
    /// Which run, as `ratchet runs` lists it; the last one, if none is named.
    pub(crate) run: Option<String>,
    /// Settings of the resumed run, which replace those of the interrupted one.
    #[command(flatten)]
    pub(crate) common: SharedRunArguments,
    /// Write each event of this part of the run to a file as a JSON line (`ratchet schema events` describes the lines). Without
    /// it, a run that was begun with `--events` appends to its file.
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
    /// Where telemetry of the resumed run is sent.
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArguments,
    /// Where the record of the run lies.
    #[command(flatten)]
    pub(crate) state: StateArguments,
}
