//! `ratchet man`.

use std::path::PathBuf;

use clap::Args;

/// Prints the man page, or writes one a verb to a folder.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ratchet man | man -l -\n  ratchet man ~/.local/share/man/man1"
)]
pub(crate) struct ManArguments {
    /// The folder; nothing prints ratchet's own page.
    pub(crate) folder: Option<PathBuf>,
}
