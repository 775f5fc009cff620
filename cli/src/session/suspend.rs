//! SIGTSTP, which Ctrl-Z sends: stops the jobs and then this process. SIGCONT, which `fg` sends, continues both.
//!
//! Jobs have process groups of their own, so the terminal's signal reaches only this process.

use ratchet_runtime::process::suspend_while;
use rustix::process::{Signal, getpgrp, getpid, getppid, getsid, kill_process};
use tokio::signal::unix::{self, SignalKind};

use super::console::Console;
use crate::error::CliError;

/// Installs the handler of SIGTSTP. From then on, the signal stops the jobs as well.
pub(super) fn install(console: Console) -> Result<(), CliError> {
    let kind = SignalKind::from_raw(Signal::TSTP.as_raw());
    let mut signals = unix::signal(kind).map_err(|error| {
        CliError::internal("a handler for SIGTSTP cannot be installed").because(error)
    })?;
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            if is_under_job_control() {
                console.while_hidden(stop);
            } else {
                tracing::info!(
                    "SIGTSTP is ignored: there is no shell that could continue this process"
                );
            }
        }
    });
    Ok(())
}

/// Stops the jobs and this process. Returns when somebody has continued it.
fn stop() {
    suspend_while(|| {
        // SIGTSTP itself has a handler, so this process is stopped by SIGSTOP. The call returns after SIGCONT: a signal
        // that a process sends to itself is delivered to its main thread first, and this is the main thread. The event
        // loop handles signals that came meanwhile, after the jobs were continued.
        if let Err(error) = kill_process(getpid(), Signal::STOP) {
            tracing::warn!(%error, "this process cannot be stopped");
        }
    });
}

/// Whether a shell could continue this process.
///
/// The kernel discards SIGTSTP where nobody in the session could continue the process group (an orphaned group). It
/// does not discard SIGSTOP, which would stop this process for ever.
fn is_under_job_control() -> bool {
    let Ok(session) = getsid(None) else {
        return false;
    };
    // The parent of a session's leader is outside of the session.
    getpgrp() != session && getppid().is_some_and(|parent| getsid(Some(parent)) == Ok(session))
}
