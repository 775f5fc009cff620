use std::fmt;
use std::future::pending;

use tokio::signal::unix::{Signal as Listener, SignalKind, signal};

use crate::ResilienceError;

/// A signal that requests a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// SIGINT, which Ctrl-C sends.
    Interrupt,
    /// SIGTERM, which service managers and `kill` send.
    Terminate,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }
}

/// Receives SIGINT and SIGTERM, from [`install`](Self::install) on.
///
/// ```no_run
/// use ratchet_resilience::shutdown::{Phase, ShutdownCoordinator, Signals};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ratchet_resilience::ResilienceError> {
/// let coordinator = ShutdownCoordinator::new();
/// let mut signals = Signals::install()?;
/// let listener = coordinator.clone();
/// tokio::spawn(async move {
///     loop {
///         let signal = signals.recv().await;
///         println!("{signal}: {}", listener.signalled(signal));
///     }
/// });
/// coordinator.reached(Phase::Draining).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Signals {
    interrupt: Listener,
    terminate: Listener,
}

impl Signals {
    /// Installs handlers for both signals. From here on, for the rest of the life of this process, the signals no
    /// longer end it.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with its I/O driver enabled.
    pub fn install() -> Result<Self, ResilienceError> {
        let listen = |kind, wanted: Signal| {
            signal(kind).map_err(|source| ResilienceError::Signal {
                signal: wanted.name(),
                source,
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt(), Signal::Interrupt)?,
            terminate: listen(SignalKind::terminate(), Signal::Terminate)?,
        })
    }

    /// Waits for the next signal. It is cancel safe.
    ///
    /// The system merges signals of one kind that arrive faster than they are received.
    pub async fn recv(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Signal::Interrupt,
            Some(()) = self.terminate.recv() => Signal::Terminate,
            // Both streams end with the runtime's I/O driver, without which no signal can arrive.
            else => pending().await,
        }
    }
}
