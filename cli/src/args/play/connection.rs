//! The flags of `ratchet play` that say how hosts are reached.

use std::path::PathBuf;

use clap::Args;

/// How hosts are reached.
#[derive(Debug, Args)]
#[command(next_help_heading = "How hosts are reached")]
pub(crate) struct ConnectionArguments {
    /// Log in as this user.
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// The file with the key of that user.
    #[arg(long, visible_alias = "key-file", value_name = "FILE")]
    pub(crate) private_key: Option<PathBuf>,
    /// Ask for the password of that user.
    #[arg(short = 'k', long)]
    pub(crate) ask_pass: bool,
    /// Read the password of that user from this file.
    #[arg(
        long,
        visible_alias = "conn-pass-file",
        value_name = "FILE",
        conflicts_with = "ask_pass"
    )]
    pub(crate) connection_password_file: Option<PathBuf>,
    /// The kind of connection: ssh, local or docker.
    #[arg(short, long, value_name = "KIND")]
    pub(crate) connection: Option<String>,
    /// How many seconds it may take to connect.
    #[arg(short = 'T', long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// More arguments for ssh.
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub(crate) ssh_common_args: Option<String>,
}
