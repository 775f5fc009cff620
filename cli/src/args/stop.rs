//! Options that say when a run ends before its jobs are done.

use std::time::Duration;

use clap::Args;

use crate::value::{self, Amount};

#[derive(Debug, Args)]
#[command(next_help_heading = "When to stop")]
pub(crate) struct StopArguments {
    /// Stop when so many jobs have failed, or such a share of those that ended, once 20 have; 0 runs everything (the
    /// default).
    #[arg(long, value_name = "N|N%", value_parser = value::amount)]
    pub(crate) max_fail: Option<Amount>,
    /// How long the whole run may take; then nothing new starts and what runs is asked to stop.
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub(crate) deadline: Option<Duration>,
    /// How long running jobs get when the run is asked to stop (default: 10s).
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub(crate) grace: Option<Duration>,
}
