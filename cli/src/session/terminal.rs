//! `--tty`, which gives the terminal to the jobs, one at a time.

use std::fs::File;
use std::io::{self, IsTerminal};

use crate::args::shared_run::SharedRunArguments;
use crate::args::terms::CacheMode;
use crate::error::CliError;

/// The user of the terminal during a run: the progress display or the jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TerminalUse {
    /// This process shows progress on the terminal.
    Progress,
    /// The running job reads from the terminal.
    Job,
    /// This process asks on the terminal whether to run jobs.
    Questions,
}

impl TerminalUse {
    /// Decides who uses the terminal, and refuses options that exclude `--tty`. `reads_stdin` is whether the items or
    /// jobs come from stdin.
    pub(crate) fn of(
        tty: bool,
        typed: &SharedRunArguments,
        reads_stdin: bool,
    ) -> Result<Self, CliError> {
        if !tty {
            return Ok(Self::Progress);
        }
        let jobs = typed.concurrency.jobs.as_ref();
        if jobs.is_some_and(|jobs| jobs.number() != Some(1)) {
            return Err(
                CliError::usage("--tty gives the terminal to one job at a time")
                    .with_help("leave out -j, or --tty"),
            );
        }
        if matches!(typed.terms.cache, Some(CacheMode::On | CacheMode::Refresh)) {
            return Err(CliError::usage(
                "results of jobs that read from the terminal are not cached, because they depend on what is typed",
            )
            .with_help("leave out --cache, or --tty"));
        }
        File::open("/dev/tty").map_err(|error| {
            CliError::usage(format!(
                "--tty needs a terminal, and this process has none: {error}"
            ))
            .with_help("run it in a terminal, or leave out --tty")
        })?;
        if reads_stdin && io::stdin().is_terminal() {
            return Err(CliError::usage(
                "stdin is the terminal that --tty gives to the jobs, so nothing else is read from it",
            )
            .with_help("name a file, or write items after `:::`"));
        }
        Ok(Self::Job)
    }
}
