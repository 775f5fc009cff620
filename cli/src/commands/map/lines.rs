//! A map without a command: each item is a command.

use std::io::{self, IsTerminal};

use crate::args::map::MapArguments;
use crate::error::CliError;
use crate::map::ListSources;

/// Refuses arguments that a map without a command cannot have.
pub(super) fn check(arguments: &MapArguments, lists: Option<&ListSources>) -> Result<(), CliError> {
    let refuse = |reason: &str, help: &str| Err(CliError::usage(reason).with_help(help));
    if lists.is_none() && arguments.arg_file.is_empty() && io::stdin().is_terminal() {
        return refuse(
            "there is no command, and no list of commands: stdin is a terminal",
            "write a command for each item, as in: ratchet map -- echo {} ::: a b; or write lines that are commands to stdin",
        );
    }
    let typed = [
        ("--pipe", arguments.pipe.pipe),
        ("--pipe-part", arguments.pipe.pipe_part),
        ("--warm", arguments.warm),
        ("--each-host", arguments.each_host),
        ("-n", arguments.max_args.is_some()),
        ("-L", arguments.max_lines.is_some()),
        ("-N", arguments.max_replace_args.is_some()),
        ("-s", arguments.max_chars.is_some()),
        ("-X", arguments.spread),
        ("-m", arguments.in_place),
        ("-I", arguments.replace.is_some()),
        ("--header", arguments.header),
        ("--xargs", arguments.xargs),
        ("--csv", arguments.csv),
        ("--tsv", arguments.tsv),
        ("--colsep", arguments.colsep.is_some()),
        ("--match", arguments.matching.is_some()),
    ];
    match typed.into_iter().find(|(_, is_typed)| *is_typed) {
        Some((flag, _)) => refuse(
            &format!(
                "{flag} needs a command, and there is none; without one, each item is a command itself"
            ),
            &format!("write the command at the end, or leave out {flag}"),
        ),
        None => Ok(()),
    }
}
