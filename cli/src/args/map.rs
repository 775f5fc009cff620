//! `ratchet map`.

mod pipe;

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use ratchet_runtime::Rate;

use super::record::RecordArguments;
use super::shared_run::SharedRunArguments;
use super::terms::{VARIABLES_HELP, cache_help};
use crate::exit;
use crate::job_file::Protocol;
use crate::map::{HaltRule, ItemEnd, JoblogFile};
use crate::value;

pub(crate) use pipe::PipeArguments;

const HELP: &str = "\
Placeholders:
  {}   the item                    {.}   without its extension
  {/}  its last component          {//}  its folder
  {/.} its last component without extension
  {#}  its number, from 1          {{}}  a literal {}
  {%}  the slot it runs in, from 1; no other command has it meanwhile
  {1} {1.} {1/} ..  the same of one column, or of one list after :::
  {-1} {-2} ..      the same, counted from the last one
  {name} {name.} .. of the column of that name, with --header or --match
  {1/REGEX/TEXT/}  a column with its first match replaced; /g for all; \\1 is a group
  {host} with --each-host: the name of the host, as {}
Anything else in braces stays as it is: {print $1} is for awk.
Without a placeholder, the item becomes the last argument.

Examples:
  ls *.png | ratchet map -j4 -- convert {} {.}.jpg
  ratchet map -- ping -c1 {} ::: web1 web2 web3
  ratchet map -k --tag -- ./report {1} {2} ::: north south ::: 2024 2025
  ratchet map --csv --header -a users.csv -- ./invite --to {email} {name}
  ratchet map --colsep ' +' -a hosts.txt -- ping -c {2} {1}
  ratchet map --match '(?<name>.*)-\\d+$' -- mv {} {name} ::: a-1 b-2
  ratchet map -- ./compare {1} {2} :::: old.txt ::::+ new.txt
  find . -name '*.log' -print0 | ratchet map -0 --shell 'gzip -c {} > {}.gz'
  find . -name '*.txt' -print0 | ratchet map -0 -X -- grep -l needle
  ratchet map --rate 5/s --env TOKEN --cwd /srv -- ./fetch :::: urls.txt
  ratchet map -N2 -- ln {1} {2} ::: from to from2 to2
  ratchet map --pipe --block 10MiB -- ./count-words < big.txt
  ratchet map --each-host -i hosts.ini --on @web -- uname -r
  ratchet map --shell < commands.txt
  cat names.json | ratchet map --warm -- jq -c --unbuffered .first
  ratchet map --worker ./resize.py --task resize --retries 2 ::: a.png b.png";

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
    args_override_self = true,
    override_usage = "ratchet map [OPTIONS] [-- COMMAND [ARG]..] [::: ITEM..]..\n       ratchet map [OPTIONS] --worker COMMAND --task TASK [::: ITEM..].."
)]
pub(crate) struct MapArguments {
    /// The command with its placeholders, and the items after `:::`.
    ///
    /// Without a command, each item is one, and is split into words as a shell does; with --shell, a shell runs it.
    ///
    /// Several lists, each after a `:::`, are combined with each other; a list after `:::+` is joined to
    /// the one before it. After `::::` and `::::+` stand files whose lines are items.
    #[arg(value_name = "COMMAND", num_args = 0.., trailing_var_arg = true)]
    pub(crate) words: Vec<OsString>,
    /// Read items from a file instead of stdin; several files are read one after the other. `-` is stdin. With `:::` each file is
    /// a list that comes before the others.
    #[arg(short, long, value_name = "FILE", help_heading = "Items")]
    pub(crate) arg_file: Vec<PathBuf>,
    /// Items end with NUL, as `find -print0` writes them.
    #[arg(short = '0', long, conflicts_with_all = ["csv", "tsv"], help_heading = "Items")]
    pub(crate) null: bool,
    /// Items end with this text: `-d ,` or `-d '\n\n'`; also \t, \0 and \xHH. Nothing is cut off, so a newline at the end of the
    /// input belongs to the last item.
    #[arg(short, long, value_name = "TEXT", value_parser = delimiter, conflicts_with_all = ["csv", "tsv", "null"], help_heading = "Items")]
    pub(crate) delimiter: Option<ItemEnd>,
    /// Leave out items that are empty or blank, and blocks likewise. Without any item nothing is run anyway:
    /// `printf 'a\n \nb\n' | ratchet map -r -- echo`.
    #[arg(short = 'r', long, conflicts_with_all = ["csv", "tsv", "pipe_part"], help_heading = "Items")]
    pub(crate) no_run_if_empty: bool,
    /// The item that is this text, and all items after it in its file or list, are left out: -E END.
    #[arg(short = 'E', long = "eof", value_name = "TEXT", conflicts_with_all = ["csv", "tsv"], help_heading = "Items")]
    pub(crate) end_item: Option<OsString>,
    /// Items are the records of a CSV file: {1} is the first column.
    #[arg(long, groups = ["columns"], help_heading = "Items")]
    pub(crate) csv: bool,
    /// The same with tabs between the columns.
    #[arg(long, groups = ["columns"], help_heading = "Items")]
    pub(crate) tsv: bool,
    /// Cut each item into columns at what this regular expression matches, as in --colsep ', *'. Each item has as many as the
    /// first one.
    #[arg(
        short = 'C',
        long,
        value_name = "REGEX",
        groups = ["columns"],
        help_heading = "Items"
    )]
    pub(crate) colsep: Option<String>,
    /// Find columns in each item: the groups of a regular expression, as in `--match '(?<name>.*)-(?<year>\d+)$'`. An item that
    /// it does not match fails.
    #[arg(
        long = "match",
        value_name = "REGEX",
        conflicts_with = "columns",
        help_heading = "Items"
    )]
    pub(crate) matching: Option<String>,
    /// The first record or line names the columns, which tabs separate unless --csv or --colsep is given, and the first item of a
    /// list names that: `ratchet map --header -- echo {size} ::: size 1 2`. With --pipe and --pipe-part, the first line stands at the
    /// beginning of each block.
    #[arg(long, conflicts_with_all = ["matching", "each_host"], help_heading = "Items")]
    pub(crate) header: bool,
    /// Take one item of each list at a time, or of each file of -a, instead of all combinations. The shorter ones begin anew
    /// until the longest has ended; those that `:::+` joins end with the shortest. Also --xapply.
    #[arg(long, visible_alias = "xapply", help_heading = "Items")]
    pub(crate) link: bool,
    /// Take the items in random order. All are read first.
    #[arg(long, help_heading = "Items")]
    pub(crate) shuf: bool,
    /// Give each command up to so many items; without a placeholder, they become its last arguments. A word with {} is repeated
    /// for each item, and {1} .. are single ones. With 0 there is a command for each item, which does not get it:
    /// `seq 3 | ratchet map -n 0 -- date`.
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        help_heading = "Several items a command"
    )]
    pub(crate) max_args: Option<u32>,
    /// The same for lines: one that ends with a blank goes on in the next one, and both are one item: -L 2. With --pipe, a
    /// record has so many lines.
    #[arg(short = 'L', long, value_name = "N", value_parser = value::positive, help_heading = "Several items a command")]
    pub(crate) max_lines: Option<NonZeroU32>,
    /// The same; {1} .. {N} are the items.
    #[arg(
        short = 'N',
        long,
        value_name = "N",
        conflicts_with = "max_args",
        help_heading = "Several items a command"
    )]
    pub(crate) max_replace_args: Option<u32>,
    /// Give each command as many items as fit into its line.
    #[arg(
        long,
        conflicts_with = "results",
        help_heading = "Several items a command"
    )]
    pub(crate) xargs: bool,
    /// Give each command as many items as fit into its line, or at most as many as -n says, and spread the last ones evenly over
    /// the slots. A word with {} is repeated for each item: `echo x{}` becomes `echo xa xb`.
    #[arg(short = 'X', conflicts_with_all = ["xargs", "results"], help_heading = "Several items a command")]
    pub(crate) spread: bool,
    /// The same, and the items stand where {} is, without repeating the word around it: `echo x{}` becomes `echo xa b`.
    #[arg(short = 'm', conflicts_with_all = ["xargs", "spread", "results"], help_heading = "Several items a command")]
    pub(crate) in_place: bool,
    /// The most bytes of a command with its items (default: 128KiB, or what the system allows).
    #[arg(
        short = 's',
        long,
        value_name = "BYTES", value_parser = value::positive,
        help_heading = "Several items a command"
    )]
    pub(crate) max_chars: Option<NonZeroU32>,
    /// Keep the command running as a filter: each item is a line to its stdin, and each line of its stdout a result.
    /// It has to answer each line with one line, and at once: sed -u, grep --line-buffered, jq --unbuffered.
    #[arg(long, conflicts_with_all = ["shell", "line_buffer", "joblog", "results", "dry_run", "max_args", "max_lines", "max_replace_args", "xargs", "spread", "in_place", "max_chars"], help_heading = "The command")]
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
    /// Give each item to a worker that keeps running, instead of starting a command for it. An item that is a JSON object or
    /// list goes out as it is, and any other as a text: --worker 'npx -y @modelcontextprotocol/server-everything stdio'
    /// --protocol mcp --task echo ::: hello
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["warm", "shell", "tty", "each_host", "line_buffer", "joblog", "results", "dry_run", "max_args", "max_lines", "max_replace_args", "xargs", "spread", "in_place", "max_chars", "push", "pull", "transfer", "trc"], help_heading = "The command")]
    pub(crate) worker: Option<String>,
    /// The protocol of that worker.
    #[arg(
        long,
        value_name = "PROTOCOL",
        requires = "worker",
        help_heading = "The command"
    )]
    pub(crate) protocol: Option<Protocol>,
    /// The task of that worker that gets the items; with --protocol mcp, a tool of the server. Not for lines and bazel-json.
    #[arg(
        long,
        value_name = "TASK",
        requires = "worker",
        help_heading = "The command"
    )]
    pub(crate) task: Option<String>,
    /// Run the command by `sh -c`, or by another shell: `--shell=bash` knows the functions that bash has exported. Items are
    /// parameters of the shell, so nothing in them is ever run.
    #[arg(long, value_name = "PROGRAM", num_args = 0..=1, require_equals = true, default_missing_value = "sh", help_heading = "The command")]
    pub(crate) shell: Option<OsString>,
    /// Write this where the item goes, instead of {}, as in `-I FILE -- cp FILE /backup`.
    #[arg(short = 'I', long, value_name = "TEXT", conflicts_with_all = ["warm", "worker"], help_heading = "The command")]
    pub(crate) replace: Option<OsString>,
    /// Give jobs the terminal: it is their stdin, and Ctrl-C and Ctrl-Z reach them. One job runs at a time, and no
    /// progress is shown. Output is gathered as without it (--line-buffer shows lines as they come), so a question has
    /// to be written to /dev/tty to be seen at once.
    #[arg(long, conflicts_with = "warm", help_heading = "The command")]
    pub(crate) tty: bool,
    /// Run the command once on each host of --on, or of the inventory where --on is left out. There are no items. At the
    /// end a table shows the output of each host, and those with the same output together.
    #[arg(long, conflicts_with_all = ["warm", "tty", "line_buffer", "tag", "arg_file", "null", "delimiter", "csv", "tsv", "colsep", "matching", "link", "max_args", "max_lines", "max_replace_args", "xargs", "spread", "in_place", "max_chars"], help_heading = "The command")]
    pub(crate) each_host: bool,
    /// Start commands in this folder.
    #[arg(long, value_name = "DIR", visible_aliases = ["workdir", "wd"], help_heading = "The command")]
    pub(crate) cwd: Option<PathBuf>,
    /// Set a variable for the commands: NAME=VALUE, or NAME for its value here, as on other hosts.
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = "The command")]
    pub(crate) env: Vec<OsString>,
    /// Start no more commands in a time than this, as in 10/s or 100/m. With --warm, items are counted.
    #[arg(long, value_name = "RATE", help_heading = "The command")]
    pub(crate) rate: Option<Rate>,
    /// Let so much time pass from the start of each command to that of the next: --delay 500ms.
    #[arg(long, value_name = "DURATION", value_parser = value::duration, conflicts_with = "rate", help_heading = "The command")]
    pub(crate) delay: Option<Duration>,
    /// What host each job is about, with placeholders: with `--hint host_exclusive`, one job at a time on each. It is in
    /// `RATCHET_HOST`: `--host {1} -- ssh {1} reboot`.
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "each_host",
        help_heading = "The command"
    )]
    pub(crate) host: Option<OsString>,
    /// Start commands by `nice`: 19 gives way to all others.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i8).range(-20..20), allow_negative_numbers = true, conflicts_with = "tty", help_heading = "The command")]
    pub(crate) nice: Option<i8>,
    /// Ask on the terminal before each command, which runs if the answer begins with y.
    #[arg(short = 'p', long, conflicts_with_all = ["warm", "tty", "dry_run", "each_host", "blocks", "bar"], help_heading = "The command")]
    pub(crate) interactive: bool,
    /// Print each command, quoted for a shell: to stderr when it starts, as in `-t -- gzip ::: a.txt`, or with -t=stdout before
    /// its output.
    #[arg(short = 't', long, value_name = "STREAM", num_args = 0..=1, require_equals = true, default_missing_value = "stderr", conflicts_with_all = ["warm", "worker", "dry_run"], help_heading = "The command")]
    pub(crate) print_commands: Option<CommandStream>,
    /// Print the commands, quoted for a shell, and run nothing: `ratchet map --dry-run -- mv {} {.}.old ::: a.txt`.
    #[arg(long, help_heading = "The command")]
    pub(crate) dry_run: bool,
    /// Write lines as soon as they are whole, instead of all output at the end of its command. With -k, lines of later commands
    /// wait until the earlier ones have ended: `ratchet map -k --line-buffer -- ping -c3 ::: web1 web2`.
    #[arg(long, conflicts_with = "format", help_heading = "Results")]
    pub(crate) line_buffer: bool,
    /// Put the item and a tab before each line of output.
    #[arg(long, conflicts_with = "format", help_heading = "Results")]
    pub(crate) tag: bool,
    /// Put this text and a tab before each line of output; placeholders are those of the command: --tagstring '{#}:{1}'.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["format", "tag", "each_host"], help_heading = "Results")]
    pub(crate) tagstring: Option<OsString>,
    /// Write a line for each command that has ended, in GNU parallel's columns. With a + before the name, as in
    /// --joblog +jobs.log, lines are added to a file that exists.
    #[arg(long, value_name = "[+]FILE", value_parser = OsStringValueParser::new().map(JoblogFile::typed), help_heading = "Results")]
    pub(crate) joblog: Option<JoblogFile>,
    /// Keep each command's output in files: DIR/1/ITEM/stdout, stderr and seq. With a name that ends in .csv, .tsv or .jsonl, in
    /// one file with a row for each command, in GNU parallel's columns.
    #[arg(long, value_name = "DIR|FILE", help_heading = "Results")]
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
    /// Bring a file or folder of the work folder back when the command has succeeded. With --each-host it goes into a folder
    /// with the name of the host, as in web1/PATH. Also --return.
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
    pub(crate) pipe: PipeArguments,
    #[command(flatten)]
    pub(crate) common: SharedRunArguments,
    #[command(flatten)]
    pub(crate) record: RecordArguments,
}

