//! `ratchet sem`.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;
use ratchet_runtime::ParallelizationHint;

use super::record::StateArguments;
use super::terms::hint;
use crate::value;

/// Runs a command as soon as the semaphore of that name has a place, and lets it run in the background.
///
/// All calls of this user with one name share one semaphore, however they were started. A call waits for its turn, starts
/// the command and ends. The command keeps its place until it and all that it has started have ended, also if ratchet
/// was killed: the system frees the place.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    for file in *.log; do ratchet sem -j4 -- gzip \"$file\"; done; ratchet sem --wait\n  \
    ratchet sem --name apt --fg -- apt-get install -y jq\n  \
    ratchet sem --name api --hint '{rate_limited: {requests_per_second: 2}}' -j8 -- ./fetch\n\n\
Exit codes: 0 when the command was started, and with --fg the code of the command; 2 usage; 102 when --timeout was over.\n\
The command is told the number of its place: RATCHET_SLOT, from 1 to -j.")]
pub(crate) struct SemArguments {
    /// The command to run, without a shell.
    #[arg(value_name = "COMMAND", required_unless_present = "wait", conflicts_with = "wait", num_args = 1.., trailing_var_arg = true)]
    pub(crate) words: Vec<OsString>,
    /// Which semaphore. Also --id.
    #[arg(
        short,
        long,
        value_name = "NAME",
        visible_alias = "id",
        default_value = "default"
    )]
    pub(crate) name: String,
    /// How many commands of this semaphore run at once.
    #[arg(short, long, value_name = "N", value_parser = value::positive, default_value = "1")]
    pub(crate) jobs: NonZeroU32,
    /// How parallel the command may be: `host_exclusive` or `global_exclusive` for one such command at a time beside the
    /// others, `alone` for none beside it, or `{rate_limited: {requests_per_second: 5}}` for so many starts a second.
    #[arg(long, value_name = "HINT", value_parser = hint)]
    pub(crate) hint: Option<ParallelizationHint>,
    /// How long to wait for a place, as in 30s. Also --semaphore-timeout.
    #[arg(long, value_name = "DURATION", value_parser = value::duration, visible_alias = "semaphore-timeout")]
    pub(crate) timeout: Option<Duration>,
    /// Run the command in the foreground, in the place of ratchet: it has the terminal, stdin and its exit code.
    #[arg(long, conflicts_with = "wait")]
    pub(crate) fg: bool,
    /// Start nothing, and wait until the commands have ended that run now.
    #[arg(long, conflicts_with_all = ["jobs", "hint"])]
    pub(crate) wait: bool,
    /// Where the locks are kept.
    #[command(flatten)]
    pub(crate) state: StateArguments,
}
