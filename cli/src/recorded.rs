//! Recorded runs as reports see them.

use std::time::SystemTime;

use ratchet_report::{RunEnd, RunModel, Source};
use ratchet_runtime::journal::{Header, RunState, StoredRun};
use ratchet_runtime::{History, JournalError};

use crate::invocation::Invocation;
use crate::shell_quote::shell_line;

/// Returns the command line of a run, or at least the file that its jobs came from.
pub(crate) fn command_line(header: &Header) -> String {
    let Some(invocation) = Invocation::read(&header.about) else {
        let source = header.source.as_ref();
        return source.map_or_else(|| "-".to_owned(), |source| source.name.clone());
    };
    String::from_utf8_lossy(&shell_line(&invocation.args)).into_owned()
}

/// Reads all that the journal of a run tells.
pub(crate) fn model(
    run: &StoredRun,
    history: &History,
    now: SystemTime,
) -> Result<RunModel, JournalError> {
    let (end, last) = match &run.state {
        RunState::Ended { at, .. } => (RunEnd::Ended, *at),
        RunState::Running { .. } => (RunEnd::Running, now),
        RunState::Interrupted { .. } | RunState::Unreadable(_) => (RunEnd::Interrupted, now),
    };
    RunModel::load(Source {
        history,
        id: run.id.to_string(),
        command: format!("ratchet {}", command_line(history.header())),
        end,
        last,
    })
}
