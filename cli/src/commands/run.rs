//! `ratchet run`: runs the jobs of a file, or of a stream.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ratchet_runtime::Job;

use super::file_jobs;
use crate::args::run::RunArguments;
use crate::error::CliError;
use crate::job_file::{self, Addition, JobAdder, Jobs, Protocol};
use crate::preflight::{overwrite, unused_flags};
use crate::session::{
    JobSource, Repetition, ResumedRun, RunSetup, Session, TerminalUse, job_file_source,
    open_report, start_keeper,
};

/// Runs the jobs of a file or of a stream, here or through a queue.
pub(crate) fn run(
    arguments: &RunArguments,
    resumed_run: Option<ResumedRun>,
) -> Result<u8, CliError> {
    #[cfg(feature = "queue")]
    if let Some(option) = arguments.through.idle() {
        return Err(CliError::usage(format!(
            "{option} has an effect only on jobs in a queue, and this run does its jobs itself"
        ))
        .with_help("add --queue, or leave it out"));
    }
    #[cfg(feature = "queue")]
    if arguments.through.is_wanted() {
        return super::queued::run(arguments, resumed_run);
    }
    run_here(arguments, resumed_run)
}

/// Runs the jobs on this machine and on those that it reaches.
fn run_here(arguments: &RunArguments, resumed_run: Option<ResumedRun>) -> Result<u8, CliError> {
    let file = arguments.file.clone().unwrap_or_else(|| PathBuf::from("-"));
    if arguments.file.is_none() && io::stdin().is_terminal() {
        return Err(CliError::usage("there are no jobs: stdin is a terminal")
            .with_help("name a job file, or write jobs to stdin, a JSON object a line"));
    }
    overwrite::refuse_of_run(arguments, &file)?;
    let protocol = arguments.protocol.unwrap_or_default();
    if arguments.skip_lines > 0 && protocol != Protocol::Lines {
        return Err(CliError::usage(
            "--skip-lines has no effect on a worker that speaks the protocol",
        )
        .with_help("add --protocol lines if it is a filter"));
    }
    let additions = match &resumed_run {
        Some(resumed) => resumed.additions()?,
        None => Vec::new(),
    };
    let reads_stdin = file == Path::new("-");
    let terminal = TerminalUse::of(arguments.tty, &arguments.common, reads_stdin)?;
    let mut session = Session::open(&arguments.common, &arguments.record, terminal, resumed_run)?;
    let mut options = session.plan_options();
    options.worker = arguments
        .worker
        .as_deref()
        .map(|command| job_file::typed_worker(command, protocol))
        .transpose()?;
    if let Some(pool) = &mut options.worker {
        pool.skip_lines = arguments.skip_lines;
    }
    options.selection = arguments.selection.selection();
    options.fail_fast.clone_from(&arguments.group_fail_fast);
    let pools = options.pools;
    let name = if reads_stdin {
        "stdin".to_owned()
    } else {
        format!("`{}`", file.display())
    };
    let path = file.clone();
    let plan = session.read(&name, move || job_file::open(&path, &options))??;
    unused_flags::refuse_of_run(arguments, &plan, &pools)?;
    session.check_hosts(&plan.hosts)?;
    let terms = &arguments.common.terms;
    let limits = file_jobs::limits(terms, plan.limits)?;
    job_file::check_typed(
        &plan.hosts.all_resources(&plan.resources),
        session.options().flags.resources.as_deref(),
    )?;
    let style = session.options().stderr_style();
    session.console().say(&plan.warnings.render(style));
    if arguments.list {
        return file_jobs::list(&plan.jobs, &name);
    }
    let times = arguments.repeat.map(Repetition::Times);
    let repetition = times.or(arguments.stress.map(Repetition::For));
    let (more, adder) = added_before(plan.adder, additions, session.options().slots)?;
    let adder = repetition.is_none().then(|| Arc::new(adder));
    let jobs = match repetition {
        None => JobSource::of(plan.jobs, arguments.strict, more),
        Some(repetition) => {
            let Jobs::Listed {
                jobs,
                order,
                setups,
            } = plan.jobs
            else {
                return Err(CliError::usage(format!(
                    "--repeat and --stress need to know all jobs before the run, and {name} is a stream"
                )));
            };
            JobSource::repeated(jobs, (&order, &setups), repetition, session.options().slots)
        }
    };
    let setup = RunSetup {
        verb: "run",
        jobs: jobs.with_terminal(terminal),
        source: (!reads_stdin).then(|| job_file_source(&file)).flatten(),
        stdin: reads_stdin.then_some("jobs.jsonl"),
        workers: plan.workers,
        hosts: plan.hosts,
        limits,
        resources: plan.resources,
        protection: plan.protection,
        report: open_report(&mut session)?,
        command_runner: None,
        play: None,
        keeper: start_keeper()?,
        halt: None,
        adder,
    };
    session.perform(setup)
}

/// Reads what was added to the earlier part of the run. Returns the jobs and the reader of the next addition.
fn added_before(
    mut adder: JobAdder,
    additions: Vec<(u32, Addition)>,
    slots: u32,
) -> Result<(Vec<Job>, JobAdder), CliError> {
    let mut jobs = Vec::new();
    for (number, addition) in additions {
        let (more, next) = adder.read(&addition, number, slots).map_err(|report| {
            CliError::usage(format!(
                "jobs of `{}` were added to the run, and its file has changed so that they are refused",
                addition.name
            ))
            .with_diagnostics(vec![*report])
        })?;
        jobs.extend(more.into_jobs());
        adder = next;
    }
    Ok((jobs, adder))
}
