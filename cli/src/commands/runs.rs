//! `ratchet runs`: lists, shows and removes the records of runs, and asks and steers those that go on.

mod explain;
mod list;
mod live;
mod remove;
mod show;
mod steer;
mod tail;

use std::path::Path;

use ratchet_runtime::journal::Header;
use ratchet_runtime::{JournalError, RunId, RunStore};

use crate::args::runs::{RunsAction, RunsArguments};
use crate::error::CliError;
use crate::escape::plain;
use crate::invocation::Invocation;
use crate::settings::Settings;
use crate::shell_quote::shell_line;
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
        Some(RunsAction::Continue(go_on)) => steer::go_on(go_on),
        Some(RunsAction::Set(set)) => steer::set(set),
        Some(RunsAction::Rm(remove)) => remove::run(remove),
    }
}

/// The run that was named, or the last run where none was.
pub(crate) fn named_or_last(store: &RunStore, wanted: Option<&str>) -> Result<RunId, CliError> {
    match wanted {
        Some(wanted) => find(store, wanted),
        None => store.latest()?.ok_or_else(|| {
            CliError::usage("no run is recorded")
                .with_help(format!("it is looked for in `{}`", folder(store.folder())))
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

/// The command line of a run, or at least the file that its jobs came from.
fn command_line(header: &Header) -> String {
    let Some(invocation) = Invocation::read(&header.about) else {
        let source = header.source.as_ref();
        return source.map_or_else(|| "-".to_owned(), |source| source.name.clone());
    };
    String::from_utf8_lossy(&shell_line(&invocation.args)).into_owned()
}

fn style(settings: &Settings) -> Style {
    Style::of_stdout(settings.color().unwrap_or_default())
}

/// The path of a folder, safe to print.
fn folder(path: &Path) -> String {
    plain(&path.display().to_string()).into_owned()
}

#[cfg(test)]
mod tests;
