//! Finds runs in progress, and connects to them.

use ratchet_runtime::journal::RunState;
use ratchet_runtime::{JobKey, RunId, RunStore};

use super::find;
use crate::args::record::StateArguments;
use crate::error::CliError;
use crate::folders::Folders;
use crate::live::LiveClient;

/// A run in progress, and the connection to it.
pub(super) struct LiveRun {
    pub(super) id: RunId,
    pub(super) client: LiveClient,
}

/// Connects to a run if it is in progress.
pub(super) fn connect(store: &RunStore, id: RunId) -> Result<Option<LiveClient>, CliError> {
    LiveClient::connect(store, id)
        .map_err(|error| CliError::usage(format!("run {id} cannot be asked")).because(error))
}

/// Connects to the run that was named, or to the last one in progress.
pub(super) fn open(state: &StateArguments, wanted: Option<&str>) -> Result<LiveRun, CliError> {
    let (folders, _) = Folders::load(state)?;
    let store = RunStore::at(&folders.state);
    match wanted {
        Some(wanted) => {
            let id = find(&store, wanted)?;
            let client = connect(&store, id)?;
            client.map(|client| LiveRun { id, client }).ok_or_else(|| {
                CliError::usage(format!("run {id} does not go on"))
                    .with_help("`ratchet runs` lists the runs, with those that go on")
            })
        }
        None => last(&store)?.ok_or_else(|| {
            CliError::usage("no run goes on").with_help("`ratchet runs` lists the recorded runs")
        }),
    }
}

/// Connects to the last run in progress, if there is one.
pub(super) fn last(store: &RunStore) -> Result<Option<LiveRun>, CliError> {
    for id in store.ids()?.into_iter().rev() {
        let goes_on = matches!(store.run(id).state, RunState::Running { .. });
        if goes_on && let Some(client) = connect(store, id)? {
            return Ok(Some(LiveRun { id, client }));
        }
    }
    Ok(None)
}

/// Splits words into the run and the jobs. If there is only one word, it is a job.
pub(super) fn run_and_jobs(words: &[String]) -> (Option<&str>, Vec<JobKey>) {
    let (run, jobs) = match words {
        [job] => (None, std::slice::from_ref(job)),
        [run, jobs @ ..] => (Some(run.as_str()), jobs),
        [] => (None, &[][..]),
    };
    (run, jobs.iter().map(|job| job.as_str().into()).collect())
}
