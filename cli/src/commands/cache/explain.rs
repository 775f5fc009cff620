//! `ratchet cache explain`: prints whether a job's result would be reused, and if not, why.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::SystemTime;

use ratchet_caching::{
    Clock, Difference, Explanation, FileHasher, Listing, Lookup, SystemClock, TaskCache,
};
use ratchet_runtime::process::{ProcessConfig, ProgramInput};
use ratchet_runtime::{CacheTerms, Dependencies, Failure, Job, NoCacheKey, Timeouts, Work};

use super::{existing, show_time};
use crate::args::cache::CacheExplainArguments;
use crate::error::CliError;
use crate::escape::plain;
use crate::folders::Folders;
use crate::job_file::{
    self, Jobs, PartialTerms, Plan, PlanOptions, ServedTasks, StreamError, WorkerPlan,
};

use crate::readable::{bytes, duration};
use crate::value;

/// The note on what the key of a result does not cover, for users who wonder why an earlier result is reused.
const UNSEEN: &str = "a change of stdin, the clock, the network, a variable of the terminal, or a file that no argument \
     names goes unnoticed; `ratchet help run` has the list";

/// How many ids are compared with one that does not exist.
const COMPARED: usize = 10_000;

/// Whether the result of a job can be reused, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reusability {
    /// A result is stored and would be reused.
    Reused(Listing),
    /// A result is stored but too old or damaged.
    Unusable(Listing),
    /// Only results with other dependencies are stored: the most similar of them, and how it differs.
    Differs(Listing, Vec<Difference>),
    /// No result of its task is stored.
    Nothing,
    /// Its dependencies cannot be known, for this reason, so its result would not be stored.
    Uncached(String),
    /// It reads the output of this job, which is known when that job has ended in a run.
    Undecided(String),
}

/// Explains whether the result of a job would be reused.
pub(super) async fn run(arguments: &CacheExplainArguments) -> Result<String, CliError> {
    let (folders, settings) = Folders::load(&arguments.state)?;
    let worker = arguments
        .worker
        .as_deref()
        .map(|command| job_file::typed_worker(command, arguments.protocol))
        .transpose()?;
    let options = PlanOptions {
        flags: PartialTerms {
            timeouts: arguments.timeout.map(Timeouts::after),
            ..PartialTerms::default()
        },
        settings: settings.terms(),
        worker,
        ..PlanOptions::default()
    };
    let Plan { workers, jobs, .. } = job_file::open(&arguments.file, &options)?;
    let job = find(jobs, arguments)?;
    let now = SystemClock.now();
    let shown = io::stdout().is_terminal().then_some(now);
    if matches!(job.terms.cache, Some(CacheTerms::Off)) {
        let id = plain(job.id.as_str());
        return Ok(format!("{id}: would run: its cache is off\n"));
    }
    let reusability = match existing(&folders)? {
        None => Reusability::Nothing,
        Some(disk) => {
            let cache = TaskCache::new(Arc::new(disk));
            reusability(&job, process(&job, &workers), &cache).await?
        }
    };
    Ok(render(&job, &reusability, shown))
}

/// Finds the job with the id that was typed.
fn find(jobs: Jobs, arguments: &CacheExplainArguments) -> Result<Job, CliError> {
    let wanted = arguments.job.as_str();
    let mut ids = Vec::new();
    let mut is_wanted = |job: &Job| {
        let found = job.id.as_str() == wanted;
        if !found && ids.len() < COMPARED {
            ids.push(job.id.as_str().to_owned());
        }
        found
    };
    let found = match jobs {
        Jobs::Listed { jobs, .. } => jobs.into_iter().find(|job| is_wanted(job)),
        Jobs::Streamed(lines) => {
            let mut found = None;
            for line in *lines {
                match line {
                    Ok(job) if is_wanted(&job) => {
                        found = Some(job);
                        break;
                    }
                    // A line that does not make a job cannot be the wanted one.
                    Ok(_) | Err(StreamError::Refused(_)) => {}
                    Err(StreamError::Unreadable(source)) => {
                        return Err(CliError::unreadable(&arguments.file, source));
                    }
                }
            }
            found
        }
    };
    found.ok_or_else(|| {
        let file = arguments.file.display();
        let error = CliError::usage(format!("there is no job `{wanted}` in {file}"));
        match value::closest(wanted, ids.iter().map(String::as_str)) {
            Some(id) => error.with_help(format!("did you mean `{id}`?")),
            None => error,
        }
    })
}

