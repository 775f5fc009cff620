//! The flags of `ratchet play` that say how tasks run.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;

/// How tasks run.
#[derive(Debug, Args)]
#[command(next_help_heading = "How tasks run")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag that can be typed with any other"
)]
pub(crate) struct TaskArguments {
    /// Change nothing: tasks say what they would change.
    #[arg(short = 'C', long)]
    pub(crate) check: bool,
    /// Show how files change.
    #[arg(short = 'D', long)]
    pub(crate) diff: bool,
    /// How many tasks run at once on all hosts (default: 50).
    #[arg(short, long, value_name = "N")]
    pub(crate) forks: Option<NonZeroU32>,
    /// Start at the task of this name, in which `*` stands for anything.
    #[arg(long, value_name = "NAME")]
    pub(crate) start_at_task: Option<String>,
    /// Ask before each task whether to do it: y, n, or c for this one and all that follow.
    #[arg(long, conflicts_with = "format")]
    pub(crate) step: bool,
    /// Run the handlers that were notified on hosts that have failed, too.
    #[arg(long)]
    pub(crate) force_handlers: bool,
    /// More folders of modules, with `:` between them.
    #[arg(short = 'M', long, value_name = "PATHS", value_delimiter = ':')]
    pub(crate) module_path: Vec<PathBuf>,
}
