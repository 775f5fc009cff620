//! `ratchet inventory`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

const HELP: &str = "\
Examples:
  ratchet inventory -i hosts.ini
  ratchet inventory -i site/inventory --list --limit 'web:!web3'
  ratchet inventory -i web1,web2, --host web1
  ratchet inventory -i hosts.ini --playbook-dir deploy --host web1

A source is a file in INI or YAML as Ansible reads them, a folder of such files, a program that prints JSON when it is \
called with --list, or a list of names with a comma. Files in group_vars and host_vars beside a source are read, too. \
A source for one of Ansible's plugins is read through ansible-inventory, if that is installed.

A pattern joins names of groups and hosts by `:` or `,`: `web:&prod:!web3` are the hosts of web that are in prod, too, \
and not web3. Names may have `*`, `?` and `[..]`; `web[0]` is the first host of web, `web[1:3]` are the next three, and \
`@web` is a group in any case.

Unlike Ansible, this refuses keys that are there twice, unknown keys of groups, and names in a pattern that are nowhere.";

/// Shows the hosts of inventories, their groups and their variables.
#[derive(Debug, Args)]
#[command(after_help = HELP, group = ArgGroup::new("view"))]
pub(crate) struct InventoryArguments {
    /// A source of hosts; several are put together. Without one, those of ansible.cfg count.
    #[arg(short, long, value_name = "SOURCE")]
    pub(crate) inventory: Vec<String>,
    /// Read the files of variables of this folder, too, as for a playbook in it.
    #[arg(long, value_name = "DIR")]
    pub(crate) playbook_dir: Option<PathBuf>,
    /// Print all groups, and the variables of all hosts, as JSON.
    #[arg(long, group = "view")]
    pub(crate) list: bool,
    /// Print the groups as a tree (the default), from this group on.
    #[arg(
        long,
        value_name = "GROUP",
        group = "view",
        num_args = 0..=1,
        default_missing_value = "all"
    )]
    pub(crate) graph: Option<String>,
    /// Print the variables of this host as JSON.
    #[arg(long, value_name = "HOST", group = "view")]
    pub(crate) host: Option<String>,
    /// Show only the hosts that this pattern selects.
    #[arg(short, long, value_name = "PATTERN", conflicts_with = "host")]
    pub(crate) limit: Option<String>,
    /// With --graph: print the variables, too.
    #[arg(long, conflicts_with_all = ["list", "host"])]
    pub(crate) vars: bool,
}
