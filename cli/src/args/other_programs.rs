//! Flags of xargs, GNU parallel and make that ratchet spells differently.

/// Finds the flag of ratchet that stands for a flag of another program.
///
/// A flag that ratchet has itself is never listed, whatever it means elsewhere.
pub(crate) fn spelling(flag: &str) -> Option<&'static str> {
    // The value may follow directly, as in `--max-procs=4` and `-P4`.
    let name = match flag.split_once('=') {
        Some((name, _)) => name,
        None if flag.starts_with("--") => flag,
        None => flag.get(..2).unwrap_or(flag),
    };
    SPELLINGS
        .iter()
        .find(|(names, _)| names.contains(&name))
        .map(|(_, spelling)| *spelling)
}

const SPELLINGS: &[(&[&str], &str)] = &[
    (
        &[
            "-P",
            "--max-procs",
            "--parallel",
            "--threads",
            "--concurrency",
            "--max-workers",
        ],
        "the number of jobs at once is `-j N`",
    ),
    (
        &["-I", "--replace"],
        "the placeholder is always `{}`: leave the flag out and write {} where the item goes",
    ),
    (
        &["--keep-going", "--no-run-if-fails", "--continue-on-error"],
        "a failed job never stops the others: leave the flag out; `--max-fail 1` stops at the first failure",
    ),
    (
        &["--fail-fast", "--halt-on-error", "--stop-on-error"],
        "`--max-fail 1` stops at the first failure; `--halt now,fail=1` of map stops running commands too",
    ),
    (
        &["-r", "--no-run-if-empty"],
        "without items nothing is run: leave the flag out; the exit code is 4 then",
    ),
    (
        &["-t", "--verbose-commands"],
        "`map --dry-run` prints the commands and runs nothing; `-v` logs more",
    ),
    (&["--dryrun"], "it is spelled `--dry-run`"),
    (&["--keeporder"], "it is spelled `--keep-order`, or `-k`"),
    (
        &["-u", "--ungroup", "--lb", "--linebuffer"],
        "`map --line-buffer` prints lines as they come; output of two jobs is never mixed within a line",
    ),
    (
        &["--group"],
        "the output of a command is always kept together: leave the flag out",
    ),
    (
        &["--bar", "--eta", "--no-progress"],
        "a bar with the time left is shown on a terminal; `--progress always` prints lines elsewhere, and `--progress never` hides both",
    ),
    (
        &["--memfree", "--mem-free"],
        "it is spelled `--memory-free`",
    ),
    (
        &["--noswap"],
        "`--memory-free SIZE` and `--load N` hold back new jobs",
    ),
    (
        &["--resume", "--resume-failed", "--retry-failed"],
        "every run is recorded: `ratchet resume` goes on with the last one, and runs again what failed",
    ),
    (
        &["--retry", "--tries", "--max-retries"],
        "it is spelled `--retries N`: how many attempts may follow a failed first one",
    ),
    (
        &["--will-cite", "--citation", "--bibtex", "--no-notice"],
        "there is no notice to be silenced: leave the flag out",
    ),
    (
        &["--null-data", "--nul"],
        "items that end with NUL are read with `-0`",
    ),
    (
        &["--quote"],
        "no shell is in between, so items and arguments need no quotes: leave the flag out",
    ),
    (
        &["--sem", "--semaphore", "--fg"],
        "it is a verb here, as in `ratchet sem -j4 -- COMMAND`; `ratchet help sem` says more",
    ),
    (&["--silent"], "it is spelled `--quiet`, or `-q`"),
];

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
            ("-I{}", "{}"),
            ("--keep-going", "--max-fail"),
            ("--resume-failed", "ratchet resume"),
        ] {
            let spelling = spelling(flag).unwrap();
            assert!(spelling.contains(said), "{flag}: {spelling}");
        }
        assert_eq!(spelling("--no-such-flag"), None);
        assert_eq!(spelling(""), None);
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
                let long = argument.get_long().map(|long| format!("--{long}"));
                let short = argument.get_short().map(|short| format!("-{short}"));
                for flag in long.into_iter().chain(short) {
                    assert_eq!(spelling(&flag), None, "{flag}");
                }
            }
        }
    }
}
