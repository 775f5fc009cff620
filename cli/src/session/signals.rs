//! SIGINT and SIGTERM: the first lets running jobs finish, the second asks them to stop, the third kills them.

use std::time::Duration;

use ratchet_resilience::shutdown::{Phase, ShutdownCoordinator, Signal, Signals};
use ratchet_runtime::RunHandle;
use tokio::signal::unix::{self, SignalKind};

use super::inspection::Inspection;
use super::rules::Rules;
use super::screen::Screen;
use crate::error::CliError;
use crate::exit::{self, RunEnd};
use crate::report::span;

/// The signals that this process has received, and the shutdown that they drive.
pub(super) struct Heard {
    signals: Option<Signals>,
    inspection: Option<Inspection>,
    shutdown: ShutdownCoordinator,
}

impl Heard {
    pub(super) fn install() -> Result<Self, CliError> {
        // A file that may not become longer is an error where it is written, not the end of this process. Programs
        // that are started get the signal as ever.
        let too_long = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        let caught = unix::signal(too_long);
        drop(caught.map_err(|error| CliError::Internal(error.to_string()))?);
        let signals = Signals::install().map_err(|error| CliError::Internal(error.to_string()))?;
        Ok(Self {
            signals: Some(signals),
            inspection: Some(Inspection::install()?),
            shutdown: ShutdownCoordinator::new(),
        })
    }

    /// From now on, signals steer this run. Those that arrived since `install` are handled at once.
    pub(super) fn attend(&mut self, handle: RunHandle, rules: &Rules, screen: &Screen) {
        if let Some(inspection) = self.inspection.take() {
            inspection.answer(handle.clone(), screen.clone());
        }
        let Some(mut signals) = self.signals.take() else {
            return;
        };
        let (shutdown, screen) = (self.shutdown.clone(), screen.clone());
        let (grace, quiet) = (rules.grace, rules.quiet);
        tokio::spawn(async move {
            loop {
                let signal = signals.recv().await;
                let said = match shutdown.signalled(signal) {
                    Phase::Running | Phase::Draining => {
                        handle.drain();
                        let grace = span(grace);
                        format!(
                            "{signal}: no new jobs; what runs has {grace} to finish; again to stop it now"
                        )
                    }
                    Phase::Cancelling => {
                        handle.cancel();
                        format!("{signal}: what runs is asked to stop; again to kill it")
                    }
                    Phase::Killing => {
                        handle.kill();
                        format!("{signal}: what runs is killed")
                    }
                };
                if !quiet {
                    screen.say(&format!("ratchet: {said}\n"));
                }
            }
        });
    }

    /// Waits for the third signal, and then as long as `later`.
    pub(super) async fn third(&self, later: Duration) {
        self.shutdown.reached(Phase::Killing).await;
        tokio::time::sleep(later).await;
    }

    /// Waits for the next signal.
    pub(super) async fn next(&self) {
        self.shutdown.next_signal().await;
    }

    /// How the run ended, if by a signal.
    pub(super) fn end(&self) -> Option<RunEnd> {
        self.shutdown.first_signal().map(|signal| match signal {
            Signal::Interrupt => RunEnd::Interrupted,
            Signal::Terminate => RunEnd::Terminated,
        })
    }

    /// The exit code of that.
    pub(super) fn code(&self) -> Option<u8> {
        self.end().map(|end| match end {
            RunEnd::Terminated => exit::TERMINATED,
            _ => exit::INTERRUPTED,
        })
    }
}
