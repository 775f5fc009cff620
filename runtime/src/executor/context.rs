//! What an attempt is given: the seam under the executor.

use std::sync::Arc;

use async_trait::async_trait;
use ratchet_ipc::Payload;
use tokio_util::sync::CancellationToken;

use crate::job::Job;
use crate::outcome::Failure;

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
/// Dropping the future of [`run`](Self::run) must stop the work: that is how an attempt is killed.
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
    cancelled: CancellationToken,
    tell: Arc<dyn Fn(Step) + Send + Sync>,
}

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

impl Context {
    /// A context that tells steps to `tell`.
    pub fn new(
        attempt: u32,
        cancelled: CancellationToken,
        tell: impl Fn(Step) + Send + Sync + 'static,
    ) -> Self {
        Self {
            attempt,
            cancelled,
            tell: Arc::new(tell),
        }
    }

    /// Which try this is; the first is 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Cancelled when the attempt is asked to stop; what goes on regardless is killed after the grace.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// Tells how far the attempt has come, which also shows that it is alive.
    pub fn progress(&self, step: Step) {
        (self.tell)(step);
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("attempt", &self.attempt)
            .field("cancelled", &self.cancelled.is_cancelled())
            .finish_non_exhaustive()
    }
}
