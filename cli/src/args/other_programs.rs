//! Flags of xargs, GNU parallel and other programs that ratchet spells differently.

mod spellings;

use std::fmt::Write as _;

pub(crate) use self::spellings::Program;
use self::spellings::{SPELLINGS, Spelling};

/// Finds what replaces a flag of another program.
///
/// A flag that ratchet has itself is never listed, whatever it means elsewhere.
pub(crate) fn spelling(flag: &str) -> Option<&'static str> {
    // The value may follow directly, as in `--max-procs=4` and `-P4`.
    let name = match flag.split_once('=') {
        Some((name, _)) => name,
        None if flag.starts_with("--") => flag,
        None => flag.get(..2).unwrap_or(flag),
    };
    if is_ours(name) {
        return None;
    }
    let is_meant = |row: &&Spelling| row.theirs.iter().any(|theirs| is_same(theirs, name));
    SPELLINGS.iter().find(is_meant).map(|row| row.ours)
}

/// Whether a flag was typed as its program takes it. GNU parallel also takes long flags without the dashes within them, and `colour`
/// for `color`.
fn is_same(theirs: &str, typed: &str) -> bool {
    let typed = typed.replace("colour", "color");
    let without_dashes = |flag: &str| {
        let name = flag.strip_prefix("--")?;
        Some(format!("--{}", name.replace('-', "")))
    };
    theirs == typed || without_dashes(theirs).is_some_and(|theirs| theirs == typed)
}

/// Whether ratchet has this flag itself, with another meaning or beside another spelling of it. It is never an unknown flag.
fn is_ours(name: &str) -> bool {
    matches!(name, "-o" | "--tagstring")
}

/// Returns a table for users of another program: its flags, and what replaces them.
pub(crate) fn table(program: Program) -> String {
    let (name, verb, same) = match program {
        Program::Xargs => (
            "xargs",
            "find . -print0 | xargs -0 -n 10 -P 4 CMD   is   find . -print0 | ratchet map -0 -n 10 -j 4 -- CMD",
            "-0 -a -d -E -I -L -n -p -r -s -t, and --null --arg-file --delimiter --eof --replace --max-args --max-chars\n  --interactive --no-run-if-empty",
        ),
        Program::Parallel | Program::Others => (
            "GNU parallel",
            "parallel -j 4 CMD {} ::: a b   is   ratchet map -j 4 -- CMD {} ::: a b\nparallel 'a {} | b' is ratchet map --shell 'a {} | b', and a list of commands is ratchet map --shell < FILE",
            "-0 -a -C -d -E -I -j -k -L -m -n -N -p -r -s -S -t -X, ::: :::+ :::: ::::+, {} {.} {/} {//} {/.} {#} {%} {1} {-1},\n  --bar --basefile --block --cleanup --colsep --csv --delay --dry-run --env --eta --halt --header --joblog\n  --keep-order --line-buffer --link --load --nice --pipe --pipe-part --recend --recstart --regexp --results --retries\n  --return --round-robin --shuf --tag --tagstring --timeout --transferfile --trc --tty --wd --workdir --xargs",
        ),
    };
    let mut text = format!("For those who know {name}\n\n{verb}\n\nThe same here:\n  {same}\n\n");
    if program == Program::Parallel {
        text.push_str(
            "Different although spelled the same:\n  \
             --retries N   so many attempts may follow the first one; in parallel, the first counts\n  \
             --header      takes no value: the first line names the columns\n  \
             --results     commands print to stdout too; --output /dev/null keeps that away\n  \
             -s, -X, -m    a command has up to 128KiB, twice as much as there; the last items are spread more evenly\n  \
             --progress    takes a value: auto, always, never\n  \
             -v, -q        log more, and say less (-t=stdout prints commands); no shell reads commands, so nothing is quoted\n  \
             -i            an inventory of hosts\n  \
             1k            1024 bytes, as 1K; in parallel, 1000\n\n",
        );
    }
    text.push_str("Yours, and ours:\n");
    for row in SPELLINGS.iter().filter(|row| row.of.contains(&program)) {
        let theirs = row.theirs.join(" ");
        let _ = writeln!(text, "  {theirs}\n      {}", row.ours);
    }
    text
}

