use std::fmt;
use std::future::{pending, ready};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{
    AttemptError, BackoffPolicy, FailedAttempt, Fault, GiveUpReason, RetryBudget, RetryDecision,
    RetryError, RetryHistory, RetryNotice, RetryPolicy, Retryable,
};
use crate::ResilienceError;
use crate::Rng;
#[cfg(feature = "circuit-breaker")]
use crate::circuit_breaker::{CallOutcome, CircuitBreaker, Permit};
use crate::time::{clock_now as now, saturating_add};
use crate::validate::check_duration;

/// Repeats a call by a policy until it succeeds, and sleeps between the attempts.
///
/// Do not use it if you have a queue: put the job back into the queue instead, with the time that
/// [`RetryHistory::record_failure`] returns. An executor can run any number of calls at the same time.
///
/// The default executor makes up to three attempts, with growing random delays from 100 ms. That is enough for most
/// calls, and [`execute_if`](Self::execute_if) takes errors of any type:
///
/// ```
/// # use ratchet_resilience::retry::RetryExecutor;
/// # use std::io::{Error, ErrorKind};
/// # async fn fetch(url: &str) -> Result<String, Error> { Ok(url.into()) }
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let is_transient = |error: &Error| error.kind() != ErrorKind::NotFound;
/// let page = RetryExecutor::default().execute_if(is_transient, async |_| fetch("http://a.example").await).await;
/// # assert!(page.is_ok());
/// # }
/// ```
///
/// Each attempt, retry and final failure is a `tracing` event with the target `ratchet_resilience::retry`: retries and
/// final failures at the level INFO, the rest at DEBUG.
pub struct RetryExecutor {
    policy: Box<dyn RetryPolicy>,
    /// How long one attempt may take; `None` for no limit.
    attempt_timeout: Option<Duration>,
    listener: Option<Listener>,
    budget: Option<Arc<RetryBudget>>,
    #[cfg(feature = "circuit-breaker")]
    breaker: Option<CircuitBreaker>,
    rng: Mutex<Rng>,
}

