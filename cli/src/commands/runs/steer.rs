//! `ratchet runs cancel`, `pause`, `continue` and `set`: steer a run in progress.

use std::io::{self, Write};

use super::live::{open, run_and_jobs};
use crate::args::runs_live::{CancelArguments, LiveRunArguments, SetArguments};
use crate::error::CliError;
use crate::escape::plain;
use crate::live::{CancelEffect, Question};
use crate::output::Destination;

/// Cancels jobs, and prints the result for each.
pub(super) fn cancel(arguments: &CancelArguments) -> Result<(), CliError> {
    let (run, jobs) = run_and_jobs(&arguments.words);
    let mut live = open(&arguments.state, run)?;
    let became: Vec<CancelEffect> = live.client.ask(&Question::Cancel { jobs })?;
    let mut unknown = Vec::new();
    let mut text = String::new();
    for CancelEffect { job, became } in became {
        let job = plain(job.as_str()).into_owned();
        match became.as_str() {
            "cancelled" => text.extend([&*job, " is cancelled\n"]),
            "asked" => text.extend([&*job, " is asked to stop\n"]),
            _ => unknown.push(job),
        }
    }
    write(&text)?;
    if unknown.is_empty() {
        return Ok(());
    }
    let (id, unknown) = (live.id, unknown.join(", "));
    Err(
        CliError::usage(format!("run {id} has no job {unknown} to cancel")).with_help(format!(
            "it has ended, or the run has not read it yet; `ratchet runs show {id}` shows what has ended"
        )),
    )
}

/// Pauses a run.
pub(super) fn pause(arguments: &LiveRunArguments) -> Result<(), CliError> {
    let mut live = open(&arguments.state, arguments.run.as_deref())?;
    let _: bool = live.client.ask(&Question::Pause)?;
    let id = live.id;
    write(&format!(
        "run {id} is paused: running jobs go on, and no others start until `ratchet runs continue {id}`\n"
    ))
}

/// Continues a run that was paused.
pub(super) fn continue_run(arguments: &LiveRunArguments) -> Result<(), CliError> {
    let mut live = open(&arguments.state, arguments.run.as_deref())?;
    let _: bool = live.client.ask(&Question::Continue)?;
    write(&format!("run {} continues\n", live.id))
}

/// Changes how many jobs of a run go on at once, and its limits.
pub(super) fn set(arguments: &SetArguments) -> Result<(), CliError> {
    let mut live = open(&arguments.state, arguments.run.as_deref())?;
    let question = Question::Set {
        jobs: arguments.jobs,
        limits: arguments.limits.clone(),
    };
    let changed: Vec<String> = live.client.ask(&question)?;
    let lines = changed.iter().map(|change| format!("{}\n", plain(change)));
    write(&lines.collect::<String>())
}

pub(crate) fn write(text: &str) -> Result<(), CliError> {
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Destination::Stdout.error(error).into())
}
