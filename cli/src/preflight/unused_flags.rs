//! Refuses flags that would have no effect.
//!
//! Only flags are checked. A setting of the environment or of a config file applies to every run, and may well have no
//! effect on one.

use ratchet_runtime::process::{PoolConfig, ProgramInput};
use ratchet_runtime::{Job, Work};

use crate::args::concurrency::ConcurrencyArguments;
use crate::args::map::MapArguments;
use crate::args::run::RunArguments;
use crate::args::terms::{TypedHint, TypedTimeout};
use crate::error::CliError;
use crate::job_file::{Jobs, Plan, PoolDefaults};

/// Refuses flags of `run` that would have no effect on this plan.
pub(crate) fn refuse_of_run(
    arguments: &RunArguments,
    plan: &Plan,
    defaults: &PoolDefaults,
) -> Result<(), CliError> {
    if let Some(TypedHint::Template(hint)) = &arguments.common.terms.hint {
        return Err(CliError::usage(format!(
            "--hint {} has a placeholder, but the jobs of a file have no items to fill it",
            hint.display()
        ))
        .with_help("set `hint` in the jobs; placeholders work only in `ratchet map`"));
    }
    if let Some(TypedTimeout::OfMedian(percent)) = arguments.common.terms.timeout {
        return Err(CliError::usage(format!(
            "--timeout {percent}% needs the median of similar jobs, and the jobs of a file may differ"
        ))
        .with_help("write a time, as in 30s; percentages work only in `ratchet map`"));
    }
    if arguments.tty && wants_workers(plan) {
        return Err(CliError::usage(
            "--tty gives the terminal to commands, but some of these jobs have a `task`, which a worker does",
        )
        .with_help("leave out --tty, or run the commands separately"));
    }
    if arguments.tty && reads_stdin(plan) {
        return Err(CliError::usage(
            "--tty gives the terminal to commands as their stdin, but some of these jobs set `stdin`",
        )
        .with_help("leave out --tty or `stdin`"));
    }
    if arguments.common.terms.job_memory.is_some() && !has_commands(plan) {
        return Err(
            CliError::usage("--job-memory limits commands, but no job has a `run`").with_help(
                "leave it out; `memory` in the section of a worker limits the memory of a worker",
            ),
        );
    }
    if arguments.common.hosts.keep_remote && !has_files(plan) {
        return Err(CliError::usage(
            "--keep-remote has no effect, because no job copies files to or from hosts",
        )
        .with_help("add `push` or `pull` to a job, or leave out --keep-remote"));
    }
    let ConcurrencyArguments {
        workers, prefetch, ..
    } = arguments.common.concurrency;
    let typed = [
        ("--worker", arguments.worker.is_some()),
        ("--workers", workers.is_some()),
        ("--prefetch", prefetch.is_some()),
    ];
    if !wants_workers(plan) {
        let Some(flag) = first_typed(typed) else {
            return Ok(());
        };
        let error = CliError::usage(format!(
            "{flag} has no effect, because no job has a `task` for a worker process"
        ));
        return Err(error.with_help(hint(
            flag,
            "leave it out; -j sets how many commands run at once",
        )));
    }
    let follows = |follows: &dyn Fn(&PoolConfig) -> bool| {
        let mut pools = plan.workers.iter().map(|worker| &worker.pool);
        pools.any(follows)
    };
    if workers.is_some() && !follows(&|pool| Some(pool.size) == defaults.size) {
        return Err(all_workers_set("--workers", "size"));
    }
    if prefetch.is_some() && !follows(&|pool| Some(pool.prefetch) == defaults.prefetch) {
        return Err(all_workers_set("--prefetch", "prefetch"));
    }
    Ok(())
}

/// Returns the error for a flag that each worker of the file overrides by its own key.
fn all_workers_set(flag: &str, key: &str) -> CliError {
    CliError::usage(format!(
        "{flag} has no effect, because every worker of this file sets `{key}`"
    ))
    .with_help(format!("leave out {flag}, or change `{key}` in the file"))
}

/// Refuses flags of `map` that would have no effect.
pub(crate) fn refuse_of_map(arguments: &MapArguments) -> Result<(), CliError> {
    if arguments.warm && arguments.common.terms.job_memory.is_some() {
        return Err(CliError::usage(
            "--job-memory limits a command that runs once per item, but --warm keeps one running for many items",
        )
        .with_help("leave out --job-memory or --warm"));
    }
    let timeout = arguments.common.terms.timeout;
    if arguments.warm && matches!(timeout, Some(TypedTimeout::OfMedian(_))) {
        return Err(CliError::usage(
            "--timeout in percent works for commands that are started for each item, but --warm keeps one running",
        )
        .with_help("name a time, as in 30s"));
    }
    let ConcurrencyArguments {
        workers, prefetch, ..
    } = arguments.common.concurrency;
    let typed = [
        ("--workers", workers.is_some()),
        ("--prefetch", prefetch.is_some()),
    ];
    let Some(flag) = first_typed(typed).filter(|_| !arguments.warm && arguments.worker.is_none())
    else {
        return Ok(());
    };
    let error = CliError::usage(format!(
        "{flag} applies to commands that keep running, but this command is started for every item"
    ));
    Err(error.with_help(hint(
        flag,
        "use -j to set how many run at once, or --warm to keep them running",
    )))
}

/// Returns the advice for a flag without effect; for `--workers` this one.
fn hint(flag: &str, otherwise: &str) -> String {
    match flag {
        "--workers" => otherwise.to_owned(),
        _ => format!("leave out {flag}"),
    }
}

/// Returns the first of these flags that was given.
fn first_typed<const N: usize>(typed: [(&'static str, bool); N]) -> Option<&'static str> {
    typed
        .into_iter()
        .find_map(|(flag, is_typed)| is_typed.then_some(flag))
}

/// Whether a job says what it reads from its stdin. The jobs of a stream are not known yet.
fn reads_stdin(plan: &Plan) -> bool {
    let Jobs::Listed { jobs, .. } = &plan.jobs else {
        return false;
    };
    jobs.iter().any(|job| match &job.work {
        Work::Command(process) => process.stdin != ProgramInput::Nothing,
        _ => false,
    })
}

/// Whether a job is a command. The jobs of a stream are not known yet, so they could be.
fn has_commands(plan: &Plan) -> bool {
    match &plan.jobs {
        Jobs::Listed { jobs, .. } => {
            let mut jobs = jobs.iter();
            jobs.any(|job| matches!(job.work, Work::Command(_)))
        }
        Jobs::Streamed(_) => true,
    }
}

/// Whether a job or a worker has files. The jobs of a stream are not known yet, so they could.
fn has_files(plan: &Plan) -> bool {
    let of_job = |job: &Job| matches!(&job.work, Work::Command(process) if process.files.is_some());
    let has_job = match &plan.jobs {
        Jobs::Listed { jobs, .. } => jobs.iter().any(of_job),
        Jobs::Streamed(_) => true,
    };
    has_job
        || plan
            .workers
            .iter()
            .any(|worker| worker.pool.process.files.is_some())
}

/// Whether a worker could get a job. The jobs of a stream are not known yet, so its workers could.
fn wants_workers(plan: &Plan) -> bool {
    match &plan.jobs {
        Jobs::Listed { jobs, .. } => jobs.iter().any(|job| matches!(job.work, Work::Task { .. })),
        Jobs::Streamed(_) => !plan.workers.is_empty(),
    }
}
