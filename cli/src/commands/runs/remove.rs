//! `ratchet runs rm`: removes the records of runs.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::journal::{RunState, StoredRun};
use ratchet_runtime::{JournalError, RunId, RunStore};

use super::{find, folder};
use crate::args::runs::RemoveArguments;
use crate::error::CliError;
use crate::folders::Folders;
use crate::output::Destination;
use crate::value::show_duration;

/// Removes recorded runs.
pub(super) fn run(arguments: &RemoveArguments) -> Result<(), CliError> {
    let (folders, _) = Folders::load(&arguments.state)?;
    let store = RunStore::at(&folders.state);
    if !arguments.all && arguments.older_than.is_none() {
        return named(&store, &arguments.runs, &mut io::stdout());
    }
    let said = all(
        &store,
        arguments.older_than,
        SystemClock.now(),
        &mut io::stdout(),
    )?;
    // If stderr is closed, the message is lost.
    let _ = io::stderr().write_all(said.as_bytes());
    Ok(())
}

/// Removes the named runs. If one of them cannot be removed, none is.
pub(super) fn named(
    store: &RunStore,
    wanted: &[String],
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let mut ids = Vec::new();
    for wanted in wanted {
        let id = find(store, wanted)?;
        if matches!(store.run(id).state, RunState::Running { .. }) {
            return Err(CliError::usage(format!("run {id} is still running"))
                .with_help("stop it with Ctrl-C or SIGTERM first"));
        }
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let removed = |id: &RunId| store.remove(*id).map(|()| true);
    remove(&ids, removed, out).map(drop)
}

/// Removes all runs, or all older ones, except those that are running. Returns a message for people.
pub(super) fn all(
    store: &RunStore,
    older_than: Option<Duration>,
    now: SystemTime,
    out: &mut dyn Write,
) -> Result<String, CliError> {
    let (mut ids, mut running, mut resumable) = (Vec::new(), 0, 0);
    for id in store.ids()? {
        let run = store.run(id);
        if older_than.is_some_and(|age| !is_older(&run, age, now)) {
            continue;
        }
        match &run.state {
            RunState::Running { .. } => {
                running += 1;
                continue;
            }
            RunState::Interrupted { .. } => resumable += 1,
            RunState::Ended { summary, .. } if !summary.all_successful() => resumable += 1,
            RunState::Ended { .. } | RunState::Unreadable(_) => {}
        }
        ids.push(id);
    }
    let count = remove(
        &ids,
        |id| match store.remove(*id) {
            Ok(()) => Ok(true),
            // The run was resumed a moment ago, or another process has removed it.
            Err(JournalError::InUse { .. }) => {
                running += 1;
                Ok(false)
            }
            Err(JournalError::NoSuchRun { .. }) => Ok(false),
            Err(error) => Err(error),
        },
        out,
    )?;
    let mut said = String::new();
    // Writing to a string cannot fail.
    if running > 0 {
        let what = if running == 1 {
            "run is still running, and is kept"
        } else {
            "runs are still running, and are kept"
        };
        let _ = writeln!(said, "ratchet: {running} {what}");
    }
    if resumable > 0 {
        let _ = writeln!(
            said,
            "ratchet: {resumable} of the removed runs could have been resumed"
        );
    }
    if count == 0 && running == 0 {
        let path = folder(store.folder());
        let _ = match older_than {
            Some(age) => writeln!(
                said,
                "ratchet: no run in `{path}` began more than {} ago",
                show_duration(age)
            ),
            None => writeln!(said, "ratchet: no runs are recorded in `{path}`"),
        };
    }
    Ok(said)
}

/// Whether a run began longer ago than `age`, by its record or by the time of its journal, which is never written
/// before the run begins.
fn is_older(run: &StoredRun, age: Duration, now: SystemTime) -> bool {
    let written = std::fs::metadata(&run.journal).and_then(|journal| journal.modified());
    let began = run.header.as_ref().map(|header| header.started);
    let since = began.into_iter().chain(written.ok()).min();
    // After the clock was set back, a run may have begun in the future. Such a run is not old.
    since.is_some_and(|since| now.duration_since(since).is_ok_and(|since| since > age))
}

/// Removes runs one by one, and prints which were removed.
fn remove(
    ids: &[RunId],
    mut remove: impl FnMut(&RunId) -> Result<bool, JournalError>,
    out: &mut dyn Write,
) -> Result<usize, CliError> {
    let (mut text, mut count) = (String::new(), 0);
    let removed = ids.iter().try_for_each(|id| {
        if remove(id)? {
            count += 1;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "removed {id}");
        }
        Ok::<_, CliError>(())
    });
    // The removed runs are printed even if the next one could not be removed.
    let said = out
        .write_all(text.as_bytes())
        .map_err(|error| Destination::Stdout.error(error).into());
    removed.and(said)?;
    Ok(count)
}
