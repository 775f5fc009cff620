//! `ratchet hosts`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::check::SummaryFormat;
use super::hosts::ChosenHosts;

const HELP: &str = "\
Examples:
  ratchet hosts jobs.yaml
  ratchet hosts check jobs.yaml
  ratchet hosts check -i hosts.ini --on @web
  ratchet hosts check -S web1,deploy@web2:2222 --format json";

const CHECK_HELP: &str = "\
A host is reached when an agent answers there, as for a run: ratchet copies itself to a host that lacks it. Eight hosts \
are connected to at once.

As JSON, a list of objects is printed: host, groups, launcher, reached, and of a host that was reached round_trip_ms, \
ratchet (the version of the agent), platform, cores and slots, else error.

Exit codes:
  0    all hosts were reached
  2    usage or file error, nothing was tried
  4    there are no hosts
  100  some hosts were not reached";

/// Lists the hosts of a job file, an inventory or --on, or tries which of them can be reached.
#[derive(Debug, Args)]
#[command(after_help = HELP, args_conflicts_with_subcommands = true)]
pub(crate) struct HostsVerbArguments {
    /// What is done with the hosts; without, they are listed.
    #[command(subcommand)]
    pub(crate) action: Option<HostsAction>,
    /// Which hosts are listed, if no action is named.
    #[command(flatten)]
    pub(crate) selection: HostSelectionArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostsAction {
    /// Lists the hosts with their groups and slots, and how they are reached.
    List(HostSelectionArguments),
    /// Connects to each host, and tells how long a message takes there and back, or why it is not reached.
    #[command(after_help = CHECK_HELP)]
    Check(HostSelectionArguments),
}

/// Which hosts are meant, and how they are written.
#[derive(Debug, Args)]
pub(crate) struct HostSelectionArguments {
    /// A job file with `hosts`.
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) chosen: ChosenHosts,
    /// How the hosts are written.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: SummaryFormat,
}
