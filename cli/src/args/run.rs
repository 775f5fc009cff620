//! `ratchet run`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::record::RecordArguments;
use super::selection::SelectionArguments;
use super::shared_run::SharedRunArguments;
use super::terms::{VARIABLES_HELP, cache_help};
use crate::exit;
use crate::job_file::{GroupPattern, Protocol};
use crate::value;

const HELP: &str = "\
Examples:
  ratchet run jobs.yaml
  ratchet run tests.yaml --repeat 50 --only 'db*'
  ratchet run jobs.yaml -j 8 --format junit -o results.xml
  echo '{\"task\":\"echo\",\"input\":\"hello\"}' | ratchet run -w 'ratchet worker'
  jq -c '{task: \"name\", input: .}' things.json |
    ratchet run -w 'jq -c --unbuffered .name' --protocol lines";

/// Runs the jobs of a file, or jobs as JSON lines from stdin.
///
/// The name of a file tells whether it is YAML, JSON, TOML or JSON lines. All errors of a file are reported
/// at once, and nothing runs. In JSON lines, a line that makes no job is a failed result, and the rest goes on.
#[derive(Debug, Args)]
#[command(
    after_help = [HELP, exit::HELP].join("\n\n"),
    after_long_help = [HELP, VARIABLES_HELP, &cache_help(), exit::HELP].join("\n\n")
)]
pub(crate) struct RunArguments {
    /// The job file; `-`, or nothing, is JSON lines from stdin.
    pub(crate) file: Option<PathBuf>,
    /// One worker command for every task of a stream, split into words as a shell does.
    #[arg(short, long, value_name = "COMMAND")]
    pub(crate) worker: Option<String>,
    /// The protocol of that worker.
    #[arg(long, requires = "worker", value_name = "PROTOCOL")]
    pub(crate) protocol: Option<Protocol>,
    /// With `--protocol lines`: how many lines that worker prints before it answers anything, as a banner does.
    #[arg(long, value_name = "N", requires = "protocol", default_value_t = 0)]
    pub(crate) skip_lines: u64,
    /// Give jobs the terminal: it is their stdin, and Ctrl-C and Ctrl-Z reach them. One job runs at a time, and no
    /// progress is shown. Output is gathered as without it, so a question has to be written to /dev/tty to be seen at
    /// once.
    #[arg(long, conflicts_with = "worker")]
    pub(crate) tty: bool,
    #[command(flatten)]
    pub(crate) selection: SelectionArguments,
    /// When a job of this group fails, skip the jobs of the group that have not started, and cancel those that run: --group-fail-fast db,
    /// or --group-fail-fast '*' for every group.
    #[arg(long, value_name = "GROUP", help_heading = "When to stop")]
    pub(crate) group_fail_fast: Vec<GroupPattern>,
    /// Print the ids of the jobs that would run, one a line, and run nothing.
    #[arg(long, help_heading = "Which jobs")]
    pub(crate) list: bool,
    /// Run all jobs so many times: --repeat 50. Each repetition is a job of its own, as in `test#7`; the summary tells how many of
    /// how many failed, with --format json as `repeated`. No result is used again.
    #[arg(long, value_name = "N", value_parser = value::positive, conflicts_with_all = ["stress", "list"], help_heading = "Which jobs")]
    pub(crate) repeat: Option<NonZeroU32>,
    /// The same for so long: --stress 10m. Rounds are begun until then, and the last one is finished.
    #[arg(long, value_name = "DURATION", value_parser = value::duration, conflicts_with = "list", help_heading = "Which jobs")]
    pub(crate) stress: Option<Duration>,
    /// Stop at the first line of a stream that makes no job; the exit code is 2.
    #[arg(long)]
    pub(crate) strict: bool,
    /// How the jobs are run and reported.
    #[command(flatten)]
    pub(crate) common: SharedRunArguments,
    /// Whether and where the run is recorded.
    #[command(flatten)]
    pub(crate) record: RecordArguments,
}
