//! `ratchet runs explain`: prints why a run took as long as it did, and why a job does not run.

use std::fmt::Write as _;
use std::time::Duration;

use ratchet_report::RunModel;
use ratchet_runtime::{JobKey, RunStore};

use super::live::connect;
use super::steer::write;
use super::{find, model, open};
use crate::args::runs::RunsExplainArguments;
use crate::args::runs_live::AnswerFormat;
use crate::error::CliError;
use crate::escape::plain;
use crate::folders::Folders;
use crate::live::{Explanation, LiveClient, Question};
use crate::readable::duration;

/// Explains a run, or one of its jobs.
pub(super) fn run(arguments: &RunsExplainArguments) -> Result<(), CliError> {
    if let Some(job) = &arguments.job
        && let Some(explanation) = explain_live(arguments, job)?
    {
        return write(&match arguments.format {
            AnswerFormat::Human => human(&explanation),
            AnswerFormat::Json => json(&explanation)?,
        });
    }
    if arguments.format != AnswerFormat::Human {
        return Err(CliError::usage(
            "only the explanation of a job that has not ended can be printed as JSON",
        )
        .with_help("`ratchet runs report --format json` has all figures of a run"));
    }
    let opened = open(&arguments.state, arguments.run.as_deref())?;
    let model = model(&opened)?;
    write(&match &arguments.job {
        None => ratchet_report::explain(&model),
        Some(wanted) => explain_ended(&model, wanted)?,
    })
}

/// Explains a job of a run in progress, unless the job has ended.
fn explain_live(
    arguments: &RunsExplainArguments,
    job: &str,
) -> Result<Option<Explanation>, CliError> {
    let Some(run) = &arguments.run else {
        return Ok(None);
    };
    let (folders, _, _) = Folders::load_with_trust(&arguments.state)?;
    let store = RunStore::at(&folders.state);
    let Some(mut client) = connect(&store, find(&store, run)?)? else {
        return Ok(None);
    };
    let explanation = explain(&mut client, &JobKey::from(job))?;
    Ok(Some(explanation).filter(|found| found.state != "unknown"))
}

/// Asks a run in progress about a job.
fn explain(client: &mut LiveClient, job: &JobKey) -> Result<Explanation, CliError> {
    Ok(client.ask(&Question::Explain { job: job.clone() })?)
}

/// Explains a job that has ended.
fn explain_ended(model: &RunModel, wanted: &str) -> Result<String, CliError> {
    if let Some(text) = ratchet_report::explain_job(model, wanted) {
        return Ok(text);
    }
    let ids = model.jobs.iter().map(|job| job.id.as_str());
    let error = CliError::usage(format!("run {} has no job {}", model.id, plain(wanted)));
    Err(match crate::value::closest(wanted, ids) {
        Some(id) => error.with_help(format!("did you mean `{id}`?")),
        None => error.with_help("the run has not read this job yet, or there is no such job"),
    })
}

fn json(explanation: &Explanation) -> Result<String, CliError> {
    let text = serde_json::to_string(explanation).map_err(|error| {
        CliError::internal("the answer cannot be written as JSON").because(error)
    })?;
    Ok(text + "\n")
}

/// Formats an explanation for people.
fn human(explanation: &Explanation) -> String {
    let (job, text) = (plain(explanation.job.as_str()), plain(&explanation.text));
    let mut out = format!("{job} {text}");
    let millis = Duration::from_millis;
    if explanation.state == "waiting"
        && let Some(age) = explanation.age_ms
    {
        // Writing to a string cannot fail.
        let _ = write!(out, ", for {} by now", duration(millis(age)));
    }
    if let Some(left) = explanation.left_ms {
        // Writing to a string cannot fail.
        let _ = write!(out, ", {} more", duration(millis(left)));
    }
    out.push('\n');
    let at = &explanation.at;
    let places = [
        ("slot", at.slot.map(|slot| slot.to_string())),
        ("worker", at.worker.clone()),
        ("at", at.place.clone()),
    ];
    let places: Vec<String> = places
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name} {}", plain(&value?))))
        .collect();
    if let Some(attempt) = explanation.attempt {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "  attempt {attempt}, {}", places.join(", "));
    }
    out
}
