//! SIGINT and SIGTERM: the first lets finish what runs, the second asks it to stop, the third kills.

use std::time::Duration;

use ratchet_resilience::shutdown::{Signal, Signals};
use ratchet_runtime::RunHandle;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::watch;

use super::inspection::Inspection;
use super::rules::Rules;
use super::screen::Screen;
use crate::error::CliError;
use crate::exit::{self, RunEnd};
use crate::report::span;

/// What was heard so far: how many signals, and which came first.
#[derive(Debug, Clone, Copy, Default)]
struct So {
    far: u32,
    first: Option<Signal>,
}

/// Listens.
pub(super) struct Heard {
    signals: Option<Signals>,
    inspection: Option<Inspection>,
    hears: watch::Sender<So>,
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
            hears: watch::Sender::default(),
        })
    }

    /// From now on, signals steer this run.
    pub(super) fn attend(&mut self, handle: RunHandle, rules: &Rules, screen: &Screen) {
        if let Some(inspection) = self.inspection.take() {
            inspection.answer(handle.clone(), screen.clone());
        }
        let Some(mut signals) = self.signals.take() else {
            return;
        };
        let (hears, screen) = (self.hears.clone(), screen.clone());
        let (grace, quiet) = (rules.grace, rules.quiet);
        tokio::spawn(async move {
            loop {
                let signal = signals.recv().await;
                let mut number = 0;
                hears.send_modify(|so| {
                    so.far = so.far.saturating_add(1);
                    so.first.get_or_insert(signal);
                    number = so.far;
                });
                let said = match number {
                    1 => {
                        handle.drain();
                        let grace = span(grace);
                        format!(
                            "{signal}: no new jobs; what runs has {grace} to finish; again to stop it now"
                        )
                    }
                    2 => {
                        handle.cancel();
                        format!("{signal}: what runs is asked to stop; again to kill it")
                    }
                    _ => {
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

    /// Resolves so long after the third signal.
    pub(super) async fn third(&self, later: Duration) {
        self.wait(3).await;
        tokio::time::sleep(later).await;
    }

    /// Resolves at the next signal.
    pub(super) async fn next(&self) {
        let far = self.hears.borrow().far;
        self.wait(far + 1).await;
    }

    async fn wait(&self, number: u32) {
        let mut heard = self.hears.subscribe();
        // This end is here as long as its owner.
        if heard.wait_for(|so| so.far >= number).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// How the run ended, if by a signal.
    pub(super) fn end(&self) -> Option<RunEnd> {
        self.hears.borrow().first.map(|signal| match signal {
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
