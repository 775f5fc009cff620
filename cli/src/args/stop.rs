//! Options that end a run before its jobs are done.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::value::{self, Amount};

/// What it means for the run that a job succeeded only after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum FlakyResult {
    /// It counts as any other success.
    #[default]
    Pass,
    /// The run fails.
    Fail,
}

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
    /// Whether a job that succeeded only after a failed attempt lets the run fail: with `fail`, the exit code is 100. Such jobs are
    /// told apart in any case: --retries 2 --flaky fail.
    #[arg(long, value_name = "RESULT", value_enum)]
    pub(crate) flaky: Option<FlakyResult>,
    /// How long running jobs get when the run is asked to stop (default: 10s).
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub(crate) grace: Option<Duration>,
}
