//! `ratchet config`.

use clap::{Args, Subcommand};

/// Shows the settings, and where each comes from.
///
/// A flag comes first, then a variable `RATCHET_..`, then the project's `ratchet.toml` (the nearest
/// one in this folder or above, up to the root of the repository or your home folder), then the
/// user's `ratchet/config.toml` in the XDG config folder, then the default.
///
/// A project's file is used only if it and its folder belong to you or root, and nobody else may
/// write them (your private group may). `RATCHET_TRUST` names folders that are used all the same,
/// with colons between them, and so does `trust` in your own config file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ratchet config show\n  RATCHET_JOBS=4 ratchet config show")]
pub(crate) struct ConfigArguments {
    /// What is done with the settings.
    #[command(subcommand)]
    pub(crate) action: ConfigAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigAction {
    /// Shows each setting, its value, and where it comes from.
    Show {
        /// Print one JSON document instead of a table.
        #[arg(long)]
        json: bool,
    },
}
