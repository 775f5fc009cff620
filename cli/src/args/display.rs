//! Options for what people see on stderr.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use crate::style::When;

/// The options for what is written to stderr for people.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What is shown on stderr")]
pub(crate) struct DisplayArguments {
    /// Show progress: `auto` does if stderr is a terminal; `always` prints plain lines elsewhere.
    #[arg(long, value_name = "WHEN")]
    pub(crate) progress: Option<When>,
    /// The same as --progress always. Also --eta.
    #[arg(long, visible_alias = "eta", conflicts_with_all = ["progress", "quiet"])]
    pub(crate) bar: bool,
    /// Use colours: `auto` does on a terminal, unless `NO_COLOR` is set or TERM is `dumb`.
    #[arg(long, value_name = "WHEN")]
    pub(crate) color: Option<When>,
    /// Show no progress and no summary, only errors.
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Log more, and show all figures at the end; repeat it for even more.
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Write the log to a file instead of stderr.
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
}

impl DisplayArguments {
    /// Returns when progress is shown, if that was typed.
    pub(crate) fn progress(&self) -> Option<When> {
        if self.bar {
            return Some(When::Always);
        }
        self.progress
    }
}
