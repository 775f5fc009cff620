use std::fmt;
use std::future::{pending, ready};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{
    FailedAttempt, GiveUpReason, RetryBudget, RetryDecision, RetryError, RetryHistory, RetryPolicy,
    Retryable,
};
use crate::Rng;
#[cfg(feature = "circuit-breaker")]
use crate::circuit_breaker::{CallOutcome, CircuitBreaker, Permit};

/// Repeats a call by a policy until it succeeds, and sleeps between the attempts.
///
/// Do not use it if you have a queue: put the job back into the queue instead, with the time that
/// [`RetryHistory::record_failure`] returns. An executor may serve any number of calls at the same time.
pub struct RetryExecutor {
    policy: Box<dyn RetryPolicy>,
    budget: Option<Arc<RetryBudget>>,
    #[cfg(feature = "circuit-breaker")]
    breaker: Option<CircuitBreaker>,
    rng: Mutex<Rng>,
}

impl fmt::Debug for RetryExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryExecutor")
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

impl RetryExecutor {
    /// Makes an executor without a budget and without a breaker. Its jitter differs each time.
    pub fn new(policy: impl RetryPolicy + 'static) -> Self {
        Self {
            policy: Box::new(policy),
            budget: None,
            #[cfg(feature = "circuit-breaker")]
            breaker: None,
            rng: Mutex::new(Rng::new()),
        }
    }

    /// Takes every retry out of this budget, and pays into it for every call that starts its first attempt.
    #[must_use]
    pub fn budget(mut self, budget: Arc<RetryBudget>) -> Self {
        self.budget = Some(budget);
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
    /// limit. Otherwise, or without a limit, it is given up with [`GiveUpReason::Rejected`]. A call that waits for
    /// probes waits until the first of their leases ends, even if they return sooner, so keep the lease short.
    ///
    /// The breaker counts retryable errors as failures. It ignores permanent errors and cancellations: they say nothing
    /// about the health of the other side.
    #[cfg(feature = "circuit-breaker")]
    #[must_use]
    pub fn circuit_breaker(mut self, breaker: CircuitBreaker) -> Self {
        self.breaker = Some(breaker);
        self
    }

    /// Calls the operation until it succeeds or the policy gives up. The operation gets the number of the attempt,
    /// counted from 1.
    ///
    /// The error keeps every failed attempt, so use a policy that ends. Dropping the future drops the operation and
    /// makes no further attempt.
    pub async fn execute<T, E, F, O>(&self, operation: F) -> Result<T, RetryError<E>>
    where
        E: Retryable,
        F: FnMut(u32) -> O,
        O: Future<Output = Result<T, E>>,
    {
        self.execute_until(pending(), operation).await
    }

    /// Does the same as [`execute`](Self::execute), but drops the operation or the wait as soon as `stop` is ready.
    ///
    /// The error then keeps the attempts that failed before. A result that is ready at the same moment is returned.
    ///
    /// ```
    /// # use ratchet_resilience::retry::{BackoffPolicy, Fault, GiveUpReason, RetryExecutor};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), ratchet_resilience::Error> {
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
        E: Retryable,
        F: FnMut(u32) -> O,
        O: Future<Output = Result<T, E>>,
    {
        let mut failures = Vec::new();
        match self
            .attempts(pin!(stop), &mut operation, &mut failures)
            .await
        {
            Ok(value) => Ok(value),
            Err(reason) => Err(RetryError::new(reason, failures)),
        }
    }

    async fn attempts<T, E, F, O>(
        &self,
        mut stop: Pin<&mut impl Future<Output = ()>>,
        operation: &mut F,
        failures: &mut Vec<FailedAttempt<E>>,
    ) -> Result<T, GiveUpReason>
    where
        E: Retryable,
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
            let result = run_unless_stopped(stop.as_mut(), operation(number)).await?;
            #[cfg(feature = "circuit-breaker")]
            report(permit, &result);

            let error = match result {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let now = now();
            let decision = self.decide(&mut history, &error, now);
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

    /// Locks the generator. A panic cannot leave it in a bad state, so a poisoned lock is still good.
    fn lock_rng(&self) -> MutexGuard<'_, Rng> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the breaker admits the call, and returns its permit; none without a breaker.
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

/// Tells the breaker what became of an attempt.
#[cfg(feature = "circuit-breaker")]
fn report<T, E: Retryable>(permit: Option<Permit>, result: &Result<T, E>) {
    let outcome = match result {
        Ok(_) => CallOutcome::Success,
        Err(error) if error.is_retryable() && !error.is_cancellation() => CallOutcome::Failure,
        Err(_) => CallOutcome::Ignored,
    };
    if let Some(permit) = permit {
        permit.record(outcome, now());
    }
}

/// Reads the clock of the runtime, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn sleep_until(at: Instant) {
    tokio::time::sleep_until(at.into()).await;
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
