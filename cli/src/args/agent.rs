//! `ratchet agent`.

use clap::Args;

/// Starts processes for a ratchet on another host, which speaks to it on stdin and stdout.
#[derive(Debug, Args)]
#[command(hide = true)]
pub(crate) struct AgentArguments {
    /// Print the hash of this program, by which other hosts know it, and end.
    #[arg(long)]
    pub(crate) hash: bool,

    /// Be the keeper of the agent that starts this, with which it speaks on stdin. Stdout is the list of what is kept.
    #[arg(long, conflicts_with = "hash")]
    pub(crate) keeper: bool,
}
