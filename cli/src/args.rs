//! The arguments of every verb, a file each, and the groups of options that several verbs share.
//!
//! Nothing is decided here. An option that was not typed is `None`. Then the environment, the config files and the
//! defaults apply, which `session` puts together.

pub(crate) mod agent;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod concurrency;
pub(crate) mod config;
pub(crate) mod display;
pub(crate) mod help;
pub(crate) mod hosts;
pub(crate) mod hosts_command;
pub(crate) mod inventory;
pub(crate) mod man;
pub(crate) mod map;
#[cfg(feature = "queue")]
pub(crate) mod node;
pub(crate) mod other_programs;
pub(crate) mod output;
pub(crate) mod play;
#[cfg(feature = "queue")]
pub(crate) mod queue;
pub(crate) mod record;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod runs_live;
pub(crate) mod schema;
pub(crate) mod selection;
pub(crate) mod sem;
pub(crate) mod shared_run;
pub(crate) mod stop;
#[cfg(feature = "queue")]
pub(crate) mod submit;
pub(crate) mod telemetry;
pub(crate) mod terms;
pub(crate) mod top;
pub(crate) mod worker;

use clap::{Parser, Subcommand};

use crate::exit;
use crate::style::When;

const HELP: &str = "\
Examples:
  seq 100 | ratchet map -- echo number {}
  ratchet run jobs.yaml
  ratchet resume
  ratchet help run
  ratchet help job-file
  ratchet help parallel, ratchet help xargs: for those who know these";

const SIGNALS: &str = "\
Signals, while jobs run:
  SIGINT, SIGTERM  the first lets running jobs finish within --grace, the second asks them
                   to stop, the third kills them
  SIGUSR1          prints what runs, and what waits for what, to stderr; so does the key t
                   on a terminal";

/// Runs jobs in parallel on supervised worker processes: jobs in, results out, nothing lost.
#[derive(Debug, Parser)]
#[command(name = "ratchet", version, disable_help_subcommand = true, after_help = [HELP, SIGNALS, exit::HELP].join("\n\n"))]
pub(crate) struct Arguments {
    /// What the call does; each verb has arguments of its own.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What a call does, with the arguments for it.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Run(Box<run::RunArguments>),
    Map(Box<map::MapArguments>),
    Resume(Box<resume::ResumeArguments>),
    #[cfg(feature = "queue")]
    Submit(Box<submit::SubmitArguments>),
    #[cfg(feature = "queue")]
    Node(Box<node::NodeArguments>),
    #[cfg(feature = "queue")]
    Queue(queue::QueueArguments),
    Runs(runs::RunsArguments),
    Top(top::TopArguments),
    Cache(cache::CacheArguments),
    Sem(sem::SemArguments),
    Worker(worker::WorkerArguments),
    Agent(agent::AgentArguments),
    Check(check::CheckArguments),
    Hosts(hosts_command::HostsVerbArguments),
    Inventory(inventory::InventoryArguments),
    Play(Box<play::PlayArguments>),
    Config(config::ConfigArguments),
    /// Prints a JSON Schema of job files, or of the lines that ratchet writes.
    Schema(schema::SchemaArguments),
    Completions(completions::CompletionsArguments),
    Man(man::ManArguments),
    Help(help::HelpArguments),
}

impl Verb {
    /// Returns the value of `--color`, if the verb has that option and it was typed.
    pub(crate) fn color(&self) -> Option<When> {
        match self {
            Self::Run(run) => run.common.display.color,
            Self::Map(map) => map.common.display.color,
            Self::Resume(resume) => resume.common.display.color,
            Self::Check(check) => check.color,
            Self::Play(play) => play.display.color,
            #[cfg(feature = "queue")]
            Self::Submit(submit) => submit.display.color,
            #[cfg(feature = "queue")]
            Self::Node(node) => node.display.color,
            #[cfg(feature = "queue")]
            Self::Queue(_) => None,
            Self::Runs(_)
            | Self::Top(_)
            | Self::Cache(_)
            | Self::Sem(_)
            | Self::Worker(_)
            | Self::Agent(_)
            | Self::Hosts(_)
            | Self::Inventory(_)
            | Self::Config(_)
            | Self::Schema(_)
            | Self::Completions(_)
            | Self::Man(_)
            | Self::Help(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
