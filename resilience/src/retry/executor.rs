use std::fmt;
use std::future::{pending, ready};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{
    Decision, FailedAttempt, GiveUp, History, RetryBudget, RetryError, RetryPolicy, Retryable,
};
use crate::Rng;
#[cfg(feature = "circuit-breaker")]
use crate::circuit_breaker::{CallOutcome, CircuitBreaker, Permit};

/// Makes a call again and again by a policy, for those who have no queue to put it back into.
///
/// While it waits it holds only the call itself. Those who schedule their work should ask [`History::decide`].
/// One executor may serve any number of calls at the same time.
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
    /// An executor without a budget, whose jitter is another one each time.
    pub fn new(policy: impl RetryPolicy + 'static) -> Self {
        Self {
            policy: Box::new(policy),
            budget: None,
            #[cfg(feature = "circuit-breaker")]
            breaker: None,
            rng: Mutex::new(Rng::new()),
        }
    }

    /// Pays for every retry out of this budget, and into it with every call that gets as far as its first attempt.
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
    /// A rejection costs no attempt: the call waits until the breaker may let it through, if that is within the
    /// policy's time limit, and is given up as [`GiveUp::Rejected`] if it is not or there is no limit. Behind probes
    /// it waits until the earliest of their leases ends, even if they return sooner, so keep the lease short.
    /// Retryable errors count as failures with the breaker. Permanent ones and cancellations are ignored: they
    /// say nothing about the health of the other side.
    #[cfg(feature = "circuit-breaker")]
    #[must_use]
    pub fn through(mut self, breaker: CircuitBreaker) -> Self {
        self.breaker = Some(breaker);
        self
    }

    /// Calls the operation, with the number of the attempt from 1, until it succeeds or the policy gives up.
    ///
    /// The error keeps every attempt that failed, so give a policy an end.
    /// Cancel safe in the sense that dropping the future drops the operation and makes no further attempt.
    pub async fn execute<T, E, F, O>(&self, operation: F) -> Result<T, RetryError<E>>
    where
        E: Retryable,
        F: FnMut(u32) -> O,
        O: Future<Output = Result<T, E>>,
    {
        self.execute_until(pending(), operation).await
    }

    /// Like [`execute`](Self::execute), but drops the operation or the wait as soon as `stop` is ready, and tells
    /// what had failed until then. A result that is ready at the same moment is not lost.
    ///
    /// ```
    /// # use ratchet_resilience::retry::{BackoffPolicy, Fault, GiveUp, RetryExecutor};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), ratchet_resilience::Error> {
    /// let executor = RetryExecutor::new(BackoffPolicy::builder().max_attempts(1_000).build()?);
    /// let stop = tokio::time::sleep(Duration::from_secs(2));
    /// let result = executor.execute_until(stop, async |_| Err::<(), _>(Fault::transient("busy"))).await;
    /// assert_eq!(result.unwrap_err().why(), GiveUp::Cancelled);
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
            Err(why) => Err(RetryError::new(why, failures)),
        }
    }

    async fn attempts<T, E, F, O>(
        &self,
        mut stop: Pin<&mut impl Future<Output = ()>>,
        operation: &mut F,
        failures: &mut Vec<FailedAttempt<E>>,
    ) -> Result<T, GiveUp>
    where
        E: Retryable,
        F: FnMut(u32) -> O,
        O: Future<Output = Result<T, E>>,
    {
        let mut history = History::new(now());
        loop {
            unless_stopped(stop.as_mut(), ready(())).await?;
            #[cfg(feature = "circuit-breaker")]
            let permit = unless_stopped(stop.as_mut(), self.admit(history.started())).await??;

            let number = history.failures().saturating_add(1);
            let started = now();
            if let (Some(budget), 1) = (&self.budget, number) {
                budget.deposit(started);
            }
            let result = done_or_stopped(stop.as_mut(), operation(number)).await?;
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
                Decision::GiveUp { why } => return Err(why),
                Decision::Retry { at } => unless_stopped(stop.as_mut(), sleep_until(at)).await?,
            }
        }
    }

    fn decide(&self, history: &mut History, error: &dyn Retryable, now: Instant) -> Decision {
        let decision = history.decide(&*self.policy, error, now, &mut self.lock_rng());
        match &self.budget {
            Some(budget) => decision.within(budget, now),
            None => decision,
        }
    }

    /// Any state of a generator is as good as any other, also the one a panic left.
    fn lock_rng(&self) -> MutexGuard<'_, Rng> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(feature = "circuit-breaker")]
    async fn admit(&self, started: Instant) -> Result<Option<Permit>, GiveUp> {
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
            match rejection.until().filter(in_time) {
                Some(until) => sleep_until(until).await,
                None => return Err(GiveUp::Rejected),
            }
        }
    }
}

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

/// The clock of the runtime, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn sleep_until(at: Instant) {
    tokio::time::sleep_until(at.into()).await;
}

/// No attempt starts at or after the moment the call is cancelled: `stop` is looked at first.
async fn unless_stopped<T>(
    stop: Pin<&mut impl Future<Output = ()>>,
    wait: impl Future<Output = T>,
) -> Result<T, GiveUp> {
    tokio::select! {
        biased;
        () = stop => Err(GiveUp::Cancelled),
        over = wait => Ok(over),
    }
}

/// What is done is done, even if the call is cancelled at that moment: `work` is looked at first.
async fn done_or_stopped<T>(
    stop: Pin<&mut impl Future<Output = ()>>,
    work: impl Future<Output = T>,
) -> Result<T, GiveUp> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = stop => Err(GiveUp::Cancelled),
    }
}

#[cfg(test)]
mod tests;
