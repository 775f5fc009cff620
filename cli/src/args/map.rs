//! `ratchet map`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::common::CommonArguments;
use super::record::RecordArguments;
use super::terms::{VARIABLES_HELP, cache_help};
use crate::exit;
use crate::map::HaltRule;

const HELP: &str = "\
Placeholders:
  {}   the item                    {.}   without its extension
  {/}  its last component          {//}  its folder
  {/.} its last component without extension
  {#}  its number, from 1          {{}}  a literal {}
  {%}  the slot it runs in, from 1; no other command has it meanwhile
  {1} {1.} {1/} ..  the same of one column, or of one list after :::
  {name} {name.} .. of the column of that name, with --csv --header
  {host} with --each-host: the name of the host, as {}
Anything else in braces stays as it is: {print $1} is for awk.
Without a placeholder, the item becomes the last argument.

Examples:
  ls *.png | ratchet map -j4 -- convert {} {.}.jpg
  ratchet map -- ping -c1 {} ::: web1 web2 web3
  ratchet map -k --tag -- ./report {1} {2} ::: north south ::: 2024 2025
  ratchet map --csv --header -a users.csv -- ./invite --to {email} {name}
  find . -name '*.log' -print0 | ratchet map -0 --shell 'gzip -c {} > {}.gz'
  ratchet map --each-host -i hosts.ini --on @web -- uname -r
  cat names.json | ratchet map --warm -- jq -c --unbuffered .first";

/// Runs one command, or one warm filter, over many items.
///
/// Items are the lines of stdin or of files, or the words after `:::`. The outputs of two commands are
/// never mixed: each is written as a whole when its command has ended. No shell is in between, so items
/// need no quoting.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag that can be typed"
)]
#[command(
    after_help = [HELP, exit::HELP].join("\n\n"),
    after_long_help = [HELP, VARIABLES_HELP, &cache_help(), exit::HELP].join("\n\n"),
    override_usage = "ratchet map [OPTIONS] -- COMMAND [ARG].. [::: ITEM..].."
)]
pub(crate) struct MapArguments {
    /// The command with its placeholders, and the items after `:::`.
    ///
    /// Several lists, each after a `:::`, are combined with each other; a list after `:::+` is joined to
    /// the one before it.
    #[arg(value_name = "COMMAND", required = true, num_args = 1.., trailing_var_arg = true)]
    pub(crate) words: Vec<OsString>,
    /// Read items from a file instead of stdin; several files are read one after the other. `-` is stdin.
    #[arg(short, long, value_name = "FILE", help_heading = "Items")]
    pub(crate) arg_file: Vec<PathBuf>,
    /// Items end with NUL, as `find -print0` writes them.
    #[arg(short = '0', long, conflicts_with = "csv", help_heading = "Items")]
    pub(crate) null: bool,
    /// Items are the records of a CSV file: {1} is the first column.
    #[arg(long, help_heading = "Items")]
    pub(crate) csv: bool,
    /// The first record names the columns: {email} is the column of that name.
    #[arg(long, requires = "csv", help_heading = "Items")]
    pub(crate) header: bool,
    /// Keep the command running as a filter: each item is a line to its stdin, and each line of its stdout a result.
    /// It has to answer each line with one line, and at once: sed -u, grep --line-buffered, jq --unbuffered.
    #[arg(long, conflicts_with_all = ["shell", "line_buffer", "joblog", "results", "dry_run"], help_heading = "The command")]
    pub(crate) warm: bool,
    /// With --warm: how many lines the command prints before it answers the first item, as a banner does.
    #[arg(
        long,
        value_name = "N",
        requires = "warm",
        default_value_t = 0,
        help_heading = "The command"
    )]
    pub(crate) skip_lines: u64,
    /// Run the command by `sh -c`; items are its parameters, so nothing in them is ever run.
    #[arg(long, help_heading = "The command")]
    pub(crate) shell: bool,
    /// Give jobs the terminal: it is their stdin, and Ctrl-C and Ctrl-Z reach them. One job runs at a time, and no
    /// progress is shown. Output is gathered as without it (--line-buffer shows lines as they come), so a question has
    /// to be written to /dev/tty to be seen at once.
    #[arg(long, conflicts_with = "warm", help_heading = "The command")]
    pub(crate) tty: bool,
    /// Run the command once on each host of --on, or of the inventory where --on is left out. There are no items. At the
    /// end a table shows the output of each host, and those with the same output together.
    #[arg(long, conflicts_with_all = ["warm", "tty", "line_buffer", "tag", "arg_file", "null", "csv"], help_heading = "The command")]
    pub(crate) each_host: bool,
    /// Print the commands, one a line and quoted for a shell, and run nothing.
    #[arg(long, help_heading = "The command")]
    pub(crate) dry_run: bool,
    /// Write lines as soon as they are whole, instead of all output at the end of its command.
    #[arg(long, conflicts_with_all = ["format", "keep_order"], help_heading = "Results")]
    pub(crate) line_buffer: bool,
    /// Put the item and a tab before each line of output.
    #[arg(long, conflicts_with = "format", help_heading = "Results")]
    pub(crate) tag: bool,
    /// Write a line for each command that has ended, in GNU parallel's columns.
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    pub(crate) joblog: Option<PathBuf>,
    /// Keep each command's output in files: DIR/1/ITEM/stdout, stderr and seq.
    #[arg(long, value_name = "DIR", help_heading = "Results")]
    pub(crate) results: Option<PathBuf>,
    /// Bring a file or folder to the host where the job runs, into a work folder of its own; placeholders are those of the
    /// command. The part of a path before `/./` is left out there. Also --transferfile.
    #[arg(
        long,
        value_name = "PATH",
        visible_alias = "transferfile",
        alias = "tf",
        conflicts_with = "warm",
        help_heading = "Files"
    )]
    pub(crate) push: Vec<OsString>,
    /// Bring a file or folder of the work folder back when the command has succeeded. Also --return.
    #[arg(
        long,
        value_name = "PATH",
        visible_alias = "return",
        conflicts_with = "warm",
        help_heading = "Files"
    )]
    pub(crate) pull: Vec<OsString>,
    /// The same as --push {}.
    #[arg(long, conflicts_with = "warm", help_heading = "Files")]
    pub(crate) transfer: bool,
    /// The same as --push {} --pull PATH --cleanup.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["warm", "keep_remote"], help_heading = "Files")]
    pub(crate) trc: Vec<OsString>,
    /// Bring a file or folder that all jobs need; a host gets its content once.
    #[arg(long, value_name = "FILE", alias = "bf", help_heading = "Files")]
    pub(crate) basefile: Vec<OsString>,
    /// Remove the files from the host when the job has ended, which is the default.
    #[arg(long, conflicts_with = "keep_remote", help_heading = "Files")]
    pub(crate) cleanup: bool,
    /// When to stop: `soon,fail=3`, `now,fail=10%`, `now,success=1`; `soon` lets running jobs finish, `now` does not.
    #[arg(
        long,
        value_name = "RULE",
        conflicts_with = "max_fail",
        help_heading = "When to stop"
    )]
    pub(crate) halt: Option<HaltRule>,
    #[command(flatten)]
    pub(crate) common: CommonArguments,
    #[command(flatten)]
    pub(crate) record: RecordArguments,
}
