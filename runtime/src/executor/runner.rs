//! The trait under the executor, through which any code can perform attempts.

use std::sync::Arc;

use async_trait::async_trait;
use ratchet_ipc::Payload;

use crate::context::Context;
use crate::job::Job;
use crate::outcome::Failure;

/// One try at a job.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The job to perform.
    pub job: Arc<Job>,
    /// The number of this attempt; the first is 1.
    pub number: u32,
}

/// Performs attempts of jobs. Any number of them may run at once.
///
/// Dropping the future of [`run`](Self::run) must stop the work, because that is how an attempt is killed. A panic is a
/// crash of this attempt, and of nothing else.
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
