//! `ratchet resume`.

use clap::Args;

use super::record::StateArguments;
use super::shared_run::SharedRunArguments;
use crate::exit;

const HELP: &str = "\
Examples:
  ratchet resume
  ratchet resume 1rtfzfx -j 2 --retries 3";

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
    /// Where the record of the run lies.
    #[command(flatten)]
    pub(crate) state: StateArguments,
}
