//! The flags of `ratchet play` by which it lists or checks instead of running.

use clap::Args;

/// What is listed or checked instead of running the playbooks.
#[derive(Debug, Args)]
#[command(next_help_heading = "Instead of running")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag that can be typed with any other"
)]
pub(crate) struct ListingArguments {
    /// Check the playbooks, with all that they import, and run nothing.
    #[arg(long)]
    pub(crate) syntax_check: bool,
    /// List the hosts of each play.
    #[arg(long)]
    pub(crate) list_hosts: bool,
    /// List the tasks of each play.
    #[arg(long)]
    pub(crate) list_tasks: bool,
    /// List the tags of each play.
    #[arg(long)]
    pub(crate) list_tags: bool,
}

impl ListingArguments {
    /// Whether something is to be listed or checked instead of run.
    pub(crate) fn is_any(&self) -> bool {
        self.syntax_check || self.list_hosts || self.list_tasks || self.list_tags
    }
}
