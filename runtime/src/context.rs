//! What an attempt in this process can know and tell while it runs.

mod output;
mod progress;
mod stop_signal;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::ids::Ticket;
use crate::os::Stream;
pub(crate) use output::AttemptOutput;
pub(crate) use progress::LastProgress;
pub(crate) use stop_signal::StopSignal;

/// How far an attempt has come.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Step {
    /// How much is done.
    pub done: Option<f64>,
    /// Of how much.
    pub total: Option<f64>,
    /// What it is doing.
    pub message: Option<String>,
}

/// Takes the steps of the attempts of a run.
pub(crate) trait StepListener: Send + Sync {
    /// Takes a step of the attempt with this ticket.
    fn step(&self, ticket: Ticket, step: Step);
}

/// What an attempt can know and tell while it runs.
#[derive(Clone)]
pub struct Context {
    attempt: u32,
    stop: StopSignal,
    listener: Listener,
    /// What the attempt prints, where somebody keeps it.
    output: Option<Arc<AttemptOutput>>,
}

/// Who hears of steps.
#[derive(Clone)]
enum Listener {
    /// Whoever made the context.
    Anybody(Arc<dyn Fn(Step) + Send + Sync>),
    /// The run that the attempt belongs to. Its listener is shared, so that an attempt allocates nothing for what most
    /// attempts never use.
    Run {
        listener: Arc<dyn StepListener>,
        ticket: Ticket,
        last_progress: Option<Arc<LastProgress>>,
    },
}

impl Context {
    /// Makes a context that hands steps to `tell`.
    pub fn new(
        attempt: u32,
        cancelled: CancellationToken,
        tell: impl Fn(Step) + Send + Sync + 'static,
    ) -> Self {
        Self {
            attempt,
            stop: cancelled.into(),
            listener: Listener::Anybody(Arc::new(tell)),
            output: None,
        }
    }

    /// Makes a context whose steps go to a run, and count as progress where the attempt has an idle timeout.
    pub(crate) fn of_attempt(
        attempt: u32,
        stop: StopSignal,
        listener: Arc<dyn StepListener>,
        ticket: Ticket,
        last_progress: Option<Arc<LastProgress>>,
        output: Option<Arc<AttemptOutput>>,
    ) -> Self {
        Self {
            attempt,
            stop,
            listener: Listener::Run {
                listener,
                ticket,
                last_progress,
            },
            output,
        }
    }

    /// Which attempt of its job this is; the first is 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The token that is cancelled when the attempt is asked to stop. An attempt that goes on regardless is killed after
    /// the grace.
    pub fn cancelled(&self) -> &CancellationToken {
        self.stop.token()
    }

    /// Keeps what the attempt's program has printed next, for a runner of commands. The head and the tail of it go with
    /// the attempt's failure, also if the attempt is killed and its future dropped.
    pub fn printed(&self, stream: Stream, bytes: &[u8]) {
        if let Some(output) = &self.output {
            output.push(stream, bytes);
        }
    }

    /// Tells how far the attempt has come, which also shows that it is alive.
    pub fn progress(&self, step: Step) {
        match &self.listener {
            Listener::Anybody(tell) => tell(step),
            Listener::Run {
                listener,
                ticket,
                last_progress,
            } => {
                if let Some(last) = last_progress {
                    last.note();
                }
                listener.step(*ticket, step);
            }
        }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("attempt", &self.attempt)
            .field("cancelled", &self.stop.token().is_cancelled())
            .finish_non_exhaustive()
    }
}
