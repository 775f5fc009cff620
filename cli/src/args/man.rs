//! `ratchet man`.

use std::path::PathBuf;

use clap::Args;

/// Prints a man page, or writes one a verb to a folder.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ratchet man | man -l -\n  ratchet man run | man -l -\n  ratchet man ~/.local/share/man/man1"
)]
pub(crate) struct ManArguments {
    /// The verb whose page is printed, as in `run` or `runs show`; or a folder that exists or has a `/` in its name,
    /// into which all pages are written. Without it, ratchet's own page is printed.
    #[arg(value_name = "VERB|FOLDER")]
    pub(crate) what: Vec<PathBuf>,
}
