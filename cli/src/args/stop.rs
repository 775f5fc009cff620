//! Options that end a run before its jobs are done.

use std::time::Duration;

use clap::Args;

use crate::value::{self, Amount};

/// The options for when a run stops before its jobs are done.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "When to stop")]
pub(crate) struct StopArguments {
    /// Stop after N failed jobs, or when N% of at least 20 ended jobs have failed; 0 runs everything (the default).
    #[arg(long, value_name = "N|N%", value_parser = value::amount)]
    pub(crate) max_fail: Option<Amount>,
    /// How long the whole run may take, without the time from Ctrl-Z to `fg`. Then no new jobs start, and running ones are
    /// asked to stop.
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub(crate) deadline: Option<Duration>,
    /// How long running jobs get when the run is asked to stop (default: 10s).
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub(crate) grace: Option<Duration>,
}
