//! The work for each item: a command with placeholders, or a filter that keeps running.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use ratchet_runtime::process::{PoolConfig, ProcessConfig, Size};
use ratchet_runtime::{BreakerConfig, CacheTerms, Placement, TaskName, Terms};

use super::worker::task_of_worker;
use crate::args::map::MapArguments;
use crate::error::CliError;
use crate::job_file::{Protocol, ServedTasks, WorkerPlan, cannot_start, typed_worker};
use crate::map::{
    Columns, CommandStart, FileFlags, FileTemplates, ItemCommand, LineInterpreter, MapWork,
    Template, shell_operator, warm_pool,
};
use crate::session::{RunOptions, Session};

/// Makes the work for each item, and the kind of worker that performs it if the command is a filter.
pub(super) fn work(
    arguments: &MapArguments,
    command: &[OsString],
    columns: Columns<'_>,
    options: &RunOptions,
    on: &Placement,
) -> Result<(MapWork, Vec<WorkerPlan>), CliError> {
    let refuse_missing = |process: &ProcessConfig| match on {
        Placement::Here => refuse_missing(process),
        // The program is looked up on the host.
        Placement::Host | Placement::Among(_) => Ok(()),
    };
    let files = FileTemplates::of(typed_files(arguments), columns)?;
    let start = CommandStart::of(arguments.cwd.as_ref(), &arguments.env, arguments.nice)?;
    if *on == Placement::Here {
        start.check_folder()?;
    }
    if let Some(worker) = &arguments.worker {
        let protocol = arguments.protocol.unwrap_or_default();
        let mut pool = typed_worker(worker, protocol)?;
        pool.size = Size::fixed(options.workers);
        pool.process = start.with_niceness(start.apply(pool.process));
        options.pool_defaults().apply(&mut pool);
        pool.process.files = files.map(|files| Arc::new(files.of_filter()));
        let task = task_of_worker(arguments, protocol, &pool)?;
        let work = match protocol {
            Protocol::Lines => MapWork::Warm(task.clone()),
            _ => MapWork::Worker(task.clone()),
        };
        let mut plan = warm_worker(pool, task, options.breaker, on.clone());
        if matches!(protocol, Protocol::Ratchet | Protocol::Mcp) {
            // The worker itself declares what it serves, so that an unknown task is refused by name.
            plan.serves = ServedTasks::Everything;
        }
        return Ok((work, vec![plan]));
    }
    if arguments.warm {
        let (mut pool, task) = warm_pool(command, columns, options.workers)?;
        refuse_missing(&start.with_resolved_program(pool.process.clone()))?;
        pool.process = start.with_niceness(start.apply(pool.process));
        options.pool_defaults().apply(&mut pool);
        pool.skip_lines = arguments.skip_lines;
        pool.process.files = files.map(|files| Arc::new(files.of_filter()));
        let worker = warm_worker(pool, task.clone(), options.breaker, on.clone());
        return Ok((MapWork::Warm(task), vec![worker]));
    }
    let command = item_command(arguments, command, columns)?;
    if let Some(program) = program(&command) {
        refuse_missing(&start.with_resolved_program(ProcessConfig::new(program)))?;
    }
    let work = MapWork::Command {
        command,
        files,
        start,
    };
    Ok((work, Vec::new()))
}

/// Returns how an item becomes a command. If no command was typed, each item is one.
pub(super) fn item_command(
    arguments: &MapArguments,
    command: &[OsString],
    columns: Columns<'_>,
) -> Result<ItemCommand, CliError> {
    let template = match (command, &arguments.shell) {
        ([], Some(shell)) => return Ok(ItemCommand::Line(LineInterpreter::Shell(shell.clone()))),
        ([], None) => return Ok(ItemCommand::Line(LineInterpreter::Words)),
        (_, Some(shell)) => Template::shell(shell, command, columns, arguments.in_place)?,
        (_, None) => Template::parse(command, columns)?,
    };
    Ok(ItemCommand::Template(if arguments.in_place {
        template.with_items_in_place()
    } else {
        template
    }))
}

/// Returns the program of all commands, if it is the same for every item.
pub(super) fn program(command: &ItemCommand) -> Option<&OsStr> {
    match command {
        ItemCommand::Template(template) => template.program(),
        ItemCommand::Line(LineInterpreter::Shell(shell)) => Some(shell),
        ItemCommand::Line(LineInterpreter::Words) => None,
    }
}

/// Refuses a program that cannot be started, once and before the first item.
pub(super) fn refuse_missing(process: &ProcessConfig) -> Result<(), CliError> {
    let Some(missing) = cannot_start(process) else {
        return Ok(());
    };
    let error = CliError::usage(missing);
    Err(if process.command.as_os_str().as_bytes().contains(&b' ') {
        error.with_help("write the program and its arguments as words of their own; --shell runs a line as a shell does")
    } else {
        error
    })
}

/// Refuses files of commands whose results may be reused, because a reused result makes no files.
pub(super) fn refuse_cached_files(arguments: &MapArguments, terms: &Terms) -> Result<(), CliError> {
    if matches!(terms.cache, Some(CacheTerms::On { .. })) && typed_files(arguments).has_any() {
        return Err(
            CliError::usage("the result of a job with files cannot be reused, because reusing a result makes no files")
                .with_help("leave out --cache or the files"),
        );
    }
    Ok(())
}

/// Returns the arguments about files.
pub(super) fn typed_files(arguments: &MapArguments) -> FileFlags<'_> {
    FileFlags {
        push: &arguments.push,
        pull: &arguments.pull,
        transfer: arguments.transfer,
        trc: &arguments.trc,
        basefile: &arguments.basefile,
        cleanup: arguments.cleanup,
        keep_remote: arguments.common.hosts.keep_remote,
    }
}

/// Returns the kind of worker that answers the items of `--warm`.
pub(super) fn warm_worker(
    pool: PoolConfig,
    task: TaskName,
    breaker: Option<BreakerConfig>,
    on: Placement,
) -> WorkerPlan {
    WorkerPlan {
        pool,
        serves: ServedTasks::Named(vec![task]),
        breaker,
        on,
    }
}

/// Warns of a word that only a shell would act on.
pub(super) fn warn_of_operator(command: &[OsString], arguments: &MapArguments, session: &Session) {
    if arguments.shell.is_some() || session.options().quiet {
        return;
    }
    if let Some(operator) = shell_operator(command) {
        session.console().say(&format!(
            "ratchet: warning: `{operator}` is passed to the command as an argument, because no shell runs it; use --shell to run the line in a shell\n"
        ));
    }
}