/// Returns the same flags as a table of a document in Markdown.
pub(crate) fn markdown(program: Program) -> String {
    let mut text = "| yours | ours |\n|---|---|\n".to_owned();
    for row in SPELLINGS.iter().filter(|row| row.of.contains(&program)) {
        let theirs: Vec<String> = row.theirs.iter().map(|flag| format!("`{flag}`")).collect();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {} |",
            theirs.join(" "),
            row.ours.replace('|', "\\|")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Arguments;

    #[test]
    fn a_flag_of_another_program_is_told_how_it_is_spelled_here() {
        for (flag, said) in [
            ("-P", "`-j N`"),
            ("-P4", "`-j N`"),
            ("--max-procs=4", "`-j N`"),
            ("--rpl", "{1/REGEX/TEXT/}"),
            ("--er", "{.}"),
            ("--keep-going", "--max-fail"),
            ("--resume-failed", "ratchet resume"),
            ("--retryfailed", "ratchet resume"),
            ("--colour-failed", "--color"),
            ("--total-jobs=3", "counted ahead"),
        ] {
            let spelling = spelling(flag).unwrap();
            assert!(spelling.contains(said), "{flag}: {spelling}");
        }
        assert_eq!(spelling("--no-such-flag"), None);
        assert_eq!(spelling("--P"), None);
        assert_eq!(spelling(""), None);
    }

    #[test]
    fn no_flag_is_listed_twice_and_each_table_has_its_own() {
        let mut all: Vec<&str> = SPELLINGS
            .iter()
            .flat_map(|row| row.theirs)
            .copied()
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        let (parallel, xargs) = (table(Program::Parallel), table(Program::Xargs));
        assert!(parallel.contains("--rpl") && !xargs.contains("--rpl"));
        assert!(xargs.contains("--open-tty") && !parallel.contains("--open-tty"));
    }

    #[test]
    fn the_tables_of_the_readme_are_those_of_the_help() {
        let readme = include_str!("../../../README.md");
        for (name, program) in [("parallel", Program::Parallel), ("xargs", Program::Xargs)] {
            let begin = format!("<!-- ratchet help {name} --format markdown -->\n\n");
            let (_, rest) = readme.split_once(&begin).unwrap();
            let (table, _) = rest.split_once("\n</details>").unwrap();
            assert_eq!(
                table,
                markdown(program),
                "put what `ratchet help {name} --format markdown` prints into the README"
            );
        }
    }

    #[test]
    fn no_flag_of_ours_is_said_to_be_spelled_differently() {
        let root = Arguments::command();
        for verb in root.get_subcommands() {
            // Only `run` and `map` replace these programs.
            if !["run", "map"].contains(&verb.get_name()) {
                continue;
            }
            for argument in verb.get_arguments() {
                let longs = argument.get_long_and_visible_aliases().unwrap_or_default();
                let long = longs.into_iter().map(|long| format!("--{long}"));
                let short = argument.get_short().map(|short| format!("-{short}"));
                for flag in long.chain(short) {
                    assert_eq!(spelling(&flag), None, "{flag}");
                }
            }
        }
    }

    /// What the tables call the same is there.
    #[test]
    fn the_flags_that_are_the_same_are_flags_of_map() {
        let root = Arguments::command();
        let map = root.find_subcommand("map").unwrap();
        let is_ours = |flag: &str| {
            map.get_arguments().any(|argument| {
                let longs = argument.get_long_and_visible_aliases().unwrap_or_default();
                let shorts = argument.get_short_and_visible_aliases().unwrap_or_default();
                longs.iter().any(|long| flag == format!("--{long}"))
                    || shorts.iter().any(|short| flag == format!("-{short}"))
            })
        };
        for program in [Program::Parallel, Program::Xargs] {
            let text = table(program);
            let (_, rest) = text.split_once("The same here:\n").unwrap();
            let (same, _) = rest.split_once("\n\n").unwrap();
            let words = same
                .split_whitespace()
                .map(|word| word.trim_end_matches(','));
            for flag in words.filter(|word| word.starts_with('-')) {
                assert!(is_ours(flag), "{flag}");
            }
        }
    }
}
