//! The options that `run`, `map` and `resume` have in common.

use clap::Args;

use super::concurrency::ConcurrencyArguments;
use super::display::DisplayArguments;
use super::output::OutputArguments;
use super::stop::StopArguments;
use super::terms::TermsArguments;

/// The options for how jobs are run and reported.
#[derive(Debug, Args)]
pub(crate) struct CommonArguments {
    #[command(flatten)]
    pub(crate) concurrency: ConcurrencyArguments,
    #[command(flatten)]
    pub(crate) terms: TermsArguments,
    #[command(flatten)]
    pub(crate) stop: StopArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
    #[command(flatten)]
    pub(crate) display: DisplayArguments,
}