/// Returns the process of the worker that would perform the job; `None` if the job is a command.
fn process<'a>(job: &Job, workers: &'a [WorkerPlan]) -> Option<&'a ProcessConfig> {
    let Work::Task { task, .. } = &job.work else {
        return None;
    };
    let serves = |worker: &&WorkerPlan| match &worker.serves {
        ServedTasks::Named(tasks) => tasks.contains(task),
        ServedTasks::Everything => true,
    };
    Some(&workers.iter().find(serves)?.pool.process)
}

/// Finds out whether the result of a job would be reused, and if not, why.
pub(super) async fn reusability(
    job: &Job,
    process: Option<&ProcessConfig>,
    cache: &TaskCache,
) -> Result<Reusability, CliError> {
    if let Work::Command(config) = &job.work
        && let ProgramInput::Output(output) = &config.stdin
    {
        return Ok(Reusability::Undecided(output.job().to_owned()));
    }
    let hasher = Arc::new(FileHasher::new(Arc::new(SystemClock)));
    let dependencies = match Dependencies::of(job, process, &hasher, None) {
        Ok(dependencies) => dependencies,
        Err(NoCacheKey::Uncached(reason)) => return Ok(Reusability::Uncached(reason)),
        Err(NoCacheKey::Refused(Failure { message, .. })) => {
            return Err(CliError::usage(format!(
                "what job `{}` depends on cannot be read: {message}",
                job.id
            )));
        }
    };
    let fingerprint = dependencies.fingerprint();
    Ok(match cache.explain(job.task_name(), fingerprint).await? {
        Explanation::Stored(listing) => {
            match cache
                .lookup(&fingerprint.key(), dependencies.policy())
                .await
            {
                Lookup::Hit(_) => Reusability::Reused(listing),
                Lookup::Miss => Reusability::Unusable(listing),
            }
        }
        Explanation::Differs {
            nearest,
            differences,
        } => Reusability::Differs(nearest, differences),
        Explanation::Unknown => Reusability::Nothing,
    })
}

/// Formats the answer as text: first whether the job would run, then the reasons, one per line.
pub(super) fn render(job: &Job, reusability: &Reusability, now: Option<SystemTime>) -> String {
    let id = plain(job.id.as_str());
    let task = plain(job.task_name());
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = match reusability {
        Reusability::Reused(listing) => {
            let (stored, cost) = (
                show_time(listing.metadata.created, now),
                duration(listing.metadata.cost),
            );
            let size = bytes(listing.size);
            writeln!(
                out,
                "{id}: would be reused: stored {stored}, {size}, computed in {cost}\n  \
                 note: {UNSEEN}"
            )
        }
        Reusability::Unusable(listing) => {
            let stored = show_time(listing.metadata.created, now);
            writeln!(
                out,
                "{id}: would run: its result, stored {stored}, is too old, or damaged"
            )
        }
        Reusability::Uncached(reason) => {
            let reason = plain(reason);
            writeln!(
                out,
                "{id}: would run, and its result would not be kept: {reason}"
            )
        }
        Reusability::Undecided(first) => {
            let first = plain(first);
            writeln!(
                out,
                "{id}: would be reused if an earlier run gave it the same stdin: the output of `{first}`, which is \
                 known only in a run"
            )
        }
        Reusability::Nothing => writeln!(out, "{id}: would run: no result of `{task}` is stored"),
        Reusability::Differs(nearest, differences) => {
            let stored = show_time(nearest.metadata.created, now);
            let _ = writeln!(
                out,
                "{id}: would run: it differs from every result of `{task}`; since the nearest one, stored {stored}:"
            );
            differences
                .iter()
                .try_for_each(|difference| writeln!(out, "  {}", plain(&difference.to_string())))
        }
    };
    if job.terms.cache.is_none() {
        let said = match &job.work {
            Work::Task { .. } => "it is cached only if its worker declares so",
            _ => "a command without `cache` always runs",
        };
        let _ = writeln!(out, "  note: the file sets no `cache` for this job: {said}");
    }
    out
}
