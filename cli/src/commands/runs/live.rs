//! Finds runs in progress, and connects to them.

use ratchet_runtime::journal::RunState;
use ratchet_runtime::{JobKey, RunId, RunStore};

use super::find;
use crate::args::record::StateArguments;
use crate::error::CliError;
use crate::folders::Folders;
use crate::live::LiveClient;

/// A run in progress, and the connection to it.
pub(crate) struct LiveRun {
    pub(crate) id: RunId,
    pub(crate) client: LiveClient,
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
        Some(wanted) => live_run(&store, wanted),
        None => last(&store)?.ok_or_else(|| {
            CliError::usage("no run is in progress")
                .with_help("`ratchet runs` lists the recorded runs")
        }),
    }
}

/// Connects to the run that was named.
pub(crate) fn live_run(store: &RunStore, wanted: &str) -> Result<LiveRun, CliError> {
    let id = find(store, wanted)?;
    let client = connect(store, id)?;
    client.map(|client| LiveRun { id, client }).ok_or_else(|| {
        CliError::usage(format!("run {id} is not in progress"))
            .with_help("`ratchet runs` lists the runs and their states")
    })
}

/// Connects to the last run in progress, if there is one.
pub(super) fn last(store: &RunStore) -> Result<Option<LiveRun>, CliError> {
    in_progress(store)?.next().transpose()
}

/// Connects to all runs in progress, the last one first. One that cannot be asked is left out.
pub(crate) fn live_runs(store: &RunStore) -> Result<Vec<LiveRun>, CliError> {
    Ok(in_progress(store)?.filter_map(Result::ok).collect())
}

fn in_progress(
    store: &RunStore,
) -> Result<impl Iterator<Item = Result<LiveRun, CliError>>, CliError> {
    let ids = store.ids()?.into_iter().rev();
    let running = ids.filter(|id| matches!(store.run(*id).state, RunState::Running { .. }));
    Ok(running.filter_map(|id| {
        let client = connect(store, id).transpose()?;
        Some(client.map(|client| LiveRun { id, client }))
    }))
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
