//! The flags of `ratchet play` that say as whom tasks run.

use std::path::PathBuf;

use clap::Args;

/// As whom tasks run.
#[derive(Debug, Args)]
#[command(next_help_heading = "As whom tasks run")]
pub(crate) struct PrivilegeArguments {
    /// Become another user where a task does not say otherwise.
    #[arg(short, long)]
    pub(crate) r#become: bool,
    /// The user whom tasks become (default: root).
    #[arg(long, value_name = "USER")]
    pub(crate) become_user: Option<String>,
    /// How tasks become that user; only `sudo` is supported.
    #[arg(long, value_name = "METHOD")]
    pub(crate) become_method: Option<String>,
    /// Ask for the password of sudo.
    #[arg(short = 'K', long)]
    pub(crate) ask_become_pass: bool,
    /// Read the password of sudo from this file.
    #[arg(
        long,
        visible_alias = "become-pass-file",
        value_name = "FILE",
        conflicts_with = "ask_become_pass"
    )]
    pub(crate) become_password_file: Option<PathBuf>,
}
