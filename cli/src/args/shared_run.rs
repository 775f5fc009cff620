//! The options that `run`, `map` and `resume` have in common.

use clap::Args;

use super::concurrency::ConcurrencyArguments;
use super::display::DisplayArguments;
use super::hosts::HostsArguments;
use super::output::OutputArguments;
use super::stop::StopArguments;
use super::terms::TermsArguments;

/// The options for how jobs are run and reported.
#[derive(Debug, Default, Args)]
pub(crate) struct SharedRunArguments {
    /// How many jobs and workers run at once.
    #[command(flatten)]
    pub(crate) concurrency: ConcurrencyArguments,
    /// On which machines jobs run.
    #[command(flatten)]
    pub(crate) hosts: HostsArguments,
    /// The terms of jobs that do not set their own.
    #[command(flatten)]
    pub(crate) terms: TermsArguments,
    /// When the run stops before its jobs are done.
    #[command(flatten)]
    pub(crate) stop: StopArguments,
    /// Where results go, and in which format.
    #[command(flatten)]
    pub(crate) output: OutputArguments,
    /// What is written to stderr for people.
    #[command(flatten)]
    pub(crate) display: DisplayArguments,
}
