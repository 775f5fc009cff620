//! `ratchet runs`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::record::StateArguments;
use super::runs_live::{
    self, AddArguments, AnswerFormat, CancelArguments, LiveRunArguments, SetArguments,
    TailArguments,
};
use crate::report::ResultFormat;
use crate::value;

const HELP: &str = "\
Examples:
  ratchet runs
  ratchet runs list --limit 5 --format json
  ratchet runs show
  ratchet runs show 1ksd --format jsonl
  ratchet runs report -o report.html
  ratchet runs explain
  ratchet runs explain 1ksd build
  ratchet runs tail 1ksd build --follow
  ratchet runs set --jobs 8 --limit api=5/s
  ratchet runs add 1ksd more.yaml
  ratchet runs rm 1ksdg00 1ksdg01
  ratchet runs rm --older-than 7d

A run may be named by the beginning of its id.

When a run ends, old records are removed: those that were not written to for 30 days (the setting keep-age), and, \
if there are more than 200 runs (keep-runs) or they take more than 512MiB (keep-size), the oldest of those that \
finished, first those that succeeded. Running ones stay, and interrupted ones are removed by their age alone. \
If a removed run could still have been resumed, stderr names it. 0 is no limit, as in keep-age=0s.";

const REPORT_HELP: &str = "\
Examples:
  ratchet runs report -o report.html
  ratchet runs report 1ksd --format trace -o trace.json
  ratchet runs report --format junit --outputs -o results.xml

The page and the document tell each job of up to 5000. Of more jobs they tell the failed, the flaky and the 1000 slowest ones, \
and figures of all.";

const EXPLAIN_HELP: &str = "\
Examples:
  ratchet runs explain
  ratchet runs explain 1ksd build

A job waits for the last thing that it gets: a need, a slot, a worker, the lock of a host, a limit. Whoever gave it comes \
before it in the chain. What would have made the run shorter is found by a simulation: the scheduler decides once more, with \
the times that the jobs took.";

const LIST_HELP: &str = "\
Where stdout is no terminal, there is a line a run of these fields, with tabs between them; `-` stands for \
an unknown field:
  id, when it began (UTC), state, jobs that ended, succeeded, failed, not done, what was run
The states are running, finished, interrupted and unreadable. `failed` counts those that failed, timed out \
or crashed, `not done` those that were cancelled or skipped.

As JSON, a list of objects is printed, the last run first: id, state, live (of a run that can be asked and steered), started_at, command, cwd, recorded (how many \
outcomes), summary and ended_at (of a finished run), error (of an unreadable one). Unknown fields are null.";

/// Lists the recorded runs, shows one, reports on it or explains it, or removes records.
#[derive(Debug, Args)]
#[command(after_help = HELP, args_conflicts_with_subcommands = true)]
pub(crate) struct RunsArguments {
    /// What is done with the runs; without, they are listed.
    #[command(subcommand)]
    pub(crate) action: Option<RunsAction>,
    /// How the runs are listed, if no action is named.
    #[command(flatten)]
    pub(crate) list: ListArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunsAction {
    /// Lists the runs, the last one first.
    #[command(after_help = LIST_HELP)]
    List(ListArguments),
    /// Shows the results of a run, or those that it has so far: for people what did not succeed, for programs every
    /// result.
    Show(ShowArguments),
    /// Says why a run took as long as it did: what its jobs waited for, which chain of jobs set its length, and what would
    /// have made it shorter. Of a job that has not ended, it says where the job is, and why it does not run.
    #[command(after_help = EXPLAIN_HELP)]
    Explain(RunsExplainArguments),
    /// Writes a report on a run, of what has ended so far if it goes on: a page, a trace, a summary, a document, test results.
    #[command(after_help = REPORT_HELP)]
    Report(ReportArguments),
    /// Shows what a running job has printed so far, or goes on to print.
    #[command(after_help = runs_live::TAIL_HELP)]
    Tail(TailArguments),
    /// Cancels jobs of a run that goes on; the run goes on.
    #[command(after_help = runs_live::CANCEL_HELP)]
    Cancel(CancelArguments),
    /// Starts no more jobs of a run until it is continued; what runs goes on.
    Pause(LiveRunArguments),
    /// Lets a run go on that was paused.
    Continue(LiveRunArguments),
    /// Changes how many jobs of a run go on at once, or what its limits allow.
    #[command(after_help = runs_live::SET_HELP)]
    Set(SetArguments),
    /// Adds jobs to a run that goes on.
    #[command(after_help = runs_live::ADD_HELP)]
    Add(AddArguments),
    /// Removes the records of runs; those that are named have to exist, and none may be running.
    Rm(RemoveArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// List at most so many runs, the last ones.
    #[arg(long, value_name = "N", value_parser = value::positive)]
    pub(crate) limit: Option<NonZeroU32>,
    /// How runs are listed (default: for people on a terminal, else fields with tabs between them).
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<ListFormat>,
    /// Where the records of the runs lie.
    #[command(flatten)]
    pub(crate) state: StateArguments,
}

/// How runs are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// For people: an aligned table.
    Human,
    /// A line a run, with tabs between its fields.
    Tsv,
    /// One JSON list of objects.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArguments {
    /// The runs to remove.
    #[arg(value_name = "RUN", required_unless_present_any = ["older_than", "all"], conflicts_with_all = ["older_than", "all"])]
    pub(crate) runs: Vec<String>,
    /// Remove all runs that began longer ago than this, as in 7d, except those that are running.
    #[arg(long, value_name = "DURATION", value_parser = value::duration, conflicts_with = "all")]
    pub(crate) older_than: Option<Duration>,
    /// Remove all runs, except those that are running.
    #[arg(long)]
    pub(crate) all: bool,
    /// Where the records of the runs lie.
    #[command(flatten)]
    pub(crate) state: StateArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    /// Which run; the last one, if none is named.
    pub(crate) run: Option<String>,
    /// What is written (default: what the name of the file says, else html).
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<ReportFormat>,
    /// Write to a file instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// With junit: also write what jobs printed that succeeded.
    #[arg(long)]
    pub(crate) outputs: bool,
    /// Add Markdown to the file `$GITHUB_STEP_SUMMARY`, and print annotations for failed jobs.
    #[arg(long, conflicts_with_all = ["format", "output", "outputs"])]
    pub(crate) github: bool,
    /// Where the record of the run lies.
    #[command(flatten)]
    pub(crate) state: StateArguments,
}

/// What a report on a run is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// One page that needs no network: timeline, waits, failures, slow and flaky jobs.
    Html,
    /// Trace events, for Perfetto and `chrome://tracing`.
    Trace,
    /// A summary in Markdown.
    Markdown,
    /// A JSON document with the content of the page.
    Json,
    /// Test results in XML, as build servers read them.
    Junit,
}

#[derive(Debug, Args)]
pub(crate) struct RunsExplainArguments {
    /// Which run; the last one, if none is named.
    pub(crate) run: Option<String>,
    /// A job of the run, to say what only this one waits for, or has waited for.
    pub(crate) job: Option<String>,
    /// How the answer about a job that has not ended is written.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: AnswerFormat,
    /// Where the record of the run lies.
    #[command(flatten)]
    pub(crate) state: StateArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// Which run; the last one, if none is named.
    pub(crate) run: Option<String>,
    /// How the results are written (default: for people).
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<ResultFormat>,
    /// Write to a file instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Where the record of the run lies.
    #[command(flatten)]
    pub(crate) state: StateArguments,
}
