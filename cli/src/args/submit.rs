//! `ratchet submit`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ratchet_queue::Label;
use ratchet_runtime::Resource;

use super::display::DisplayArguments;
use super::queue::ServerArguments;
use super::selection::SelectionArguments;
use super::terms::TermsArguments;
use crate::job_file;
use crate::value;

const HELP: &str = "\
Examples:
  ratchet submit jobs.yaml --queue redis://jobs1/ --name nightly-2026-03-01
  ratchet run --attach nightly-2026-03-01 --queue redis://jobs1/

It prints the name of the submission to stdout. Submitting the same jobs again under one name does not run them again, so it can be
repeated if it broke off.

Exit codes: 0 when all jobs are in the queue; 1 an error of the server; 2 usage or file error, nothing was submitted; 4 no jobs;
100 when the queue has refused some.";

/// Puts the jobs of a file into a queue, for the nodes that take jobs from it, and goes.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct SubmitArguments {
    /// The job file; `-`, or nothing, is JSON lines from stdin.
    pub(crate) file: Option<PathBuf>,
    /// Where the queue is.
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    /// How the jobs are named in the queue.
    #[command(flatten)]
    pub(crate) submission: SubmissionArguments,
    /// Stop at the first line of a stream that makes no job; the exit code is 2.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Which jobs of the file.
    #[command(flatten)]
    pub(crate) selection: SelectionArguments,
    /// The terms of jobs that do not set their own.
    #[command(flatten)]
    pub(crate) terms: TermsArguments,
    /// Declare what jobs can have for themselves, over all nodes: `license=2`. A job takes some by --use, or by `resources` in its
    /// file.
    #[arg(long, value_name = "NAME=WHAT", value_parser = job_file::typed_resource, help_heading = "How much at once")]
    pub(crate) resource: Vec<(String, Resource)>,
    /// What is shown on stderr.
    #[command(flatten)]
    pub(crate) display: DisplayArguments,
}

/// The options for the jobs of a submission.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The queue")]
pub(crate) struct SubmissionArguments {
    /// The name of the submission, with which the names of its jobs begin (default: one that nobody else has).
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Let only nodes with this label do the jobs. May be repeated.
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Vec<Label>,
    /// Let a job fail that no living node could do for this long: 10m. Without it such jobs wait, and `ratchet queue explain` says so.
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub(crate) unservable_after: Option<Duration>,
}
