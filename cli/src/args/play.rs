//! `ratchet play`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use crate::style::When;

const HELP: &str = "\
Examples:
  ratchet play site.yml --syntax-check
  ratchet play site.yml -i hosts.ini --list-hosts --list-tasks
  ratchet play site.yml -i hosts.ini --list-tasks --tags deploy --skip-tags slow

Playbooks are written as for Ansible. Their roles, and what they import, are read and checked, too: keywords and what they \
take, the shape of plays, blocks and tasks, and arguments. All that is wrong is told at once, with its place. Lists have \
the form in which ansible-playbook prints them. The form of templates and conditions is checked, and \
the names of hosts, roles and imported files are rendered with what is known before a play runs: -e, the variables of the \
play, its vars_files, and those of blocks, tasks and roles. What is included while a play runs (include_tasks, \
include_role), and whether modules and filters are there, is not looked at.

Roles are looked for in `roles` beside the playbook, in ANSIBLE_ROLES_PATH (else ~/.ansible/roles, \
/usr/share/ansible/roles and /etc/ansible/roles), and those of collections in ANSIBLE_COLLECTIONS_PATH. ansible.cfg is not \
read.

Unlike Ansible, this refuses keys that are there twice, keywords that have no effect where they stand, async and poll, \
delegate_facts, debugger, and names in --limit that are nowhere.";

/// Checks playbooks, and lists what they would do.
#[derive(Debug, Args)]
#[command(after_help = HELP, group = ArgGroup::new("view").required(true).multiple(true))]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag that can be typed with any other"
)]
pub(crate) struct PlayArguments {
    /// The playbooks.
    #[arg(required = true, value_name = "PLAYBOOK")]
    pub(crate) playbooks: Vec<PathBuf>,
    /// A source of hosts, as for `ratchet inventory`; several are put together.
    #[arg(short, long, value_name = "SOURCE")]
    pub(crate) inventory: Vec<String>,
    /// Only the hosts that this pattern selects.
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
    /// Check the playbooks, with all that they import.
    #[arg(long, group = "view")]
    pub(crate) syntax_check: bool,
    /// List the hosts of each play.
    #[arg(long, group = "view")]
    pub(crate) list_hosts: bool,
    /// List the tasks of each play.
    #[arg(long, group = "view")]
    pub(crate) list_tasks: bool,
    /// List the tags of each play.
    #[arg(long, group = "view")]
    pub(crate) list_tags: bool,
    /// Use colours on stderr: `auto` does on a terminal, unless `NO_COLOR` is set or TERM is `dumb`.
    #[arg(long, value_name = "WHEN")]
    pub(crate) color: Option<When>,
}
