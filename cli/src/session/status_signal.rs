//! SIGUSR1 and the key `t`, which print what runs and what waits for what.

use std::io;
use std::pin::Pin;

use ratchet_runtime::RunHandle;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::mpsc;

use super::console::Console;
use crate::early_signals;
use crate::live::describe;

/// The handler of SIGUSR1. Without a handler, the signal would end this process.
pub(super) struct StatusSignal {
    signals: unix::Signal,
    /// Whether a signal that came before the handler was installed is still to be answered.
    is_due: bool,
}

impl StatusSignal {
    /// Installs the handler of SIGUSR1.
    pub(super) fn install() -> io::Result<Self> {
        let signals = unix::signal(SignalKind::user_defined1())?;
        Ok(Self {
            signals,
            is_due: early_signals::status_was_asked(),
        })
    }

    /// Resolves at the next signal.
    pub(super) async fn recv(&mut self) {
        if std::mem::take(&mut self.is_due) {
            return;
        }
        if self.signals.recv().await.is_none() {
            // The event loop is about to end, so no further signal comes.
            std::future::pending::<()>().await;
        }
    }

    /// Answers the signal and the key with this text from now on. The user asked for it, so `--quiet` does
    /// not hide it.
    pub(super) fn answer(
        mut self,
        mut keys: Option<mpsc::Receiver<()>>,
        answer: StatusAnswer,
        console: Console,
    ) {
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = self.recv() => {}
                    () = next_key(&mut keys) => {}
                }
                console.say(&answer().await);
            }
        });
    }
}

/// Returns what runs and what waits, as text for people.
pub(super) type StatusAnswer = Box<dyn Fn() -> Pin<Box<dyn Future<Output = String> + Send>> + Send>;

/// Makes the answer about a run.
pub(super) fn describe_run(handle: RunHandle) -> StatusAnswer {
    Box::new(move || {
        let handle = handle.clone();
        Box::pin(async move {
            match handle.snapshot().await {
                Ok(snapshot) => describe(&snapshot, &handle.status()),
                Err(_) => "ratchet: all jobs have ended; results are being written\n".to_owned(),
            }
        })
    })
}

/// Makes the answer about a run whose jobs the nodes of a queue do.
pub(super) fn describe_followed(handle: RunHandle) -> StatusAnswer {
    Box::new(move || {
        let ended = handle.status().ended;
        Box::pin(async move {
            format!(
                "ratchet: {ended} jobs have ended; nodes of the queue do the others, and `ratchet queue` tells which wait for what\n"
            )
        })
    })
}

/// Resolves at the next key, if keys are read.
async fn next_key(keys: &mut Option<mpsc::Receiver<()>>) {
    let key = match keys {
        Some(keys) => keys.recv().await,
        None => std::future::pending().await,
    };
    if key.is_none() {
        // Keys are no longer read.
        std::future::pending::<()>().await;
    }
}
