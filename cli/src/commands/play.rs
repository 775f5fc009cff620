//! `ratchet play`: checks playbooks, and lists what they would do.

use std::io::{self, Write};

use ratchet_play::{Listed, Request, Tags};

use crate::args::play::PlayArguments;
use crate::error::CliError;
use crate::escape::plain;
use crate::inventory;
use crate::output::Destination;

/// Prints what the arguments ask for.
pub(crate) fn run(arguments: &PlayArguments) -> Result<(), CliError> {
    let inventory = inventory::load(&arguments.inventory)?;
    let request = Request {
        playbooks: arguments.playbooks.clone(),
        limit: arguments.limit.clone(),
        tags: Tags {
            only: arguments.tags.clone(),
            skip: arguments.skip_tags.clone(),
        },
        extra_vars: arguments.extra_vars.clone(),
    };
    let listed = Listed {
        hosts: arguments.list_hosts,
        tasks: arguments.list_tasks,
        tags: arguments.list_tags,
    };
    let variable = |name: &str| std::env::var_os(name);
    let listing = ratchet_play::list(&request, listed, &inventory, variable)?;
    for name in &listing.unknown {
        let line = format!("no host or group `{}` is in the inventory\n", plain(name));
        // The lists are what was asked for; a warning that cannot be written keeps nobody from them.
        let _ = io::stderr().write_all(line.as_bytes());
    }
    let written = io::stdout().write_all(listing.text.as_bytes());
    written.map_err(|error| Destination::Stdout.error(error).into())
}