/// Called before each wait for a retry.
type Listener = Box<dyn Fn(&RetryNotice<'_>) + Send + Sync>;

/// The target of all events of this module.
const TARGET: &str = "ratchet_resilience::retry";

impl Default for RetryExecutor {
    /// Makes an executor with the default [`BackoffPolicy`].
    fn default() -> Self {
        Self::new(BackoffPolicy::default())
    }
}

impl fmt::Debug for RetryExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryExecutor")
            .field("attempt_timeout", &self.attempt_timeout)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

impl RetryExecutor {
    /// Makes an executor without a budget and without a breaker, whose jitter differs each time.
    pub fn new(policy: impl RetryPolicy + 'static) -> Self {
        Self {
            policy: Box::new(policy),
            attempt_timeout: None,
            listener: None,
            budget: None,
            #[cfg(feature = "circuit-breaker")]
            breaker: None,
            rng: Mutex::new(Rng::new()),
        }
    }

    /// Takes every retry out of this budget, and makes a deposit for every call that starts its first attempt.
    #[must_use]
    pub fn budget(mut self, budget: Arc<RetryBudget>) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Drops an attempt that takes longer than this, and counts it as failed with [`AttemptError::TimedOut`].
    ///
    /// Without it, an attempt that hangs uses up the time of all attempts. It refuses zero and more than 365 days. The
    /// policy's time limit determines when the last attempt may start; this timeout determines when each attempt has to
    /// end.
    ///
    /// ```
    /// # use ratchet_resilience::retry::{Fault, RetryExecutor};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), ratchet_resilience::ResilienceError> {
    /// let executor = RetryExecutor::default().attempt_timeout(Duration::from_secs(2))?;
    /// let answer = executor
    ///     .execute(async |attempt| {
    ///         if attempt == 1 {
    ///             std::future::pending::<()>().await;
    ///         }
    ///         Ok::<_, Fault<&str>>("hello")
    ///     })
    ///     .await;
    /// assert_eq!(answer.unwrap(), "hello");
    /// # Ok(())
    /// # }
    /// ```
    pub fn attempt_timeout(mut self, limit: Duration) -> Result<Self, ResilienceError> {
        check_duration("attempt_timeout", limit, Duration::from_nanos(1))?;
        self.attempt_timeout = Some(limit);
        Ok(self)
    }

    /// Calls the listener before each wait for a retry, with the error of the attempt that failed and the delay.
    ///
    /// It is not called for the last failure, which the call returns.
    ///
    /// ```
    /// # use ratchet_resilience::retry::{Fault, RetryExecutor};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let executor = RetryExecutor::default()
    ///     .on_retry(|retry| eprintln!("attempt {} failed: {}; again in {:?}", retry.attempt, retry.error, retry.delay));
    /// # assert!(executor.execute(async |_| Ok::<_, Fault<&str>>(())).await.is_ok());
    /// # }
    /// ```
    #[must_use]
    pub fn on_retry(mut self, listener: impl Fn(&RetryNotice<'_>) + Send + Sync + 'static) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// Draws jitter from this generator.
    #[must_use]
    pub fn rng(mut self, rng: Rng) -> Self {
        self.rng = Mutex::new(rng);
        self
    }

    /// Makes every attempt through this breaker.
    ///
    /// A rejection costs no attempt. The call waits until the breaker may admit it, if that is within the policy's time
    /// limit. Otherwise, or without a limit, it fails with [`GiveUpReason::Rejected`]. A call that waits for probes
    /// waits until the first of their leases ends, even if they return sooner, so keep the lease short.
    ///
    /// The breaker counts the errors that [count as failures](Retryable::counts_as_failure): the retryable ones, unless
    /// the error decides otherwise, and attempts that time out. It ignores permanent errors and cancellations, which
    /// show nothing about the health of the other side.
    #[cfg(feature = "circuit-breaker")]
    #[must_use]
    pub fn circuit_breaker(mut self, breaker: CircuitBreaker) -> Self {
        self.breaker = Some(breaker);
        self
    }

    /// Calls the operation until it succeeds or the policy gives up. The operation gets the number of the attempt,
    /// counted from 1.
    ///
    /// The error keeps every failed attempt, so use a policy with a limit. Dropping the future drops the operation and
    /// makes no further attempt.
    pub async fn execute<T, E, F, O>(&self, operation: F) -> Result<T, RetryError<E>>
    where
        E: Retryable + fmt::Display,
        F: FnMut(u32) -> O,
        O: Future<Output = Result<T, E>>,
    {
        self.execute_until(pending(), operation).await
    }

    /// Does the same as [`execute`](Self::execute) for errors that do not implement [`Retryable`]. Those that
    /// `is_transient` accepts are retried, and a breaker counts them.
    pub async fn execute_if<T, E, F, O>(
        &self,
        is_transient: impl Fn(&E) -> bool,
        mut operation: F,
    ) -> Result<T, RetryError<E>>
    where
        E: fmt::Display,
        F: FnMut(u32) -> O,
        O: Future<Output = Result<T, E>>,
    {
        let classified = self.execute(|attempt| {
            let attempt = operation(attempt);
            async {
                attempt.await.map_err(|error| {
                    if is_transient(&error) {
                        Fault::transient(error)
                    } else {
                        Fault::permanent(error)
                    }
                })
            }
        });
        classified
            .await
            .map_err(|given_up| given_up.map(Fault::into_inner))
    }

    /// Does the same as [`execute`](Self::execute), but drops the operation or the wait as soon as `stop` is ready.
    ///
    /// The error then contains the attempts that failed before. If a result is ready at the same moment, it is
    /// returned.
    ///
    /// ```
    /// # use ratchet_resilience::retry::{BackoffPolicy, Fault, GiveUpReason, RetryExecutor};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), ratchet_resilience::ResilienceError> {
    /// let executor = RetryExecutor::new(BackoffPolicy::builder().max_attempts(1_000).build()?);
    /// let stop = tokio::time::sleep(Duration::from_secs(2));
    /// let result = executor.execute_until(stop, async |_| Err::<(), _>(Fault::transient("busy"))).await;
    /// assert_eq!(result.unwrap_err().reason(), GiveUpReason::Cancelled);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn execute_until<T, E, F, O>(
        &self,
        stop: impl Future<Output = ()>,
        mut operation: F,
    ) -> Result<T, RetryError<E>>
    where
        E: Retryable + fmt::Display,
        F: FnMut(u32) -> O,
        O: Future<Output = Result<T, E>>,
    {
        let mut failures = Vec::new();
        match self
            .attempts(pin!(stop), &mut operation, &mut failures)
            .await
        {
            Ok(value) => Ok(value),
            Err(reason) => {
                let attempts = failures.len();
                tracing::info!(target: TARGET, %reason, attempts, "given up");
                Err(RetryError::new(reason, failures))
            }
        }
    }

    /// Makes the attempts of a call, until one succeeds or there is a reason to give up.
    async fn attempts<T, E, F, O>(
        &self,
        mut stop: Pin<&mut impl Future<Output = ()>>,
        operation: &mut F,
        failures: &mut Vec<FailedAttempt<E>>,
    ) -> Result<T, GiveUpReason>
    where
        E: Retryable + fmt::Display,
        F: FnMut(u32) -> O,
        O: Future<Output = Result<T, E>>,
    {
        let mut history = RetryHistory::new(now());
        loop {
            wait_unless_stopped(stop.as_mut(), ready(())).await?;
            #[cfg(feature = "circuit-breaker")]
            let permit =
                wait_unless_stopped(stop.as_mut(), self.admit(history.started())).await??;

            let number = history.failures().saturating_add(1);
            let started = now();
            if let (Some(budget), 1) = (&self.budget, number) {
                budget.deposit(started);
            }
            tracing::debug!(target: TARGET, attempt = number, "attempt starts");
            let attempt = limit_time(self.attempt_timeout, started, operation(number));
            let result = run_unless_stopped(stop.as_mut(), attempt).await?;
            #[cfg(feature = "circuit-breaker")]
            report(permit, &result);

            let error = match result {
                Ok(value) => {
                    tracing::debug!(target: TARGET, attempt = number, "attempt succeeded");
                    return Ok(value);
                }
                Err(error) => error,
            };
            let now = now();
            let decision = self.decide(&mut history, &error, now);
            if let RetryDecision::Retry { at } = decision {
                self.tell(number, &error, at.saturating_duration_since(now));
            } else {
                tracing::debug!(target: TARGET, attempt = number, %error, "attempt failed");
            }
            failures.push(FailedAttempt {
                number,
                error,
                took: now.saturating_duration_since(started),
            });
            match decision {
                RetryDecision::GiveUp { reason } => return Err(reason),
                RetryDecision::Retry { at } => {
                    wait_unless_stopped(stop.as_mut(), sleep_until(at)).await?;
                }
            }
        }
    }

    fn decide(
        &self,
        history: &mut RetryHistory,
        error: &dyn Retryable,
        now: Instant,
    ) -> RetryDecision {
        let decision = history.record_failure(&*self.policy, error, now, &mut self.lock_rng());
        match &self.budget {
            Some(budget) => decision.limited_by(budget, now),
            None => decision,
        }
    }

    /// Reports a retry to the listener and to the log.
    fn tell<E: Retryable + fmt::Display>(&self, attempt: u32, error: &E, delay: Duration) {
        tracing::info!(target: TARGET, attempt, %error, ?delay, "attempt failed, and is tried again");
        if let Some(listener) = &self.listener {
            listener(&RetryNotice {
                attempt,
                error,
                class: error.class(),
                delay,
            });
        }
    }

    /// Locks the generator. A panic cannot leave it in a bad state, so the data behind a poisoned lock is still valid.
    fn lock_rng(&self) -> MutexGuard<'_, Rng> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the breaker admits the call, and returns its permit; `None` if there is no breaker.
    #[cfg(feature = "circuit-breaker")]
    async fn admit(&self, started: Instant) -> Result<Option<Permit>, GiveUpReason> {
        let Some(breaker) = &self.breaker else {
            return Ok(None);
        };
        loop {
            let rejection = match breaker.try_acquire(now()) {
                Ok(permit) => return Ok(Some(permit)),
                Err(rejection) => rejection,
            };
            let limit = self.policy.time_limit();
            let in_time = |until: &Instant| {
                limit.is_some_and(|limit| until.saturating_duration_since(started) <= limit)
            };
            match rejection.retry_at().filter(in_time) {
                Some(until) => sleep_until(until).await,
                None => return Err(GiveUpReason::Rejected),
            }
        }
    }
}

/// Reports the result of an attempt to the breaker.
#[cfg(feature = "circuit-breaker")]
fn report<T, E: Retryable>(permit: Option<Permit>, result: &Result<T, E>) {
    let outcome = match result {
        Ok(_) => CallOutcome::Success,
        Err(error) if error.counts_as_failure() => CallOutcome::Failure,
        Err(_) => CallOutcome::Ignored,
    };
    if let Some(permit) = permit {
        permit.record(outcome, now());
    }
}

async fn sleep_until(at: Instant) {
    tokio::time::sleep_until(at.into()).await;
}

/// Runs an attempt, and drops it if it takes longer than `limit`.
async fn limit_time<T, E>(
    limit: Option<Duration>,
    started: Instant,
    attempt: impl Future<Output = Result<T, E>>,
) -> Result<T, AttemptError<E>> {
    let Some(limit) = limit else {
        return attempt.await.map_err(AttemptError::Failed);
    };
    let end = saturating_add(started, limit);
    match tokio::time::timeout_at(end.into(), attempt).await {
        Ok(result) => result.map_err(AttemptError::Failed),
        Err(_) => Err(AttemptError::TimedOut { limit }),
    }
}

/// Waits, unless the call is stopped. It polls `stop` first, so that no attempt starts once the call is stopped.
async fn wait_unless_stopped<T>(
    stop: Pin<&mut impl Future<Output = ()>>,
    wait: impl Future<Output = T>,
) -> Result<T, GiveUpReason> {
    tokio::select! {
        biased;
        () = stop => Err(GiveUpReason::Cancelled),
        over = wait => Ok(over),
    }
}

/// Runs an attempt, unless the call is stopped. It polls `work` first, so that a result is never lost to a stop.
async fn run_unless_stopped<T>(
    stop: Pin<&mut impl Future<Output = ()>>,
    work: impl Future<Output = T>,
) -> Result<T, GiveUpReason> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = stop => Err(GiveUpReason::Cancelled),
    }
}

#[cfg(test)]
mod tests;
