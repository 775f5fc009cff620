//! `ratchet node`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ratchet_queue::Label;

use super::concurrency::ConcurrencyArguments;
use super::display::DisplayArguments;
use super::queue::ServerArguments;
use super::shared_run::SharedRunArguments;
use super::stop::StopArguments;
use crate::job_count::{self, JobCount};
use crate::value;

const HELP: &str = "\
Examples:
  ratchet node --queue redis://jobs1/ -j 8
  ratchet node --queue redis://jobs1/ --config workers.yaml --label gpu
  ratchet node --queue redis://jobs1/ --drain

The first SIGINT or SIGTERM takes no more jobs, gives back what has not begun, and finishes what runs; the second stops
what runs, and its jobs go to others; the third kills it.

If the node cannot renew its session with the server, it ends all that it runs before the server may give it to others.
Its keeper does so if the node itself is stopped or hangs.

Exit codes: 0 when it has left; 1 an error of the server or the machine; 2 usage; 130 and 143 after a signal.";

/// Takes jobs from a queue that many nodes share, and does them.
///
/// A node runs commands, and the tasks of the workers in its config file. Commands get the environment of the node.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct NodeArguments {
    /// Where the queue is.
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    /// How many jobs run at once (default: as many as there are cores): a number, `50%` of the cores, `+1` or `-1` beside them, or `0`
    /// for as many as the limits of open files and processes allow.
    #[arg(short, long, value_name = "N", value_parser = job_count::fixed, allow_hyphen_values = true)]
    pub(crate) jobs: Option<JobCount>,
    /// The file with the workers of this node: the section `workers` of a job file. Its other sections are for submitters.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Leave when no job waits and nothing runs here any more.
    #[arg(long)]
    pub(crate) drain: bool,
    /// What the node is called (default: the name of this machine).
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// What this node has that jobs can ask for, by `submit --label`. May be repeated.
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Vec<Label>,
    /// How many processes each kind of worker has, if its section sets no `size` (default: as many as jobs run at once).
    #[arg(long, value_name = "N", value_parser = value::positive)]
    pub(crate) workers: Option<NonZeroU32>,
    /// How long a job that is cancelled or stopped gets to end (default: 10s).
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub(crate) grace: Option<Duration>,
    /// Serve figures for Prometheus at this address: a port of this machine alone, as in 9464, or HOST:PORT.
    #[arg(long, value_name = "ADDR", value_parser = metrics_address)]
    pub(crate) metrics: Option<String>,
    /// What is shown on stderr.
    #[command(flatten)]
    pub(crate) display: DisplayArguments,
}

/// Parses an address to serve at. A port alone is one of this machine.
fn metrics_address(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    match port.parse::<u16>() {
        Ok(port) => Ok(format!("{host}:{port}")),
        Err(_) => Err("write a port, as in 9464, or HOST:PORT".to_owned()),
    }
}

impl NodeArguments {
    /// Returns those options that a run has, too.
    pub(crate) fn of_run(&self) -> SharedRunArguments {
        SharedRunArguments {
            concurrency: ConcurrencyArguments {
                jobs: self.jobs.clone(),
                workers: self.workers,
                ..ConcurrencyArguments::default()
            },
            stop: StopArguments {
                grace: self.grace,
                ..StopArguments::default()
            },
            display: self.display.clone(),
            ..SharedRunArguments::default()
        }
    }
}
