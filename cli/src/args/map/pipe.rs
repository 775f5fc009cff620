//! Options for commands that get blocks of the input as their stdin.

use clap::Args;

use crate::value;

/// The options for blocks of stdin.
#[derive(Debug, Default, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag that can be typed"
)]
#[command(next_help_heading = "Blocks of stdin")]
pub(crate) struct PipeArguments {
    /// Split stdin, or the file of -a, into blocks of whole lines, and give each command one as its stdin:
    /// `ratchet map --pipe -- wc -l < big.txt`. With -N or -n, a block has so many records, and with -L, a record has so many
    /// lines. Also --spreadstdin.
    #[arg(long, visible_alias = "spreadstdin", group = "blocks", conflicts_with_all = BLOCKS_CONFLICT)]
    pub(crate) pipe: bool,
    /// The same for the file of -a, without reading it as a whole: each command gets its part of the file. Also --pipepart.
    #[arg(long, visible_alias = "pipepart", group = "blocks", conflicts_with_all = BLOCKS_CONFLICT)]
    #[arg(requires = "arg_file", conflicts_with_all = ["max_replace_args", "max_args", "max_lines"])]
    pub(crate) pipe_part: bool,
    /// How large a block is (default: 1MiB). A longer record is a block of its own.
    #[arg(long, value_name = "SIZE", value_parser = block, requires = "blocks", conflicts_with_all = ["max_replace_args", "max_args"])]
    pub(crate) block: Option<u64>,
    /// What a record begins with, as in --recstart '>'; also \n, \t, \0 and \xHH.
    #[arg(long, value_name = "TEXT", requires = "blocks")]
    pub(crate) recstart: Option<String>,
    /// What a record ends with (default: \n, or nothing if --recstart is given), as in --recend '\n\n'.
    #[arg(long, value_name = "TEXT", requires = "blocks")]
    pub(crate) recend: Option<String>,
    /// --recstart and --recend are regular expressions, in which ^ and $ match at lines: `ratchet map --pipe -N1 --regexp --recend '\n\n+' -- ./handle`.
    #[arg(long, visible_alias = "regex", requires = "blocks")]
    pub(crate) regexp: bool,
    /// Run as many commands as there are slots, and share the blocks among them: a command that reads fast gets more. Such a
    /// run is not resumed. Also --roundrobin.
    #[arg(long, visible_alias = "roundrobin", alias = "round", requires = "pipe", conflicts_with_all = ["retries", "cache", "pipe_part"])]
    pub(crate) round_robin: bool,
}

/// The options that cannot be combined with blocks.
const BLOCKS_CONFLICT: [&str; 17] = [
    "null",
    "delimiter",
    "columns",
    "matching",
    "link",
    "xargs",
    "spread",
    "in_place",
    "end_item",
    "max_chars",
    "shuf",
    "warm",
    "tty",
    "each_host",
    "dry_run",
    "transfer",
    "trc",
];

fn block(text: &str) -> Result<u64, String> {
    // A number without a unit is a number of bytes, as in GNU parallel.
    let bytes = text.parse().map_or_else(|_| value::size(text), Ok);
    match bytes {
        Ok(0) => Err("a block has at least one byte".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}
