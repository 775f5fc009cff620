//! Options for the machines on which jobs run.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::value;

/// The options for which hosts are meant.
#[derive(Debug, Default, Args)]
pub(crate) struct ChosenHosts {
    /// Use these hosts: names of `hosts` or of an inventory, @GROUP, or destinations of ssh; `local` is this machine, N/HOST has
    /// N slots. Each job runs on whichever has the most room. `slurm` is all nodes of the Slurm allocation, and no new jobs
    /// start when it ends soon. Also -S and --sshlogin, with `:` for this machine.
    #[arg(
        short = 'S',
        long,
        alias = "sshlogin",
        value_name = "HOSTS",
        value_delimiter = ','
    )]
    pub(crate) on: Vec<OnArgument>,
    /// As --on, with the hosts in a file, one a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) sshloginfile: Vec<PathBuf>,
    /// Read hosts and groups from an inventory of Ansible's, as `ratchet inventory` does.
    #[arg(short, long, value_name = "SOURCE")]
    pub(crate) inventory: Vec<String>,
}

/// The options for where jobs run.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Hosts")]
pub(crate) struct HostsArguments {
    #[command(flatten)]
    pub(crate) chosen: ChosenHosts,
    /// Keep the work folders of jobs with files on their hosts, as ~/.cache/ratchet/kept/job-ID-N, for a week, instead of
    /// removing them at once.
    #[arg(long)]
    pub(crate) keep_remote: bool,
    /// How many jobs run at once on all machines together (default: as many as they have slots).
    #[arg(long, value_name = "N", value_parser = value::positive)]
    pub(crate) jobs_total: Option<NonZeroU32>,
}

/// One word of `--on`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OnArgument {
    /// How many slots the host has, if the word contains it.
    pub(crate) slots: Option<u32>,
    /// The host or group.
    pub(crate) target: OnTarget,
}

/// What a word of `--on` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OnTarget {
    /// This machine.
    Local,
    /// The host that each job names.
    OwnHost,
    /// The nodes of the Slurm allocation.
    Slurm,
    /// A group.
    Group(String),
    /// A host, by its name or as a destination of ssh.
    Host(String),
}

impl FromStr for OnArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (slots, name) = match text.split_once('/') {
            None => (None, text),
            Some((slots, name)) => match slots.parse::<u32>() {
                Ok(slots) if slots > 0 => (Some(slots), name),
                _ => {
                    return Err(format!(
                        "`{slots}` is not a number of slots; write N/HOST, as in 4/web1"
                    ));
                }
            },
        };
        let target = match name {
            "" => return Err("a name is missing".to_owned()),
            ":" | "local" => OnTarget::Local,
            "host" => OnTarget::OwnHost,
            "slurm" => OnTarget::Slurm,
            name => match name.strip_prefix('@') {
                Some("") => return Err("the name of the group is missing after `@`".to_owned()),
                Some(group) => OnTarget::Group(group.to_owned()),
                None => OnTarget::Host(name.to_owned()),
            },
        };
        if slots.is_some() && matches!(target, OnTarget::OwnHost | OnTarget::Group(_)) {
            return Err("a host has to follow the number of slots".to_owned());
        }
        Ok(Self { slots, target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_a_host_a_group_or_this_machine() {
        let host = |slots, name: &str| OnArgument {
            slots,
            target: OnTarget::Host(name.to_owned()),
        };
        for (text, expected) in [
            ("web1", host(None, "web1")),
            ("4/deploy@web1:2222", host(Some(4), "deploy@web1:2222")),
            (
                "@web",
                OnArgument {
                    slots: None,
                    target: OnTarget::Group("web".to_owned()),
                },
            ),
            (
                "8/slurm",
                OnArgument {
                    slots: Some(8),
                    target: OnTarget::Slurm,
                },
            ),
            (
                "2/:",
                OnArgument {
                    slots: Some(2),
                    target: OnTarget::Local,
                },
            ),
        ] {
            assert_eq!(text.parse::<OnArgument>(), Ok(expected), "{text}");
        }
        for text in ["", "0/web1", "x/web1", "@", "2/@web", "/web1"] {
            assert!(text.parse::<OnArgument>().is_err(), "{text}");
        }
    }
}
