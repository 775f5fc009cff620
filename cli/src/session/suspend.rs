//! The handler of SIGTSTP, which Ctrl-Z sends. It stops the jobs and then this process. SIGCONT, which `fg` sends,
//! continues both.
//!
//! Jobs have process groups of their own, so the signal of the terminal reaches only this process.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::SystemTime;

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::Journal;
use ratchet_runtime::journal::JournalError;
use ratchet_runtime::process::suspend_while;
use ratchet_runtime::remote::RemoteHost;
use rustix::process::{Signal, getpgrp, getpid, getppid, getsid, kill_process};
use tokio::signal::unix::{self, SignalKind};

use super::console::Console;
use super::terminal_keys::TerminalKeys;
use crate::error::CliError;

/// Records in a journal when this process and its jobs were stopped, and for how long.
///
/// The journal is held weakly, so that it is closed together with the record of the run.
#[derive(Clone, Default)]
pub(super) struct SuspensionRecord {
    /// The journal. It is set once the run is recorded, and never with `--no-record`.
    journal: Arc<OnceLock<Weak<Mutex<Journal>>>>,
    /// The hosts whose processes are stopped, too.
    hosts: Arc<OnceLock<Vec<Weak<RemoteHost>>>>,
}

impl SuspensionRecord {
    /// Sets the journal in which stops are recorded from now on. Only the first call counts: a session has one run.
    pub(super) fn keep_in(&self, journal: &Arc<Mutex<Journal>>) {
        self.journal.get_or_init(|| Arc::downgrade(journal));
    }

    /// Sets the hosts whose processes are to be stopped, too. Only the first call counts.
    pub(super) fn stop_on<'a>(&self, hosts: impl Iterator<Item = &'a Arc<RemoteHost>>) {
        self.hosts
            .get_or_init(|| hosts.map(Arc::downgrade).collect());
    }

    /// Returns the hosts whose processes are to be stopped, too.
    fn hosts(&self) -> Vec<Arc<RemoteHost>> {
        let hosts = self.hosts.get().into_iter().flatten();
        hosts.filter_map(Weak::upgrade).collect()
    }

    /// Records a stop or its end in the journal, if there is one.
    fn note(&self, record: fn(&mut Journal, SystemTime) -> Result<(), JournalError>) {
        let Some(journal) = self.journal.get().and_then(Weak::upgrade) else {
            return;
        };
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        // A journal keeps its failure, and the run gets it with the next outcome.
        let _ = record(&mut journal, SystemClock.now());
    }
}

/// Installs the handler of SIGTSTP. From then on, the signal stops the jobs as well.
pub(super) fn install(console: Console, keys: TerminalKeys) -> Result<SuspensionRecord, CliError> {
    let record = SuspensionRecord::default();
    let kept = record.clone();
    let kind = SignalKind::from_raw(Signal::TSTP.as_raw());
    let mut signals = unix::signal(kind).map_err(|error| {
        CliError::internal("a handler for SIGTSTP cannot be installed").because(error)
    })?;
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            if is_under_job_control() {
                let hosts = record.hosts();
                for host in &hosts {
                    host.suspend().await;
                }
                console.while_hidden(|| keys.with_terminal_restored(|| stop(&record)));
                for host in &hosts {
                    host.resume();
                }
            } else {
                tracing::info!(
                    "this process is not suspended, because no shell could continue it (SIGTSTP is ignored)"
                );
            }
        }
    });
    Ok(kept)
}

/// Stops the jobs and this process. Returns when this process is continued.
fn stop(record: &SuspensionRecord) {
    suspend_while(|| {
        record.note(Journal::suspended);
        // SIGTSTP itself has a handler, so this process is stopped by SIGSTOP. The call returns after SIGCONT: a signal
        // that a process sends to itself is delivered to its main thread first, and this is the main thread. The event
        // loop handles signals that arrived in the meantime, after the jobs were continued.
        if let Err(error) = kill_process(getpid(), Signal::STOP) {
            tracing::warn!(%error, "this process cannot be stopped");
        }
        record.note(Journal::continued);
    });
}

/// Whether a shell could continue this process.
///
/// The kernel discards SIGTSTP if no process of the session could continue the process group (an orphaned group). It
/// does not discard SIGSTOP, which would stop this process forever.
pub(crate) fn is_under_job_control() -> bool {
    let Ok(session) = getsid(None) else {
        return false;
    };
    // The parent of the leader of a session is outside of the session.
    getpgrp() != session && getppid().is_some_and(|parent| getsid(Some(parent)) == Ok(session))
}
