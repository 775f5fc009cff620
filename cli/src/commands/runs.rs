//! `ratchet runs`: what was run.

mod list;
mod show;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::journal::{Header, RunState};
use ratchet_runtime::{JournalError, RunId, RunStore};

use crate::about::About;
use crate::args::runs::{RunsAction, RunsArguments};
use crate::error::CliError;
use crate::map::shell_line;
use crate::places::Places;
use crate::report::Style;
use crate::session::word;
use crate::settings::Settings;
use crate::value;

pub(crate) fn run(arguments: &RunsArguments) -> Result<(), CliError> {
    match &arguments.action {
        None => list(&Places::load(&arguments.state)?),
        Some(RunsAction::List { state }) => list(&Places::load(state)?),
        Some(RunsAction::Show(show)) => show::run(show),
        Some(RunsAction::Rm { runs, state }) => {
            let (places, _) = Places::load(state)?;
            remove(&RunStore::at(&places.state), runs, &mut io::stdout())
        }
    }
}

fn list((places, settings): &(Places, Settings)) -> Result<(), CliError> {
    let runs = RunStore::at(&places.state).list().map_err(CliError::from)?;
    if runs.is_empty() {
        let folder = places.state.display();
        let _ = writeln!(io::stderr(), "ratchet: no runs are recorded in `{folder}`");
        return Ok(());
    }
    let text = if io::stdout().is_terminal() {
        let columns = rustix::termios::tcgetwinsize(io::stdout()).map(|size| size.ws_col);
        // A terminal that does not know its size is as wide as it wants.
        let columns = columns.ok().filter(|columns| *columns > 0);
        let columns = columns.map_or(usize::MAX, usize::from);
        list::table(&runs, SystemClock.now(), style(settings), columns)
    } else {
        list::lines(&runs)
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(CliError::Output)
}

/// Removes all of them, or says why one cannot be removed and leaves all as they are.
fn remove(store: &RunStore, wanted: &[String], out: &mut dyn Write) -> Result<(), CliError> {
    let mut ids = Vec::new();
    for wanted in wanted {
        let id = find(store, wanted)?;
        if matches!(store.run(id).state, RunState::Running { .. }) {
            return Err(CliError::usage(format!("run {id} is still running"))
                .hint("stop it with Ctrl-C, or a SIGTERM, and remove it then"));
        }
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let mut text = String::new();
    let removed = ids.into_iter().try_for_each(|id| {
        store.remove(id).map_err(CliError::from)?;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "removed {id}");
        Ok(())
    });
    // What is gone is said, even if the next could not be removed.
    let said = out.write_all(text.as_bytes()).map_err(CliError::Output);
    removed.and(said)
}

/// The run that somebody means, by its id or the beginning of it.
pub(crate) fn find(store: &RunStore, wanted: &str) -> Result<RunId, CliError> {
    let error = match store.find(wanted) {
        Ok(id) => return Ok(id),
        Err(error) => error,
    };
    if !matches!(
        error,
        JournalError::NoSuchRun { .. } | JournalError::InvalidRun { .. }
    ) {
        return Err(CliError::Journal(error));
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
    Err(CliError::usage(error.to_string()).hint(hint))
}

/// What was run: its command line, or at least where its jobs came from.
fn what(header: &Header) -> String {
    let Some(about) = About::read(&header.about) else {
        let source = header.source.as_ref();
        return source.map_or_else(|| "-".to_owned(), |source| source.name.clone());
    };
    String::from_utf8_lossy(&shell_line(&about.args)).into_owned()
}

fn style(settings: &Settings) -> Style {
    let asked = word(settings.color()).unwrap_or_default();
    Style::decide(asked, io::stdout().is_terminal(), |name| {
        std::env::var_os(name)
    })
}

/// A folder as a person would name it.
fn folder(path: &Path) -> String {
    crate::report::plain(&path.display().to_string()).into_owned()
}

#[cfg(test)]
mod tests;
