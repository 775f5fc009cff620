//! `ratchet config`.

use clap::{Args, Subcommand};

/// Shows the settings that count here.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  RATCHET_JOBS=4 ratchet config show")]
pub(crate) struct ConfigArguments {
    #[command(subcommand)]
    pub(crate) action: ConfigAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigAction {
    /// Shows each setting, its value, and where it comes from.
    Show,
}
