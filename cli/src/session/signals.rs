//! SIGINT and SIGTERM: the first lets running jobs finish, the second asks them to stop, the third kills them.
//!
//! The handlers are installed before anything is read, so that no signal ends the process by its default action. Until
//! the run begins, SIGINT and SIGTERM end the call at once.

use std::time::Duration;

use ratchet_resilience::shutdown::{Phase, ShutdownCoordinator, Signal, Signals};
use ratchet_runtime::RunHandle;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::{mpsc, oneshot};

use super::console::Console;
use super::options::RunOptions;
use super::status_signal::StatusSignal;
use crate::error::CliError;
use crate::exit::{self, RunEnd};
use crate::readable::duration;

/// Receives the signals of a call, and decides what they do.
pub(super) struct SignalHandler {
    /// The streams of signals; `None` once signals steer a run.
    listeners: Option<Listeners>,
    shutdown: ShutdownCoordinator,
}

/// The signals that this process listens to.
struct Listeners {
    stop: Signals,
    status: StatusSignal,
}

impl SignalHandler {
    /// Installs the handlers. Until they steer a run, signals are only recorded.
    pub(super) fn install() -> Result<Self, CliError> {
        let refused = |error: Box<dyn std::error::Error + Send + Sync>| {
            CliError::internal("a signal handler cannot be installed").because(error)
        };
        // SIGXFSZ would end this process when a file exceeds its size limit. With a handler, the write fails instead. A
        // program that is started gets the default action again.
        let too_long = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        drop(unix::signal(too_long).map_err(|error| refused(error.into()))?);
        let listeners = Listeners {
            stop: Signals::install().map_err(|error| refused(error.into()))?,
            status: StatusSignal::install().map_err(|error| refused(error.into()))?,
        };
        Ok(Self {
            listeners: Some(listeners),
            shutdown: ShutdownCoordinator::new(),
        })
    }

    /// Waits for a thread that reads `what`. SIGINT and SIGTERM end the wait, and SIGUSR1 prints what is waited for.
    #[expect(
        clippy::expect_used,
        reason = "`Session::perform` consumes the session, so nothing is read after `steer`"
    )]
    pub(super) async fn wait_for_reader<T>(
        &mut self,
        what: &str,
        mut reading: oneshot::Receiver<T>,
        console: &Console,
    ) -> Result<T, CliError> {
        let listeners = self.listeners.as_mut();
        let listeners = listeners.expect("nothing is read once the run has begun");
        loop {
            tokio::select! {
                read = &mut reading => return read.map_err(|_| reader_panicked(what)),
                signal = listeners.stop.recv() => {
                    let message = format!("{signal}: {what} was still being read, and nothing was run");
                    return Err(CliError::new(exit_code(signal), message));
                }
                () = listeners.status.recv() => {
                    console.say(&format!("ratchet: no job runs yet: {what} is still being read\n"));
                }
            }
        }
    }

    /// Lets signals stop this run from now on, and `keys` query it. Signals that arrived since `install` are handled at
    /// once.
    #[expect(clippy::expect_used, reason = "a session performs one run")]
    pub(super) fn steer(
        &mut self,
        handle: &RunHandle,
        options: &RunOptions,
        console: &Console,
        keys: Option<mpsc::Receiver<()>>,
    ) {
        let listeners = self.listeners.take();
        let Listeners { mut stop, status } = listeners.expect("a handler controls one run");
        status.answer(keys, handle.clone(), console.clone());
        let (shutdown, handle, console) = (self.shutdown.clone(), handle.clone(), console.clone());
        let (grace, quiet) = (options.grace, options.quiet);
        tokio::spawn(async move {
            loop {
                let signal = stop.recv().await;
                let message = match shutdown.signalled(signal) {
                    Phase::Running | Phase::Draining => {
                        handle.drain();
                        let grace = duration(grace);
                        format!(
                            "{signal}: no new jobs start; running jobs have {grace} to finish; repeat to stop them now"
                        )
                    }
                    Phase::Cancelling => {
                        handle.cancel();
                        format!("{signal}: running jobs are asked to stop; repeat to kill them")
                    }
                    Phase::Killing => {
                        handle.kill();
                        format!("{signal}: running jobs are killed")
                    }
                };
                if !quiet {
                    console.say(&format!("ratchet: {message}\n"));
                }
            }
        });
    }

    /// Waits for the third signal, and then for this time.
    pub(super) async fn third_signal(&self, later: Duration) {
        self.shutdown.reached(Phase::Killing).await;
        tokio::time::sleep(later).await;
    }

    /// Waits for the next signal.
    pub(super) async fn next(&self) {
        self.shutdown.next_signal().await;
    }

    /// Returns how the run ended, if a signal ended it.
    pub(super) fn run_end(&self) -> Option<RunEnd> {
        self.shutdown.first_signal().map(|signal| match signal {
            Signal::Interrupt => RunEnd::Interrupted,
            Signal::Terminate => RunEnd::Terminated,
        })
    }

    /// Returns the exit code of the first signal, if there was one.
    pub(super) fn exit_code(&self) -> Option<u8> {
        self.shutdown.first_signal().map(exit_code)
    }
}

fn exit_code(signal: Signal) -> u8 {
    match signal {
        Signal::Interrupt => exit::INTERRUPTED,
        Signal::Terminate => exit::TERMINATED,
    }
}

fn reader_panicked(what: &str) -> CliError {
    CliError::internal(format!("the thread that reads {what} has panicked"))
}
