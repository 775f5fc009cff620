//! `ratchet queue`, and the options for the server of a queue.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::queue::ServerSettings;

/// The options for the server of a queue.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The queue")]
pub(crate) struct ServerArguments {
    /// The server of the queue, Redis or Valkey, as in `redis://HOST:6379/` (default: the setting `queue`).
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) queue: Option<String>,
    /// With what the keys of the queue begin on that server, where several queues can be (default: `ratchet`).
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) queue_prefix: Option<String>,
    /// The file with the password of the server. `RATCHET_QUEUE_PASSWORD` may have it instead; the user stands in the address.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) queue_password_file: Option<PathBuf>,
    /// The file with the certificates (PEM) of the authorities that may have signed that of the server, for `rediss://` (default: those
    /// that the system trusts).
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) queue_ca_file: Option<PathBuf>,
}

impl ServerArguments {
    /// Returns what was typed about the server.
    pub(crate) fn typed(&self) -> ServerSettings {
        ServerSettings {
            address: self.queue.clone(),
            prefix: self.queue_prefix.clone(),
            password_file: self.queue_password_file.clone(),
            ca_file: self.queue_ca_file.clone(),
        }
    }
}

const HELP: &str = "\
Examples:
  ratchet queue status --queue redis://jobs1/
  ratchet queue show nightly/build
  ratchet queue cancel nightly/build nightly/test

The jobs of a submission are called SUBMISSION/ID.";

/// Shows and steers a queue that nodes share.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct QueueArguments {
    /// What to do; `status` if nothing is said.
    #[command(subcommand)]
    pub(crate) action: Option<QueueAction>,
    /// How the answer is written.
    #[arg(long, value_name = "FORMAT", global = true, default_value = "human")]
    pub(crate) format: AnswerFormat,
    /// Where the queue is.
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// How an answer about a queue is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnswerFormat {
    /// For people.
    Human,
    /// As one JSON document.
    Json,
}

/// What is done with a queue.
#[derive(Debug, Subcommand)]
pub(crate) enum QueueAction {
    /// Show how many jobs wait and run, and how many nodes there are.
    Status,
    /// Show where jobs are.
    Show {
        /// The jobs, as in nightly/build, or submissions with all their jobs, as in nightly.
        #[arg(required = true, value_name = "JOB|SUBMISSION")]
        jobs: Vec<String>,
    },
    /// Tell why a job waits, where it runs, or how it ended.
    Explain {
        /// The job, as in nightly/build.
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Cancel jobs. Those that run are stopped by their nodes.
    Cancel {
        /// The jobs, as in nightly/build.
        #[arg(required = true, value_name = "JOB")]
        jobs: Vec<String>,
    },
    /// Let no job start until the queue is continued. What runs goes on, and jobs can be submitted.
    Pause,
    /// Let jobs start again.
    Continue,
    /// Let jobs that have ended without success wait again, with their attempts counted anew.
    Requeue {
        /// The jobs, as in nightly/build.
        #[arg(required = true, value_name = "JOB")]
        jobs: Vec<String>,
    },
    /// Forget jobs that have ended, with their results. Their names are free again.
    Purge {
        /// The jobs, as in nightly/build.
        #[arg(required = true, value_name = "JOB")]
        jobs: Vec<String>,
    },
    /// List the nodes that take jobs.
    Nodes,
    /// Make the queue with settings of its own, before anybody uses it. They are never changed.
    Create {
        /// How long a node may be unheard before its jobs go to others (default: 15s).
        #[arg(long, value_name = "DURATION", value_parser = crate::value::duration)]
        session: Option<Duration>,
        /// How long results and events are kept (default: 1d).
        #[arg(long, value_name = "DURATION", value_parser = crate::value::duration)]
        retention: Option<Duration>,
        /// How many jobs may wait and run; submitters wait while there are more (default: 1000000).
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        capacity: Option<u64>,
    },
}
