//! `ratchet runs`: lists, shows and removes the records of runs, and queries and steers runs in progress.

mod add;
mod explain;
mod list;
mod live;
mod remove;
mod report;
mod show;
mod steer;
mod tail;

use std::io::{self, Write};
use std::path::Path;

use ratchet_caching::{Clock, SystemClock};
use ratchet_report::RunModel;
use ratchet_runtime::journal::{RunState, StoredRun};
use ratchet_runtime::{History, JournalError, RunId, RunStore};

pub(crate) use live::{LiveRun, live_run, live_runs};
pub(crate) use steer::write as print;

use crate::args::record::StateArguments;
use crate::args::runs::{RunsAction, RunsArguments};
use crate::error::CliError;
use crate::escape::plain;
use crate::folders::Folders;
use crate::recorded::{self, command_line};
use crate::settings::Settings;
use crate::style::Style;
use crate::value;

/// Lists, shows or removes recorded runs.
pub(crate) fn run(arguments: &RunsArguments) -> Result<(), CliError> {
    match &arguments.action {
        None => list::run(&arguments.list),
        Some(RunsAction::List(list)) => list::run(list),
        Some(RunsAction::Show(show)) => show::run(show),
        Some(RunsAction::Explain(explain)) => explain::run(explain),
        Some(RunsAction::Tail(tail)) => tail::run(tail),
        Some(RunsAction::Cancel(cancel)) => steer::cancel(cancel),
        Some(RunsAction::Pause(pause)) => steer::pause(pause),
        Some(RunsAction::Continue(arguments)) => steer::continue_run(arguments),
        Some(RunsAction::Set(set)) => steer::set(set),
        Some(RunsAction::Add(add)) => add::run(add),
        Some(RunsAction::Report(report)) => report::run(report),
        Some(RunsAction::Rm(remove)) => remove::run(remove),
    }
}

/// A recorded run that was opened.
struct OpenedRun {
    /// The run in its store.
    run: StoredRun,
    /// Its journal.
    history: History,
}

/// Opens the run that was named, or the last one, and reports what is damaged in its record.
fn open(state: &StateArguments, wanted: Option<&str>) -> Result<OpenedRun, CliError> {
    let (folders, _, trust) = Folders::load_with_trust(state)?;
    let store = RunStore::at(&folders.state);
    let id = named_or_last(&store, wanted)?;
    trust.file(&store.journal(id))?;
    let run = store.run(id);
    if let RunState::Unreadable(error) = run.state {
        return Err(error.into());
    }
    let history = History::load(&run.journal)?;
    // If stderr is closed, the warnings are lost.
    let _ = io::stderr().write_all(show::damage_warnings(&run, &history).as_bytes());
    Ok(OpenedRun { run, history })
}

/// Reads the journal of a run into a model.
fn model(opened: &OpenedRun) -> Result<RunModel, CliError> {
    let OpenedRun { run, history } = opened;
    Ok(recorded::model(run, history, SystemClock.now())?)
}

/// Returns the run that was named, or the last run if none was.
pub(crate) fn named_or_last(store: &RunStore, wanted: Option<&str>) -> Result<RunId, CliError> {
    match wanted {
        Some(wanted) => find(store, wanted),
        None => store.latest()?.ok_or_else(|| {
            CliError::usage("no run is recorded").with_help(format!(
                "runs are looked for in `{}`",
                folder(store.folder())
            ))
        }),
    }
}

/// Finds a run by its id or the beginning of its id.
pub(crate) fn find(store: &RunStore, wanted: &str) -> Result<RunId, CliError> {
    let error = match store.find(wanted) {
        Ok(id) => return Ok(id),
        Err(error) => error,
    };
    if !matches!(
        error,
        JournalError::NoSuchRun { .. } | JournalError::InvalidRun { .. }
    ) {
        return Err(error.into());
    }
    let ids: Vec<String> = store
        .ids()
        .map_err(CliError::from)?
        .iter()
        .map(ToString::to_string)
        .collect();
    let hint = match value::closest(wanted, ids.iter().map(String::as_str)) {
        Some(id) => format!("did you mean `{id}`?"),
        None if ids.is_empty() => "no runs are recorded there".to_owned(),
        None => "`ratchet runs` lists them".to_owned(),
    };
    Err(CliError::usage(error.to_string()).with_help(hint))
}

fn style(settings: &Settings) -> Style {
    Style::of_stdout(settings.color().unwrap_or_default())
}

/// Formats the path of a folder, safe to print.
fn folder(path: &Path) -> String {
    plain(&path.display().to_string()).into_owned()
}

#[cfg(test)]
mod tests;
