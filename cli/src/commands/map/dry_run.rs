//! `ratchet map --dry-run`: prints the commands and runs nothing.

use std::ffi::OsString;
use std::io::{self, Write};

use ratchet_runtime::process::ProcessConfig;

use super::items::{columns, group_rule, refuse_placeholder_without_item};
use super::work::{item_command, program, refuse_missing};
use super::{NO_ITEMS, each_host, typed_hosts};
use crate::args::map::MapArguments;
use crate::error::CliError;
use crate::exit;
use crate::map::{CommandStart, Item, ItemError, Items, PlaceholderValues};
use crate::output::Destination;
use crate::session::{cores, most_jobs};
use crate::shell_quote::shell_text;

/// Prints the commands and runs nothing. It refuses everything about the commands that the run would refuse.
pub(super) fn dry_run(
    arguments: &MapArguments,
    command: &[OsString],
    open_items: impl FnOnce() -> Result<Items, CliError>,
) -> Result<u8, CliError> {
    let items = if arguments.each_host {
        Items::hosts(each_host(&typed_hosts(arguments)?)?)
    } else {
        open_items()?
    };
    let output = &arguments.common.output;
    if output.format.is_some() || output.output.is_some() {
        return Err(
            CliError::usage("a dry run has no results: it prints commands")
                .with_help("leave out --format and --output, or --dry-run"),
        );
    }
    let slots = match &arguments.common.concurrency.jobs {
        Some(jobs) => jobs.resolve(cores(), most_jobs)?,
        None => cores(),
    };
    let rule = group_rule(arguments, &items, slots)?;
    let command = item_command(
        arguments,
        command,
        columns(arguments, &items, rule.as_ref()),
    )?;
    refuse_placeholder_without_item(arguments, command.template())?;
    let start = CommandStart::of(arguments.cwd.as_ref(), &arguments.env, arguments.nice)?;
    start.check_folder()?;
    if let Some(program) = program(&command) {
        refuse_missing(&start.with_resolved_program(ProcessConfig::new(program)))?;
    }
    let unwritten = |error| Destination::Stdout.error(error);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let items = match (rule, command.template()) {
        (Some(rule), Some(template)) => items.grouped(rule, template.clone()),
        _ => items,
    };
    let is_command = |item: &Result<Item, ItemError>| match item {
        Ok(item) => !command.skips(item),
        Err(_) => true,
    };
    let mut any = false;
    for (number, item) in (1..).zip(items.filter(is_command)) {
        any = true;
        let item = item.map_err(|bad| CliError::usage(bad.0))?;
        let words = command.expand(PlaceholderValues {
            item: &item,
            number,
            slot: None,
        });
        let mut line = shell_text(&words.map_err(CliError::usage)?);
        line.push(b'\n');
        out.write_all(&line).map_err(unwritten)?;
    }
    out.flush().map_err(unwritten)?;
    if any {
        return Ok(exit::SUCCESS);
    }
    // If stderr is closed, the message is lost, but the exit code still reports the error.
    let _ = io::stderr().write_all(NO_ITEMS.as_bytes());
    Ok(exit::NOTHING)
}
