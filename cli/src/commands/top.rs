//! `ratchet top`: shows a run in progress on the whole terminal.

use std::io::{self, IsTerminal};

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::{RunId, RunStore};

use super::runs::{LiveRun, live_run, live_runs, print};
use crate::args::top::TopArguments;
use crate::error::CliError;
use crate::escape::plain;
use crate::exit;
use crate::folders::Folders;
use crate::readable::ago;
use crate::recorded::command_line;
use crate::style::Style;
use crate::top::{Candidate, ViewEnd, view};

/// Shows the run that is named, or one of those in progress. Returns the exit code.
pub(crate) fn run(arguments: &TopArguments) -> Result<u8, CliError> {
    refuse_no_terminal()?;
    let (folders, settings) = Folders::load(&arguments.state)?;
    let store = RunStore::at(&folders.state);
    let runs = match &arguments.run {
        Some(wanted) => vec![live_run(&store, wanted)?],
        None => live_runs(&store)?,
    };
    if runs.is_empty() {
        return Err(CliError::usage("no run is in progress")
            .with_help("`ratchet runs` lists the recorded runs"));
    }
    let candidates = runs.into_iter().map(|LiveRun { id, client }| Candidate {
        id,
        client,
        about: about(&store, id),
    });
    let style = Style::of_stdout(settings.color().unwrap_or_default());
    match view(&store, candidates.collect(), style.is_coloured())? {
        ViewEnd::Quit(code) => Ok(code),
        ViewEnd::RunEnded(id) => {
            print(&format!(
                "run {id} has ended; `ratchet runs show {id}` shows its results\n"
            ))?;
            Ok(exit::SUCCESS)
        }
    }
}

/// Refuses to show the view where nobody could see it or type a key.
fn refuse_no_terminal() -> Result<(), CliError> {
    let missing = if !io::stdout().is_terminal() {
        "stdout is no terminal"
    } else if !io::stdin().is_terminal() {
        "stdin is no terminal"
    } else if std::env::var_os("TERM").is_none_or(|term| term == "dumb") {
        "this terminal cannot move its cursor (TERM)"
    } else {
        return Ok(());
    };
    Err(
        CliError::usage(format!("the view needs a terminal, and {missing}")).with_help(
            "`ratchet runs show` prints how a run stands, for programs with --format json",
        ),
    )
}

/// Says in a line which run this is.
fn about(store: &RunStore, id: RunId) -> String {
    let Some(header) = store.run(id).header else {
        return id.to_string();
    };
    let began = ago(SystemClock.now(), header.started);
    let command = command_line(&header);
    format!("{id}  began {began}  {}", plain(&command))
}
