//! `ratchet runs explain`: says where a job of a run is, and why it does not run.

use std::fmt::Write as _;
use std::time::Duration;

use ratchet_runtime::{History, JobKey, RunStore};

use super::find;
use super::live::connect;
use super::steer::write;
use crate::args::runs::ExplainArguments;
use crate::args::runs_live::AnswerFormat;
use crate::error::CliError;
use crate::escape::plain;
use crate::folders::Folders;
use crate::live::{Explanation, LiveClient, Question};
use crate::readable::duration;
use crate::report;

/// Explains a job of a run that goes on, or tells how it has ended.
pub(super) fn run(arguments: &ExplainArguments) -> Result<(), CliError> {
    let (folders, _, trust) = Folders::load_with_trust(&arguments.state)?;
    let store = RunStore::at(&folders.state);
    let id = find(&store, &arguments.run)?;
    let job: JobKey = arguments.job.as_str().into();
    let client = connect(&store, id)?;
    let explanation = client.map(|mut client| explain(&mut client, &job));
    let explanation = explanation.transpose()?;
    if let Some(explanation) = explanation.filter(|found| found.state != "unknown") {
        return write(&match arguments.format {
            AnswerFormat::Human => human(&explanation),
            AnswerFormat::Json => json(&explanation)?,
        });
    }
    trust.file(&store.journal(id))?;
    let history = History::load(store.journal(id))?;
    let mut outcomes = history.outcomes();
    let found = outcomes.find_map(|outcome| match outcome {
        Ok(outcome) => (outcome.id == job).then_some(Ok(outcome)),
        Err(error) => Some(Err(error)),
    });
    let Some(outcome) = found.transpose()? else {
        let job = plain(&arguments.job).into_owned();
        return Err(CliError::usage(format!("run {id} knows no job {job}"))
            .with_help("it has not been handed over yet, or there is none"));
    };
    let text = format!("has ended: {}", outcome.status());
    let explanation = Explanation::new(job, "ended", text);
    write(&match arguments.format {
        AnswerFormat::Human => format!("{}{}", human(&explanation), report::times(&outcome)),
        AnswerFormat::Json => json(&explanation)?,
    })
}

/// Asks a run that goes on about a job.
fn explain(client: &mut LiveClient, job: &JobKey) -> Result<Explanation, CliError> {
    Ok(client.ask(&Question::Explain { job: job.clone() })?)
}

fn json(explanation: &Explanation) -> Result<String, CliError> {
    let text = serde_json::to_string(explanation).map_err(|error| {
        CliError::internal("the answer cannot be written as JSON").because(error)
    })?;
    Ok(text + "\n")
}

/// An explanation for people.
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
