//! `ratchet agent`.

use clap::Args;

/// Starts processes for a ratchet on another host, which speaks to it on stdin and stdout.
#[derive(Debug, Args)]
#[command(hide = true)]
pub(crate) struct AgentArguments {
    /// Print the hash of this program, by which other hosts know it, and end.
    #[arg(long)]
    pub(crate) hash: bool,
}
