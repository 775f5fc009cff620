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
    /// The queue whose nodes do the jobs.
    #[cfg(feature = "queue")]
    #[command(flatten)]
    pub(crate) through: RunQueueArguments,
}

/// The options for a run whose jobs the nodes of a queue do.
#[cfg(feature = "queue")]
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "The queue")]
pub(crate) struct RunQueueArguments {
    /// Have the nodes of this queue do the jobs, on Redis or Valkey, as in `redis://HOST:6379/`, and follow them. Without URL it is
    /// the queue of the setting `queue`.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    pub(crate) queue: Option<String>,
    /// With what the keys of the queue begin on its server, where several queues can be (default: `ratchet`).
    #[arg(long, value_name = "NAME")]
    pub(crate) queue_prefix: Option<String>,
    /// The file with the password of the server. `RATCHET_QUEUE_PASSWORD` may have it instead; the user stands in the address.
    #[arg(long, value_name = "FILE")]
    pub(crate) queue_password_file: Option<PathBuf>,
    /// The file with the certificates (PEM) of the authorities that may have signed that of the server, for `rediss://` (default: those
    /// that the system trusts).
    #[arg(long, value_name = "FILE")]
    pub(crate) queue_ca_file: Option<PathBuf>,
    /// Follow the jobs of this submission, which `ratchet submit` or another call has put into the queue.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["file", "name", "label", "unservable_after", "worker", "list"])]
    pub(crate) attach: Option<String>,
    /// The name and the labels of the jobs.
    #[command(flatten)]
    pub(crate) submission: super::submit::SubmissionArguments,
}

#[cfg(feature = "queue")]
impl RunQueueArguments {
    /// Whether the nodes of a queue do the jobs.
    pub(crate) fn is_wanted(&self) -> bool {
        self.queue.is_some() || self.attach.is_some()
    }

    /// Returns what was typed about the server.
    pub(crate) fn typed(&self) -> crate::queue::ServerSettings {
        crate::queue::ServerSettings {
            address: self.queue.clone().filter(|address| !address.is_empty()),
            prefix: self.queue_prefix.clone(),
            password_file: self.queue_password_file.clone(),
            ca_file: self.queue_ca_file.clone(),
        }
    }

    /// Returns the first option that has an effect only with a queue, if one was typed without it.
    pub(crate) fn idle(&self) -> Option<&'static str> {
        let typed = [
            ("--queue-prefix", self.queue_prefix.is_some()),
            ("--queue-password-file", self.queue_password_file.is_some()),
            ("--queue-ca-file", self.queue_ca_file.is_some()),
            (
                "--unservable-after",
                self.submission.unservable_after.is_some(),
            ),
            ("--name", self.submission.name.is_some()),
            ("--label", !self.submission.label.is_empty()),
        ];
        let mut typed = typed.into_iter().filter(|(_, is_typed)| *is_typed);
        typed
            .next()
            .map(|(option, _)| option)
            .filter(|_| !self.is_wanted())
    }
}