/// The stream to which commands are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CommandStream {
    /// stderr, when the command starts.
    Stderr,
    /// stdout, before the output of the command.
    Stdout,
}

/// Parses the text that ends an item, in which escapes may stand.
fn delimiter(text: &str) -> Result<ItemEnd, String> {
    // A backslash alone is a character.
    let bytes = if text == "\\" {
        text.into()
    } else {
        escaped(text)?
    };
    ItemEnd::of(&bytes).ok_or_else(|| "it is empty, so no item would ever end".to_owned())
}

/// Parses a text with escapes. Returns its bytes.
pub(crate) fn escaped(text: &str) -> Result<Vec<u8>, String> {
    const ESCAPES: &str = "the escapes are \\n, \\t, \\r, \\0, \\\\ and \\xHH";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, length) = match after {
            _ if *first != b'\\' => (*first, 1),
            [b'n', ..] => (b'\n', 2),
            [b't', ..] => (b'\t', 2),
            [b'r', ..] => (b'\r', 2),
            [b'0', ..] => (0, 2),
            [b'\\', ..] => (b'\\', 2),
            [b'x', high, low, ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let (Some(high), Some(low)) = (digit(high), digit(low)) else {
                    return Err("\\x is followed by two hexadecimal digits".to_owned());
                };
                // Two digits are less than 256.
                (u8::try_from(16 * high + low).unwrap_or(u8::MAX), 4)
            }
            _ => return Err(ESCAPES.to_owned()),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delimiter_is_a_text_with_escapes() {
        for (text, bytes) in [
            (",", &b","[..]),
            ("\\", b"\\"),
            ("\\t", b"\t"),
            ("\\0", b"\0"),
            ("\\x1f", b"\x1f"),
            ("\\\\", b"\\"),
            (", ", b", "),
            ("\\n\\n", b"\n\n"),
            ("\u{e9}", b"\xc3\xa9"),
        ] {
            assert_eq!(delimiter(text).ok(), ItemEnd::of(bytes), "{text}");
        }
        for text in ["", "\\y", "\\x1", "\\xzz"] {
            assert!(delimiter(text).is_err(), "{text}");
        }
    }
}
