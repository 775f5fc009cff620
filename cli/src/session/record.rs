//! The record of a run: what is needed to go on with it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::rules::Rules;
use crate::about::About;
use crate::error::CliError;
use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::journal::{JournalError, Pruned, Retention, Source};
use ratchet_runtime::{History, Journal, RunId, RunStore, Summary};

/// A run that is written down.
#[derive(Debug)]
pub(super) struct Record {
    store: RunStore,
    id: RunId,
    pub(super) journal: Arc<Mutex<Journal>>,
    /// It is gone on with.
    is_again: bool,
    /// What was read from stdin, which has to be given again.
    stdin: Option<&'static str>,
}

/// A run that is gone on with.
#[derive(Debug)]
pub(crate) struct Again {
    pub(crate) store: RunStore,
    pub(crate) id: RunId,
}

impl Record {
    /// Begins the record of a run, unless none is wanted; of one that is gone on with, gives what it has
    /// come to so far.
    pub(super) fn begin(
        rules: &Rules,
        folder: &Path,
        source: Option<Source>,
        stdin: Option<&'static str>,
        again: Option<Again>,
    ) -> Result<Option<(Self, Option<History>)>, CliError> {
        let about = About {
            args: std::env::args_os().skip(1).collect(),
            cwd: folder.to_path_buf(),
        };
        let about = about
            .to_payload()
            .map_err(|error| CliError::Internal(error.to_string()))?;
        if let Some(Again { store, id }) = again {
            let path = store.journal(id);
            let (journal, history) =
                Journal::resume(path, SystemClock.now(), &about, rules.durability)?;
            let record = Self {
                store,
                id,
                journal: Arc::new(Mutex::new(journal)),
                is_again: true,
                stdin,
            };
            return Ok(Some((record, Some(history))));
        }
        if rules.no_record {
            return Ok(None);
        }
        let store = RunStore::at(rules.state_dir()?);
        let (id, journal) = store
            .create(SystemClock.now(), source, about, rules.durability)
            .map_err(CliError::Unrecordable)?;
        let record = Self {
            store,
            id,
            journal: Arc::new(Mutex::new(journal)),
            is_again: false,
            stdin,
        };
        Ok(Some((record, None)))
    }

    /// The command that goes on with it.
    pub(super) fn rerun(&self, rules: &Rules) -> String {
        let mut words = vec![OsString::from("ratchet"), "resume".into()];
        words.push(self.id.to_string().into());
        if let Some(folder) = &rules.typed_state_dir {
            words.extend(["--state-dir".into(), folder.clone().into_os_string()]);
        }
        let line = String::from_utf8_lossy(&crate::map::shell_line(&words)).into_owned();
        match self.stdin {
            Some(what) => format!("{line} < {what}"),
            None => line,
        }
    }

    /// The run could not begin: no record is kept of it, unless an earlier part is recorded.
    pub(super) fn withdraw(self) {
        if self.is_again {
            return;
        }
        drop(self.journal);
        if let Err(error) = self.store.remove(self.id) {
            tracing::warn!(%error, run = %self.id, "the record of a run that did not begin is still there");
        }
    }

    /// The run has come to its end, or to a stop from which it can be gone on with. One without jobs is
    /// not kept.
    ///
    /// Where jobs have to be given again, and some of those before are not among them, the run has not come to
    /// its end: somebody gave fewer, or none.
    ///
    /// Then the runs go that are no longer kept; these are told.
    pub(super) fn end(
        self,
        summary: &Summary,
        done: bool,
        gone: u64,
        retention: &Retention,
    ) -> Result<Vec<Pruned>, JournalError> {
        let done = done && (self.stdin.is_none() || gone == 0);
        if summary.total == 0 && !self.is_again {
            drop(self.journal);
            self.store.remove(self.id)?;
            return Ok(Vec::new());
        }
        let mut journal = self
            .journal
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // Only this line makes a run a finished one: whatever else ends this process leaves it interrupted.
        if done {
            journal.end(SystemClock.now(), summary)?;
            if let Err(error) = journal.compact() {
                tracing::warn!(%error, "the record of the run is longer than it has to be");
            }
        } else {
            journal.save()?;
        }
        let pruned = self.store.prune(retention, SystemClock.now(), self.id);
        Ok(pruned.unwrap_or_else(|error| {
            tracing::warn!(%error, "old runs are still there");
            Vec::new()
        }))
    }
}

/// A file as a source of jobs: by its size and its time one tells whether it is still the same.
pub(crate) fn source_of(path: &Path) -> Option<Source> {
    let path = std::path::absolute(path).ok()?;
    let known = std::fs::metadata(&path).ok()?;
    if !known.is_file() {
        return None;
    }
    let changed = known.modified().ok()?.duration_since(std::time::UNIX_EPOCH);
    Some(Source {
        name: path.display().to_string(),
        digest: format!("{}-{}", known.len(), changed.ok()?.as_nanos()),
    })
}

impl Rules {
    /// Where runs are recorded.
    fn state_dir(&self) -> Result<PathBuf, CliError> {
        match &self.state_dir {
            Some(folder) => Ok(folder.clone()),
            None => Err(CliError::usage(
                "there is no place to record this run: neither HOME nor XDG_STATE_HOME is set to a folder",
            )
            .hint(
                "set one of them or RATCHET_STATE_DIR, say --state-dir, or run with --no-record: then the run cannot be resumed",
            )),
        }
    }
}
