//! `ratchet run`: runs the jobs of a file, or of a stream.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use ratchet_runtime::process::Keeper;

use super::{idle, overwrite};
use crate::args::run::RunArguments;
use crate::error::CliError;
use crate::job_file::{self, Protocol};
use crate::session::{Again, Errand, Feed, Session, TerminalUse, source_of};

pub(crate) fn run(arguments: &RunArguments, again: Option<Again>) -> Result<u8, CliError> {
    let file = arguments.file.clone().unwrap_or_else(|| PathBuf::from("-"));
    if arguments.file.is_none() && io::stdin().is_terminal() {
        return Err(CliError::usage("there are no jobs: stdin is a terminal")
            .hint("name a job file, or write jobs to stdin, a JSON object a line"));
    }
    overwrite::refuse_of_run(arguments, &file)?;
    let protocol = arguments.protocol.unwrap_or_default();
    if arguments.skip_lines > 0 && protocol != Protocol::Lines {
        return Err(CliError::usage(
            "--skip-lines says nothing to a worker that speaks the protocol",
        )
        .hint("add --protocol lines if it is a filter"));
    }
    let reads_stdin = file == Path::new("-");
    let terminal = TerminalUse::of(arguments.tty, &arguments.common, reads_stdin)?;
    let session = Session::open(&arguments.common, &arguments.record, terminal, again)?;
    let mut options = session.options();
    options.worker = arguments
        .worker
        .as_deref()
        .map(|command| worker(command, protocol))
        .transpose()?;
    if let Some(pool) = &mut options.worker {
        pool.skip_lines = arguments.skip_lines;
    }
    let plan = job_file::open(&file, &options)?;
    idle::refuse_of_run(arguments, &plan, &options.pools)?;
    let look = session.rules.err_style().look();
    session.screen.say(&plan.warnings.render(look));
    let errand = Errand {
        feed: Feed::of(plan.jobs, arguments.strict).with_terminal(terminal),
        source: (file != Path::new("-")).then(|| source_of(&file)).flatten(),
        stdin: (file == Path::new("-")).then_some("jobs.jsonl"),
        workers: plan.workers,
        limits: plan.limits,
        recipient: session.rules.recipient(&session.screen)?,
        commander: None,
        keeper: keeper()?,
        halt: None,
    };
    session.perform(errand)
}

/// The worker of a command that was typed.
pub(super) fn worker(
    command: &str,
    protocol: Protocol,
) -> Result<ratchet_runtime::process::PoolConfig, CliError> {
    let pool = job_file::command_worker(command, protocol).map_err(|error| CliError::Usage {
        message: format!("the worker's command cannot be read: {}", error.reason),
        hint: error.hint,
    })?;
    match job_file::cannot_start(&pool.process) {
        Some(missing) => Err(CliError::usage(format!(
            "the worker cannot start: {missing}"
        ))),
        None => Ok(pool),
    }
}

/// Who kills all that is left, should this process be killed.
pub(super) fn keeper() -> Result<Keeper, CliError> {
    Keeper::start().map_err(|error| {
        CliError::Internal(format!(
            "the process that guards the jobs cannot be started: {error}; the limits of open files (`ulimit -n`) and of \
             processes (`ulimit -u`) may be too low"
        ))
    })
}
