//! `ratchet top`.

use clap::Args;

use super::record::StateArguments;

const HELP: &str = "\
Examples:
  ratchet top
  ratchet top 1ksd

It shows what runs, what jobs wait for, workers, limits, failures, the rate of the last two minutes and what the chosen job \
prints. Without RUN it shows the run in progress, or lists them if there are several. The run goes on when the view ends. \
`ratchet runs show` prints the same figures once.

Keys:
  Up Down  choose a job; its output is shown below
  Tab      go to the jobs that have failed, or back
  c        cancel the chosen job, after a question
  p        pause the run, or let it go on
  + - s    run one job more or one less at once, or type how many
  ?        list all keys
  q        end the view; Ctrl-Z stops it";

/// Shows a run in progress on the whole terminal, with keys that steer it.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct TopArguments {
    /// Which run, by the beginning of its id; the one in progress, if none is named.
    pub(crate) run: Option<String>,
    /// Where the records of runs are.
    #[command(flatten)]
    pub(crate) state: StateArguments,
}
