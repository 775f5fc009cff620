//! Blocks of stdin, or parts of a file, as the stdin of commands.

use std::io::{self, IsTerminal};
use std::num::NonZeroU32;

use crate::args::map::{MapArguments, PipeArguments, escaped};
use crate::error::CliError;
use crate::map::{BlockRule, BlockSize, Blocks, Columns, ListSources, RecordSeparator, Template};

/// The default size of a block.
const USUAL_BLOCK_BYTES: u64 = 1 << 20;

/// The columns of a block: none, since it is the stdin of its command.
pub(super) const COLUMNS: Columns<'static> = Columns {
    count: 0,
    names: &[],
    are_items: false,
};

/// Whether commands get blocks and not items.
pub(super) fn are_wanted(arguments: &MapArguments) -> bool {
    arguments.pipe.pipe || arguments.pipe.pipe_part
}

/// Checks the arguments about blocks.
pub(super) fn check(
    arguments: &MapArguments,
    lists: Option<&ListSources>,
    is_resumed: bool,
) -> Result<(), CliError> {
    let typed = &arguments.pipe;
    let refuse = |reason: &str, help: &str| Err(CliError::usage(reason).with_help(help));
    let flag = if typed.pipe { "--pipe" } else { "--pipe-part" };
    if lists.is_some() {
        return refuse(
            &format!("{flag} gives commands blocks, not items"),
            "leave out `:::` and what follows it",
        );
    }
    if is_resumed && typed.round_robin {
        return refuse(
            "a run with --round-robin cannot be resumed, because it is not recorded which job read which block",
            "run it again as a whole",
        );
    }
    if typed.recstart.is_some() || typed.recend.is_some() {
        if arguments.max_lines.is_some() {
            return refuse(
                "-L counts lines, and --recstart and --recend make other records",
                "write -N for the number of records in a block",
            );
        }
    } else if typed.regexp {
        return refuse(
            "--regexp has no effect without --recstart and --recend",
            "leave it out, or write what separates records, as in --recend '\\n\\n+'",
        );
    }
    separator(typed)?;
    match &arguments.arg_file[..] {
        [_] => Ok(()),
        _ if typed.pipe_part => refuse(
            "--pipe-part splits exactly one file, which -a names",
            "write -a FILE once, or --pipe for stdin",
        ),
        [] if io::stdin().is_terminal() => refuse(
            "there is nothing to split: stdin is a terminal",
            "pass it through stdin, as in: ratchet map --pipe -- wc -l < FILE",
        ),
        [] => Ok(()),
        _ => refuse(
            "--pipe splits exactly one input",
            "name one file with -a, or pass several through stdin: cat FILES | ratchet map --pipe ..",
        ),
    }
}

/// Opens the input of the blocks. `slots` is how many jobs run at once.
pub(super) fn open(arguments: &MapArguments, slots: u32) -> Result<Blocks, CliError> {
    let typed = &arguments.pipe;
    let bytes = usize::try_from(typed.block.unwrap_or(USUAL_BLOCK_BYTES)).unwrap_or(usize::MAX);
    let rule = BlockRule {
        size: match most_records(arguments).map(NonZeroU32::new) {
            Some(Some(records)) => BlockSize::Records(records),
            Some(None) => {
                return Err(CliError::usage("-N 0: a block has at least one record")
                    .with_help("write a larger number, or --block SIZE"));
            }
            None => BlockSize::Bytes(bytes),
        },
        separator: separator(typed)?,
        lines: arguments.max_lines.unwrap_or(NonZeroU32::MIN),
        has_header: arguments.header,
        skips_blank: arguments.no_run_if_empty,
    };
    match arguments.arg_file.first() {
        Some(file) if typed.pipe_part => {
            Blocks::of_file(file, bytes, rule.separator, rule.has_header)
        }
        file if typed.round_robin => Blocks::shared(file, rule, slots),
        file => Blocks::of_stream(file, rule, slots),
    }
}

/// Returns how many records a block has, if that was typed.
fn most_records(arguments: &MapArguments) -> Option<u32> {
    arguments.max_replace_args.or(arguments.max_args)
}

/// Returns the separator of records. By default, a newline ends a record.
fn separator(typed: &PipeArguments) -> Result<RecordSeparator, CliError> {
    let start = typed.recstart.as_deref().unwrap_or_default();
    let end = match &typed.recend {
        Some(end) => end,
        None if start.is_empty() => "\\n",
        None => "",
    };
    if typed.regexp {
        return RecordSeparator::of_expressions(start, end);
    }
    let bytes = |flag: &str, text: &str| {
        escaped(text).map_err(|reason| {
            CliError::usage(format!("{flag}: {reason}"))
                .with_help("write \\\\ for a backslash, or add --regexp to give an expression")
        })
    };
    let (start, end) = (bytes("--recstart", start)?, bytes("--recend", end)?);
    RecordSeparator::of_texts(&start, &end).ok_or_else(|| {
        CliError::usage("--recend is empty, so no record would ever end")
            .with_help("write the text that ends a record, as in --recend '\\n\\n'")
    })
}

/// Refuses a command with a placeholder for an item.
pub(super) fn refuse_items(template: &Template) -> Result<(), CliError> {
    if !template.uses_item() {
        return Ok(());
    }
    Err(CliError::usage(
        "the command has {}, but a block is not an item: it is the stdin of its command",
    )
    .with_help("leave out {}; {#} is the number of the block, and {%} the slot"))
}
