//! The record of a run: the journal from which it can be resumed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::journal::{JournalError, PrunedRun, Retention, RunPlan, SourceIdentity};
use ratchet_runtime::{History, Journal, Limit, RunHandle, RunId, RunStore, Summary};

use super::options::RunOptions;
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::job_file::Addition;
use crate::live::{AdditionRecord, SteeringChange, SteeringRecord};
use crate::shell_quote::shell_line;

/// The record of a run in progress.
#[derive(Debug)]
pub(super) struct RunRecord {
    store: RunStore,
    id: RunId,
    /// The journal, which the executor writes to as well.
    pub(super) journal: Arc<Mutex<Journal>>,
    /// Whether the journal has an earlier part of the run.
    is_resumed: bool,
    /// How long the earlier parts of the run took.
    pub(super) worked_before: Duration,
    /// Whether the number of slots was set for this part of the run. If so, earlier changes of it are not repeated.
    has_own_slots: bool,
    /// The limits that were defined for this part of the run. Earlier changes of them are not repeated.
    own_limits: Vec<String>,
    /// What was read from stdin, which has to be given again to resume the run.
    stdin: Option<&'static str>,
}

/// An earlier run that this call resumes.
#[derive(Debug)]
pub(crate) struct ResumedRun {
    /// The store that has the run.
    pub(crate) store: RunStore,
    /// The id of the run that is resumed.
    pub(crate) id: RunId,
    /// Whether the number of slots was set for this part of the run. If so, earlier changes of it are not repeated.
    pub(crate) has_own_slots: bool,
    /// Whether the events of this part of the run have a file of their own.
    pub(crate) has_own_events: bool,
    /// The limits that were defined for this part of the run. Earlier changes of them are not repeated.
    pub(crate) own_limits: Vec<String>,
}

impl ResumedRun {
    /// Reads what was added to the earlier part of the run, each text with its number.
    pub(crate) fn additions(&self) -> Result<Vec<(u32, Addition)>, CliError> {
        let record = AdditionRecord::of(&self.store.folder().join(self.id.to_string()));
        let read = record.read();
        read.map_err(|error| CliError::unreadable(record.folder(), error))
    }
}

impl RunRecord {
    /// Returns the id of the run.
    pub(super) fn id(&self) -> RunId {
        self.id
    }

    /// Returns the folder of the run.
    pub(super) fn folder(&self) -> PathBuf {
        self.store.folder().join(self.id.to_string())
    }

    /// Returns the path of the journal.
    pub(super) fn journal_path(&self) -> PathBuf {
        self.store.journal(self.id)
    }

    /// Returns the store and the id under which the run is found when its record is closed.
    pub(super) fn reported(&self) -> (RunStore, RunId) {
        (self.store.clone(), self.id)
    }

    /// Returns the record of changes that are made to the run in progress.
    pub(super) fn steering(&self) -> SteeringRecord {
        SteeringRecord::of(&self.folder())
    }

    /// Repeats the changes that were made to the earlier part of the run. They are in effect before the first job
    /// starts.
    pub(super) fn steer_as_before(&self, handle: &RunHandle) -> Result<(), CliError> {
        if !self.is_resumed {
            return Ok(());
        }
        let record = self.steering();
        let changes = record
            .read()
            .map_err(|error| CliError::unreadable(record.path(), error))?;
        for change in changes {
            let handle = handle.clone();
            match change {
                SteeringChange::Slots(_) if self.has_own_slots => {}
                SteeringChange::Limit(name, _) if self.own_limits.contains(&name) => {}
                SteeringChange::Slots(slots) => {
                    again(async move { handle.set_slots(slots.get()).await });
                }
                SteeringChange::Limit(name, limit) => {
                    again(async move { handle.set_limit(name, limit).await });
                }
            }
        }
        Ok(())
    }

    /// Begins the record of a run, unless none is wanted. For a resumed run, it also returns the earlier part.
    pub(super) fn begin(
        options: &RunOptions,
        folder: &Path,
        source: Option<SourceIdentity>,
        stdin: Option<&'static str>,
        resumed_run: Option<ResumedRun>,
    ) -> Result<Option<(Self, Option<History>)>, CliError> {
        let mut args: Vec<OsString> = std::env::args_os().skip(1).collect();
        // They stand behind the verb, because what follows the last flag may be no flag.
        let behind_verb = args.len().min(1);
        args.splice(
            behind_verb..behind_verb,
            options.chosen_arguments.iter().cloned(),
        );
        let invocation = Invocation {
            args,
            cwd: folder.to_path_buf(),
        };
        let invocation = invocation.to_payload();
        if let Some(ResumedRun {
            store,
            id,
            has_own_slots,
            has_own_events: _,
            own_limits,
        }) = resumed_run
        {
            let path = store.journal(id);
            let (journal, history) =
                Journal::resume(path, SystemClock.now(), &invocation, options.durability)?;
            let record = Self {
                store,
                id,
                journal: Arc::new(Mutex::new(journal)),
                is_resumed: true,
                worked_before: history.worked(None),
                has_own_slots,
                own_limits,
                stdin,
            };
            return Ok(Some((record, Some(history))));
        }
        if options.no_record {
            return Ok(None);
        }
        let store = RunStore::at(options.state_dir()?);
        let (id, journal) = store
            .create(SystemClock.now(), source, invocation, options.durability)
            .map_err(|error| {
                CliError::usage("the run cannot be recorded, so nothing was run")
                    .because(error)
                    .with_help("choose another folder with --state-dir, or use --no-record")
            })?;
        let record = Self {
            store,
            id,
            journal: Arc::new(Mutex::new(journal)),
            is_resumed: false,
            worked_before: Duration::ZERO,
            has_own_slots: true,
            own_limits: Vec::new(),
            stdin,
        };
        Ok(Some((record, None)))
    }

