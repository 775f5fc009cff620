//! Options that choose jobs of a file.

use clap::Args;

use crate::job_file::{JobPattern, Partition, Selection};

/// The options for which jobs of a file are meant.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which jobs")]
pub(crate) struct SelectionArguments {
    /// Run only the jobs that this matches, and those that they need: `db*` or `test(db*)` by their ids, `group(slow)`,
    /// `task(resize)`. The id of a `for_each` or `matrix` means all its jobs. Several are all run. One that matches no job is an
    /// error.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) only: Vec<JobPattern>,
    /// Leave out the jobs that this matches, and those that need them. A pattern that matches no job is an error.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) skip: Vec<JobPattern>,
    /// Run one part of the jobs, as of four machines each: `slice:1/4` takes every fourth one, and `hash:1/4` the same ones
    /// whatever other jobs there are.
    #[arg(long, value_name = "PART")]
    pub(crate) partition: Option<Partition>,
}

impl SelectionArguments {
    /// Returns the selection that these options make.
    pub(crate) fn selection(&self) -> Selection {
        Selection {
            only: self.only.clone(),
            skip: self.skip.clone(),
            partition: self.partition,
        }
    }
}
