use std::fmt;
use std::future::pending;

use tokio::signal::unix::{Signal as Listener, SignalKind, signal};

use super::{Phase, ShutdownHandle};
use crate::Error;

/// A signal that asks for a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM: a service manager, or `kill`.
    Terminate,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// Listens for SIGINT and SIGTERM. Nothing does before [`install`](Self::install).
///
/// ```no_run
/// use ratchet_resilience::shutdown::{ShutdownCoordinator, Signals};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ratchet_resilience::Error> {
/// let coordinator = ShutdownCoordinator::builder().build()?;
/// tokio::spawn(Signals::install()?.drive(coordinator.handle()));
/// let report = coordinator.run().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Signals {
    interrupt: Listener,
    terminate: Listener,
}

impl Signals {
    /// Takes both signals over from the system, for the rest of the life of this process: from here on they do
    /// only what is done with them.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with its I/O driver enabled.
    pub fn install() -> Result<Self, Error> {
        let listen = |kind, name| {
            signal(kind).map_err(|source| Error::Signal {
                signal: name,
                source,
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt(), Signal::Interrupt)?,
            terminate: listen(SignalKind::terminate(), Signal::Terminate)?,
        })
    }

    /// Waits for the next signal. Cancel safe. The system merges signals of one kind that come faster than they are
    /// received.
    pub async fn recv(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Signal::Interrupt,
            Some(()) = self.terminate.recv() => Signal::Terminate,
            // The driver is gone, and with it any signal to come.
            else => pending().await,
        }
    }

    /// Advances the shutdown by a phase for each signal, until there is no further phase.
    pub async fn drive(mut self, shutdown: ShutdownHandle) {
        while shutdown.phase() < Phase::Killing {
            let signal = self.recv().await;
            tracing::info!(%signal, "received");
            shutdown.advance();
        }
    }
}
