//! An execution of the submitted jobs, with a deadline, a cancellation token and a progress callback of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ratchet_ipc::JobKey;
use tokio_util::sync::CancellationToken;

use super::outcome_order::OutcomeOrder;
use super::outcomes::ProgressCallback;
use super::run::Executor;
use crate::Error;
use crate::outcome::Outcome;
use crate::table::Table;

/// An execution of the jobs that were submitted, which begins when it is awaited. [`Executor::execute`] makes it.
///
/// ```
/// use std::time::Duration;
/// use ratchet_runtime::{Executor, Failure, Status};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), ratchet_runtime::Error> {
/// let pool = Executor::builder().slots(2).build()?;
/// for (cluster, seconds) in [("prod", 10), ("staging", 1000)] {
///     pool.submit_closure(cluster, move |context| async move {
///         tokio::select! {
///             () = tokio::time::sleep(Duration::from_secs(seconds)) => Ok(seconds),
///             () = context.cancelled() => Err(Failure::cancelled()),
///         }
///     })?;
/// }
/// let outcomes = pool.execute().deadline(Duration::from_secs(30)).await?;
/// assert_eq!(outcomes[0].read::<u64>()?, 10);
/// assert_eq!(outcomes[1].status(), Status::Cancelled);
/// # Ok(())
/// # }
/// ```
#[must_use = "an execution begins when it is awaited"]
pub struct Execute<'a> {
    executor: &'a Executor,
    deadline: Option<Duration>,
    token: Option<CancellationToken>,
    on_progress: Option<ProgressCallback<'a>>,
}

// These methods are here and not beside `Executor`, so that an execution depends on its executor and not the other way
// around.
impl Executor {
    /// Runs the jobs that were submitted since the last execution, and returns their outcomes in the order of
    /// submission. A deadline, a token and a progress callback can be set on the returned value before it is awaited.
    ///
    /// If the execution is refused, for example because a needed job is not there, the jobs stay submitted. The missing
    /// jobs can then be submitted, and [`withdraw`](Self::withdraw) returns all of them.
    ///
    /// ```
    /// use ratchet_runtime::{Executor, Job, Payload};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ratchet_runtime::Error> {
    /// let pool = Executor::builder().slots(3).build()?;
    /// for cluster in ["prod-us-east", "prod-eu-west", "staging"] {
    ///     pool.submit(Job::closure(cluster, move |_| async move {
    ///         Ok(Payload::from_text(&format!("pods of {cluster}")))
    ///     }))?;
    /// }
    /// let outcomes = pool.execute().await?;
    /// let names: Vec<&str> = outcomes.iter().map(|outcome| outcome.id.as_str()).collect();
    /// assert_eq!(names, ["prod-us-east", "prod-eu-west", "staging"]);
    ///
    /// pool.shutdown(std::time::Duration::from_secs(5)).await?;
    /// let late = pool.submit(Job::closure("late", |_| async { Ok(Payload::null()) }));
    /// assert_eq!(late.unwrap_err().to_string(), "pool is shutting down");
    /// # Ok(())
    /// # }
    /// ```
    pub fn execute(&self) -> Execute<'_> {
        Execute::new(self)
    }

    /// [Executes](Self::execute) the submitted jobs, and calls back with `(completed, total)` after each of them.
    ///
    /// ```
    /// use ratchet_runtime::Executor;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ratchet_runtime::Error> {
    /// let pool = Executor::builder().slots(3).build()?;
    /// for cluster in ["prod-us-east", "prod-eu-west", "staging"] {
    ///     pool.submit_closure(cluster, |_| async { Ok(12) })?;
    /// }
    /// let mut steps = Vec::new();
    /// pool.execute_with_progress(|completed, total| steps.push((completed, total))).await?;
    /// assert_eq!(steps, [(1, 3), (2, 3), (3, 3)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn execute_with_progress<'a>(
        &'a self,
        callback: impl FnMut(u64, u64) + Send + 'a,
    ) -> Execute<'a> {
        self.execute().on_progress(callback)
    }
}

impl<'a> Execute<'a> {
    /// Makes an execution that only the settings of its executor limit.
    pub(super) fn new(executor: &'a Executor) -> Self {
        Self {
            executor,
            deadline: None,
            token: None,
            on_progress: None,
        }
    }

    /// Sets how long this execution may take. After that, running jobs are asked to stop, and no job starts. If the
    /// executor has a deadline too, the earlier one counts.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Stops this execution when the token is cancelled: running jobs are asked to stop, and no job starts.
    ///
    /// ```
    /// use ratchet_runtime::{Executor, Status};
    /// use tokio_util::sync::CancellationToken;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ratchet_runtime::Error> {
    /// let pool = Executor::builder().slots(1).build()?;
    /// let token = CancellationToken::new();
    /// let stop = token.clone();
    /// pool.submit_closure("prod", move |_| {
    ///     stop.cancel();
    ///     async { Ok("done") }
    /// })?;
    /// pool.submit_closure("staging", |_| async { Ok("done") })?;
    /// let outcomes = pool.execute().cancelled_by(token).await?;
    /// assert_eq!(outcomes[0].status(), Status::Succeeded);
    /// # Ok(())
    /// # }
    /// ```
    pub fn cancelled_by(mut self, token: CancellationToken) -> Self {
        self.token = Some(token);
        self
    }

    /// Calls back with `(completed, total)` after each job that has ended. The outcomes are still returned in the order
    /// of submission. The next outcome is taken only after the callback has returned.
    pub fn on_progress(mut self, callback: impl FnMut(u64, u64) + Send + 'a) -> Self {
        self.on_progress = Some(Box::new(callback));
        self
    }

    /// Runs the jobs to their end.
    async fn run(self) -> Result<Vec<Arc<Outcome>>, Error> {
        let Self {
            executor,
            deadline,
            token,
            on_progress,
        } = self;
        if deadline.is_some_and(|deadline| deadline.is_zero()) {
            return Err(Error::InvalidSetting {
                setting: "deadline",
                reason: "of 0 leaves no time for any job".to_owned(),
            });
        }
        let ordering = match on_progress {
            Some(_) => OutcomeOrder::Completion,
            None => OutcomeOrder::Submission,
        };
        let (run, ids) = executor.begin_submitted(ordering, deadline)?;
        let mut outcomes = run.collect(token, on_progress, ids.len() as u64).await?;
        if ordering == OutcomeOrder::Completion {
            let positions: Table<JobKey, usize> = ids.into_iter().zip(0..).collect();
            outcomes.sort_by_key(|outcome| positions.get(&outcome.id).copied());
        }
        Ok(outcomes)
    }
}

impl<'a> IntoFuture for Execute<'a> {
    type Output = Result<Vec<Arc<Outcome>>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl std::fmt::Debug for Execute<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Execute")
            .field("deadline", &self.deadline)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}
