//! What an attempt is given: the seam under the executor.

use std::sync::Arc;

use async_trait::async_trait;
use ratchet_ipc::Payload;
use tokio_util::sync::CancellationToken;

use super::attempt::LastProgress;
use super::output::AttemptOutput;
use super::task_pool::StopSignal;
use crate::dispatch::{Report, Reporter, Step};
use crate::job::Job;
use crate::outcome::Failure;
use crate::process::Stream;
use crate::scheduling::Ticket;

/// One try at a job.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// What is to be done.
    pub job: Arc<Job>,
    /// Which try this is; the first is 1.
    pub number: u32,
}

/// Does a job's work, one attempt at a time; any number of them may run at once.
///
/// Dropping the future of [`run`](Self::run) must stop the work: that is how an attempt is killed. A panic
/// is a crash of the attempt, and of nothing else.
///
/// ```
/// use ratchet_runtime::{Attempt, Context, Executor, Failure, Job, Payload, Runner};
///
/// struct Shout;
///
/// #[async_trait::async_trait]
/// impl Runner for Shout {
///     async fn run(&self, attempt: Attempt, _context: Context) -> Result<Payload, Failure> {
///         Ok(Payload::from_text(&attempt.job.id.as_str().to_uppercase()))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ratchet_runtime::Error> {
/// let executor = Executor::builder().runner(Shout).build()?;
/// let outcomes = executor.run_all([Job::task("hello", "shout", Payload::null())]).await?;
/// assert_eq!(outcomes[0].result, Ok(Payload::from_text("HELLO")));
/// # Ok(())
/// # }
/// ```
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait Runner: Send + Sync {
    /// Runs one attempt to its end.
    async fn run(&self, attempt: Attempt, context: Context) -> Result<Payload, Failure>;
}

/// What an attempt can know and tell while it runs.
#[derive(Clone)]
pub struct Context {
    attempt: u32,
    stop: StopSignal,
    listener: Listener,
    /// What it prints, where somebody keeps it.
    output: Option<Arc<AttemptOutput>>,
}

/// Who hears of steps.
#[derive(Clone)]
enum Listener {
    /// Whoever made the context.
    Anybody(Arc<dyn Fn(Step) + Send + Sync>),
    /// The loop: no allocation for what most attempts never use.
    Loop {
        reporter: Reporter,
        ticket: Ticket,
        last_progress: Option<Arc<LastProgress>>,
    },
}

impl Context {
    /// A context that tells steps to `tell`.
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

    /// A context whose steps go to the loop, and count as progress where the attempt has an idle timeout.
    pub(super) fn of_attempt(
        attempt: u32,
        stop: StopSignal,
        reporter: Reporter,
        ticket: Ticket,
        last_progress: Option<Arc<LastProgress>>,
        output: Option<Arc<AttemptOutput>>,
    ) -> Self {
        Self {
            attempt,
            stop,
            listener: Listener::Loop {
                reporter,
                ticket,
                last_progress,
            },
            output,
        }
    }

    /// Which try this is; the first is 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Cancelled when the attempt is asked to stop; what goes on regardless is killed after the grace.
    pub fn cancelled(&self) -> &CancellationToken {
        self.stop.token()
    }

    /// Keeps what the attempt's program has printed next, for a runner of commands: its head and its tail go with the
    /// attempt's failure, also if the attempt is killed and its future dropped.
    pub fn printed(&self, stream: Stream, bytes: &[u8]) {
        if let Some(output) = &self.output {
            output.push(stream, bytes);
        }
    }

    /// Tells how far the attempt has come, which also shows that it is alive.
    pub fn progress(&self, step: Step) {
        match &self.listener {
            Listener::Anybody(tell) => tell(step),
            Listener::Loop {
                reporter,
                ticket,
                last_progress,
            } => {
                if let Some(last) = last_progress {
                    last.note();
                }
                let ticket = *ticket;
                reporter.tell(Report::Step { ticket, step });
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