    /// Records the slots, limits and resources with which the run, or this part of it, begins. Slots of hosts that are
    /// not known yet are left out.
    pub(super) fn plan(
        &self,
        slots: u32,
        places: impl Iterator<Item = (String, Option<u32>)>,
        limits: Vec<(String, Limit)>,
        resources: BTreeMap<String, u64>,
    ) -> Result<(), CliError> {
        let plan = RunPlan {
            slots,
            places: places
                .filter_map(|(place, slots)| Some((place, slots?)))
                .collect(),
            limits: limits.into_iter().collect(),
            resources,
        };
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.planned(SystemClock.now(), &plan)?;
        Ok(())
    }

    /// Whether jobs are read from stdin, so that they have to be given again to resume the run.
    pub(super) fn reads_stdin(&self) -> bool {
        self.stdin.is_some()
    }

    /// Returns the command that resumes the run.
    pub(super) fn resume_command(&self, options: &RunOptions) -> String {
        let mut words = vec![OsString::from("ratchet"), "resume".into()];
        words.push(self.id.to_string().into());
        if let Some(folder) = &options.typed_state_dir {
            words.extend(["--state-dir".into(), folder.clone().into_os_string()]);
        }
        let line = String::from_utf8_lossy(&shell_line(&words)).into_owned();
        match self.stdin {
            Some(what) => format!("{line} < {what}"),
            None => line,
        }
    }

    /// Removes the record of a run that could not begin, unless it has an earlier part.
    pub(super) fn withdraw(self) {
        if self.is_resumed {
            return;
        }
        drop(self.journal);
        if let Err(error) = self.store.remove(self.id) {
            tracing::warn!(%error, run = %self.id, "the record of a run that did not begin cannot be removed");
        }
    }

    /// Ends the record of a run that came to its end, or that stopped and can be resumed. A run without jobs is not
    /// kept.
    ///
    /// `gone` is how many recorded jobs are no longer among the jobs. If jobs have to be given again on stdin, and some
    /// are gone, the run has not come to its end: fewer of them were given this time, or none.
    ///
    /// Then old runs are removed. Returns the runs that were removed.
    pub(super) fn end(
        self,
        summary: &Summary,
        is_done: bool,
        gone: u64,
        retention: &Retention,
    ) -> Result<Vec<PrunedRun>, JournalError> {
        let is_done = is_done && (self.stdin.is_none() || gone == 0);
        if summary.total == 0 && !self.is_resumed {
            drop(self.journal);
            self.store.remove(self.id)?;
            return Ok(Vec::new());
        }
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        // Only this line makes a run a finished one. If this process ends in another way, the run stays interrupted.
        if is_done {
            journal.end(SystemClock.now(), summary)?;
            // A run without an earlier part has recorded each job once, so there is nothing to compact, and reading the
            // journal again would take a while.
            if self.is_resumed
                && let Err(error) = journal.compact()
            {
                tracing::warn!(%error, "the record of the run cannot be compacted");
            }
        } else {
            journal.save()?;
        }
        let pruned = self.store.prune(retention, SystemClock.now(), self.id);
        Ok(pruned.unwrap_or_else(|error| {
            tracing::warn!(%error, "old runs cannot be removed");
            Vec::new()
        }))
    }
}

/// Repeats a change of the earlier part of a run. A limit that was removed from the job file cannot be changed.
fn again(change: impl Future<Output = Result<(), ratchet_runtime::Error>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = change.await {
            tracing::warn!(%error, "an earlier change of this run cannot be repeated");
        }
    });
}

/// Makes the identity of a job file for the journal. Its size and its time of modification show whether it is still the
/// same.
pub(crate) fn job_file_source(path: &Path) -> Option<SourceIdentity> {
    let path = std::path::absolute(path).ok()?;
    let known = std::fs::metadata(&path).ok()?;
    if !known.is_file() {
        return None;
    }
    let changed = known.modified().ok()?.duration_since(std::time::UNIX_EPOCH);
    Some(SourceIdentity {
        name: path.display().to_string(),
        digest: format!("{}-{}", known.len(), changed.ok()?.as_nanos()),
    })
}
