//! The flags of other programs, and what replaces them in ratchet.

/// A program whose flags are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Parallel,
    Xargs,
    /// Other programs: make, test runners, task queues.
    Others,
}

use Program::{Others, Parallel, Xargs};

/// A row of the table: flags of other programs, and what replaces them.
pub(crate) struct Spelling {
    /// The programs that have the flags.
    pub(crate) of: &'static [Program],
    /// The flags as they are typed there.
    pub(crate) theirs: &'static [&'static str],
    /// What replaces them in ratchet.
    pub(crate) ours: &'static str,
}

const fn row(
    of: &'static [Program],
    theirs: &'static [&'static str],
    ours: &'static str,
) -> Spelling {
    Spelling { of, theirs, ours }
}

/// Programs that share a flag.
const BOTH: &[Program] = &[Parallel, Xargs];
const ALL: &[Program] = &[Parallel, Xargs, Others];
const PARALLEL: &[Program] = &[Parallel];
const XARGS: &[Program] = &[Xargs];
const OTHERS: &[Program] = &[Others];

/// All flags that ratchet spells differently, or lacks on purpose.
pub(crate) const SPELLINGS: &[Spelling] = &[
    // How much at once.
    row(
        ALL,
        &["-P", "--max-procs"],
        "the number of jobs at once is `-j N`",
    ),
    row(
        OTHERS,
        &["--parallel", "--threads", "--concurrency", "--max-workers"],
        "the number of jobs at once is `-j N`",
    ),
    row(
        PARALLEL,
        &["--memfree", "--mem-free", "--memsuspend"],
        "it is spelled `--memory-free SIZE`: new jobs are held back, running ones go on",
    ),
    row(
        PARALLEL,
        &["--noswap"],
        "`--memory-free SIZE` and `--load N` hold back new jobs",
    ),
    row(
        PARALLEL,
        &[
            "--use-cpus-instead-of-cores",
            "--use-cores-instead-of-threads",
            "--use-sockets-instead-of-threads",
        ],
        "`-j 50%` counts the cores that this process may use; write the number itself for another count",
    ),
    row(
        PARALLEL,
        &[
            "--number-of-cpus",
            "--number-of-cores",
            "--number-of-sockets",
            "--number-of-threads",
        ],
        "`nproc` prints it; `-j 100%` uses it",
    ),
    // Placeholders.
    row(
        PARALLEL,
        &["-U", "--rpl", "--parens", "--plus"],
        "the placeholders are fixed; `{1/REGEX/TEXT/}` replaces a part of an item",
    ),
    row(
        PARALLEL,
        &["--er", "--extensionreplace"],
        "it is always `{.}`",
    ),
    row(
        PARALLEL,
        &["--bnr", "--basenamereplace"],
        "it is always `{/}`",
    ),
    row(
        PARALLEL,
        &["--dnr", "--dirnamereplace"],
        "it is always `{//}`",
    ),
    row(
        PARALLEL,
        &["--bner", "--basenameextensionreplace"],
        "it is always `{/.}`",
    ),
    row(PARALLEL, &["--seqreplace"], "it is always `{#}`"),
    row(PARALLEL, &["--slotreplace"], "it is always `{%}`"),
    row(
        BOTH,
        &["--process-slot-var"],
        "commands have their slot in `RATCHET_SLOT`, from 1 on, and in `{%}`",
    ),
    // Items.
    row(
        BOTH,
        &["-e"],
        "it is spelled `-E TEXT`, and without a text no item ends the input",
    ),
    row(
        BOTH,
        &["-l"],
        "it is spelled `-L N`, or `-n N` where blanks at the end of a line mean nothing",
    ),
    row(
        PARALLEL,
        &["--null-data", "--nul"],
        "items that end with NUL are read with `-0`",
    ),
    row(
        PARALLEL,
        &["--arg-sep", "--arg-file-sep"],
        "items stand after `:::`, and files of items after `::::`",
    ),
    row(
        PARALLEL,
        &["--trim"],
        "items are taken as they are: trim them before, as by `sed 's/^ *//; s/ *$//'`",
    ),
    row(
        PARALLEL,
        &["--skip-first-line"],
        "leave it out of the input, as by `tail -n +2`; `--header` takes it as the names of columns",
    ),
    row(
        PARALLEL,
        &["--seed"],
        "`--shuf` is another order each time; for one that comes again, shuffle before: `shuf --random-source=FILE`",
    ),
    row(
        PARALLEL,
        &["--filter"],
        "leave items out before, as by `grep`",
    ),
    row(
        PARALLEL,
        &["--quote", "--shellquote", "--shell-quote"],
        "no shell is in between, so items and arguments need no quotes; `--dry-run` prints commands quoted for a shell",
    ),
    row(
        PARALLEL,
        &["--unsafe"],
        "items are never read by a shell: leave the flag out",
    ),
    row(
        XARGS,
        &["-J", "-R"],
        "write {} where the item goes, as often as it goes there",
    ),
    // Several items a command.
    row(
        BOTH,
        &["-x", "--exit"],
        "an item that does not fit into a command fails by itself; `--halt now,fail=1` stops the others",
    ),
    row(
        BOTH,
        &["--max-line-length-allowed", "--show-limits"],
        "`getconf ARG_MAX` prints the limit; commands keep it by themselves, and `-s BYTES` lowers it",
    ),
    // Blocks.
    row(PARALLEL, &["--block-size"], "it is spelled `--block SIZE`"),
    row(
        PARALLEL,
        &["--block-timeout", "--bt"],
        "a block is passed on when it is full or the input ends: choose a smaller `--block`, or records by `-N`",
    ),
    row(
        PARALLEL,
        &["--cat", "--fifo"],
        "a block is the stdin of its command; `--shell 'cat > {#}.tmp; ..'` makes a file of it",
    ),
    row(
        PARALLEL,
        &["--rrs", "--removerecsep", "--remove-rec-sep"],
        "separators stay in the blocks: remove them in the command, as by `sed`",
    ),
    row(
        PARALLEL,
        &["--tee", "--shard", "--bin", "--group-by", "--groupby"],
        "blocks are parts of the input in its order; sort or split it before for another division",
    ),
    // Output.
    row(
        ALL,
        &["--verbose-commands"],
        "`-t` prints each command to stderr when it starts, `-t=stdout` before its output, and `--dry-run` runs nothing",
    ),
    row(PARALLEL, &["--dryrun", "--dr"], "it is spelled `--dry-run`"),
    row(
        PARALLEL,
        &["--keeporder"],
        "it is spelled `--keep-order`, or `-k`",
    ),
    row(
        PARALLEL,
        &[
            "-u",
            "--ungroup",
            "--lb",
            "--linebuffer",
            "--latest-line",
            "--ll",
        ],
        "`map --line-buffer` prints lines as they come; output of two jobs is never mixed within a line",
    ),
    row(
        PARALLEL,
        &["--group"],
        "the output of a command is always kept together: leave the flag out",
    ),
    row(
        PARALLEL,
        &["--tag-string", "--ctag", "--ctagstring"],
        "it is spelled `--tag`, or `--tagstring TEXT`",
    ),
    row(
        PARALLEL,
        &["--res", "--result"],
        "it is spelled `--results DIR`",
    ),
    row(PARALLEL, &["--jl"], "it is spelled `--joblog FILE`"),
    row(
        PARALLEL,
        &[
            "--files",
            "--files0",
            "--output-as-files",
            "--outputasfiles",
            "--compress",
            "--compress-program",
            "--decompress-program",
            "--use-compress-program",
            "--use-decompress-program",
            "--tmpdir",
            "--tempdir",
        ],
        "`--results DIR` keeps each output in a file; long outputs wait in files of $TMPDIR by themselves",
    ),
    row(PARALLEL, &["--silent"], "it is spelled `--quiet`, or `-q`"),
    row(
        OTHERS,
        &["--no-progress"],
        "it is spelled `--progress never`",
    ),
    row(
        PARALLEL,
        &["--total-jobs", "--total"],
        "the number of items is counted ahead where progress is shown: leave the flag out",
    ),
    row(
        PARALLEL,
        &["--color-failed", "--color-fail", "--cf"],
        "failures are coloured on a terminal; `--color` says when",
    ),
    row(
        PARALLEL,
        &["--tmux", "--tmuxpane"],
        "`--line-buffer --tag` shows what runs; `ratchet runs show` tells how a run stands",
    ),
    row(
        PARALLEL,
        &["--sql", "--sqlmaster", "--sqlworker", "--sqlandworker"],
        "`--format jsonl` writes results that any database reads",
    ),
    row(XARGS, &["-o", "--open-tty"], "xargs' `-o` is `--tty` here"),
    // Failures.
    row(
        OTHERS,
        &["--keep-going", "--no-run-if-fails", "--continue-on-error"],
        "a failed job never stops the others: leave the flag out; `--max-fail 1` stops at the first failure",
    ),
    row(
        OTHERS,
        &["--fail-fast", "--stop-on-error"],
        "`--max-fail 1` stops at the first failure; `--halt now,fail=1` of map stops running commands too",
    ),
    row(
        PARALLEL,
        &["--halt-on-error"],
        "it is spelled `--halt now,fail=1`",
    ),
    row(
        PARALLEL,
        &["--resume", "--resume-failed", "--retry-failed"],
        "every run is recorded: `ratchet resume` goes on with the last one, and runs again what failed",
    ),
    row(
        OTHERS,
        &["--retry", "--tries", "--max-retries"],
        "it is spelled `--retries N`: how many attempts may follow a failed first one",
    ),
    row(
        PARALLEL,
        &["--term-seq", "--termseq"],
        "a command is asked by SIGTERM and killed after `--grace D`",
    ),
    // Hosts.
    row(
        PARALLEL,
        &["--slf"],
        "it is spelled `--sshloginfile FILE`; `-i INVENTORY` reads hosts and groups",
    ),
    row(
        PARALLEL,
        &["--ssh", "--sshdelay", "-M", "--controlmaster"],
        "a host has one connection; `ssh_config` and the inventory say how it is made",
    ),
    row(
        PARALLEL,
        &["--nonall", "--onall"],
        "`--each-host` runs a command once on each host",
    ),
    row(
        PARALLEL,
        &["--hostgroups", "--hostgroup", "--hostgrp", "--hgrp"],
        "`--on @GROUP` chooses a group of the inventory",
    ),
    row(
        PARALLEL,
        &["--filter-hosts"],
        "`ratchet hosts check` tells which hosts can be used; one that is lost loses no job",
    ),
    row(
        PARALLEL,
        &["--rsync-opts", "--rsyncopts"],
        "files are brought by ratchet itself: `--push`, `--pull`",
    ),
    row(
        PARALLEL,
        &["--record-env", "--par-export", "--session"],
        "commands here have the whole environment; `--env NAME` passes a variable to other hosts",
    ),
    // The rest.
    row(
        PARALLEL,
        &[
            "--sem",
            "--semaphore",
            "--semaphore-name",
            "--semaphorename",
            "--id",
            "--semaphore-timeout",
            "--semaphoretimeout",
            "--st",
            "--fg",
            "--bg",
            "--wait",
        ],
        "it is a verb here, as in `ratchet sem -j4 -- COMMAND`; `ratchet help sem` says more",
    ),
    row(
        PARALLEL,
        &["--will-cite", "--citation", "--bibtex", "--no-notice"],
        "there is no notice to be silenced: leave the flag out",
    ),
    row(
        PARALLEL,
        &["--gnu", "--tollef", "--plain"],
        "leave the flag out: there is one syntax",
    ),
    row(
        PARALLEL,
        &["--profile"],
        "options that hold for every run stand in a config file: `ratchet config show`",
    ),
    row(
        PARALLEL,
        &[
            "--shebang",
            "--hashbang",
            "--shebang-wrap",
            "--embed",
            "--template",
            "--tmpl",
        ],
        "a list of jobs is a job file: `ratchet run FILE`",
    ),
    row(
        PARALLEL,
        &["--shell-completion"],
        "it is spelled `ratchet completions SHELL`",
    ),
    row(
        PARALLEL,
        &["--minversion", "-V"],
        "`ratchet --version` prints the version",
    ),
];
