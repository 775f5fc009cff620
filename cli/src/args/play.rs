//! `ratchet play`.

mod connection;
mod listing;
mod privilege;
mod tasks;

use std::path::PathBuf;

use clap::Args;

use self::connection::ConnectionArguments;
use self::listing::ListingArguments;
use self::privilege::PrivilegeArguments;
use self::tasks::TaskArguments;
use super::display::DisplayArguments;
use super::record::RecordArguments;
use super::stop::StopArguments;
use crate::report::ResultFormat;

const HELP: &str = "\
Examples:
  ratchet play site.yml -i hosts.ini
  ratchet play site.yml -i hosts.ini --limit 'web*' --tags deploy --check --diff
  ratchet play site.yml -i hosts.ini -b -K -e version=1.2
  ratchet play site.yml -i hosts.ini --list-tasks --skip-tags slow
  ratchet play site.yml -i hosts.ini --step --start-at-task 'restart*'
  ratchet resume

Playbooks are written as for Ansible, and run the modules that are installed with it: those of ansible-core and of \
collections, and those in `library` folders. Without Ansible, command, shell, raw, script, copy, template, file, stat, \
lineinfile, slurp, setup, ping and what the controller does itself (debug, set_fact, assert, include_tasks ..) work. \
Hosts need Python 3.8 or later, and nothing else.

Before anything runs, the playbooks with their roles and all that they import are read and checked: keywords and what they \
take, the shape of plays, blocks and tasks, arguments, the form of templates, and whether modules are there. All that is \
wrong is told at once, with its place. What is included while a play runs (include_tasks, include_role) is checked then.

How parallel a module may be is known: what changes packages, services or users runs once a host at a time, calls of \
clouds keep a rate, and changes of cluster members happen one at a time everywhere. The host is the one where the module \
runs, so tasks with delegate_to lose nothing. `hint`, `limits` and `throttle` of a task say otherwise, and so does a file \
hints.yml beside the playbook: `modules: {NAME: HINT}`, `limits: {NAME: {max: 4}}`.

A run is recorded. `ratchet resume` goes on with one that failed or was killed: tasks that succeeded are not done again, \
and what they registered, their facts and the handlers that they notified are there.

Settings are those of ansible.cfg and of ANSIBLE_* in the environment; those that are not used here are named once. Roles \
are looked for in `roles` beside the playbook and where these settings say, and those of collections, too.

Unlike Ansible, this refuses keys that are there twice, keywords that have no effect where they stand, async and poll, \
delegate_facts, debugger, and names in --limit that are nowhere.";

/// Runs playbooks, checks them, or lists what they would do.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct PlayArguments {
    /// The playbooks.
    #[arg(required = true, value_name = "PLAYBOOK")]
    pub(crate) playbooks: Vec<PathBuf>,
    /// A source of hosts, as for `ratchet inventory`; several are put together.
    #[arg(short, long, value_name = "SOURCE")]
    pub(crate) inventory: Vec<String>,
    /// Only the hosts that this pattern selects, as in 'web:!web3', '~web\d+' or @FILE with a pattern on each line.
    #[arg(short, long, value_name = "PATTERN")]
    pub(crate) limit: Option<String>,
    /// Only tasks with one of these tags.
    #[arg(short, long, value_name = "TAGS", value_delimiter = ',')]
    pub(crate) tags: Vec<String>,
    /// No tasks with one of these tags.
    #[arg(long, value_name = "TAGS", value_delimiter = ',')]
    pub(crate) skip_tags: Vec<String>,
    /// Set variables before all others: name=value, a map in YAML or JSON, or @FILE.
    #[arg(short, long, value_name = "VARS")]
    pub(crate) extra_vars: Vec<String>,

    /// Decrypt files and variables with the password in this file, or that this program prints.
    #[arg(long, value_name = "FILE")]
    pub(crate) vault_password_file: Vec<PathBuf>,

    /// What is listed or checked instead of running the playbooks.
    #[command(flatten)]
    pub(crate) listing: ListingArguments,
    /// How tasks run.
    #[command(flatten)]
    pub(crate) tasks: TaskArguments,
    /// How hosts are reached.
    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
    /// As whom tasks run.
    #[command(flatten)]
    pub(crate) privilege: PrivilegeArguments,

    /// How results are written (default: for people, in a pipe, too).
    #[arg(long, value_name = "FORMAT", help_heading = "Results")]
    pub(crate) format: Option<ResultFormat>,
    /// Write results to this file instead of stdout.
    #[arg(short, long, value_name = "FILE", help_heading = "Results")]
    pub(crate) output: Option<PathBuf>,
    /// End with 2 if a host failed and with 4 if one could not be reached, as ansible-playbook does.
    #[arg(long, help_heading = "Results")]
    pub(crate) ansible_exit_codes: bool,

    /// When the run ends early.
    #[command(flatten)]
    pub(crate) stop: StopArguments,
    /// What is written to stderr for people.
    #[command(flatten)]
    pub(crate) display: DisplayArguments,
    /// The record of the run.
    #[command(flatten)]
    pub(crate) record: RecordArguments,
}
