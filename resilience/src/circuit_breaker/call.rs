use std::error::Error as StdError;
use std::fmt;

use super::{CallOutcome, CircuitBreaker, Rejection};
use crate::time::clock_now;

/// The reason why a call through a breaker has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallError<E> {
    /// The breaker refused the call, so it was not made.
    Rejected(Rejection),
    /// The call was made and returned this error.
    Failed(E),
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

/// The source is that of the call's error, since this error prints like that one.
impl<E: StdError> StdError for CallError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Rejected(_) => None,
            Self::Failed(error) => error.source(),
        }
    }
}

impl CircuitBreaker {
    /// Makes an asynchronous call through the breaker, and counts its success or error.
    ///
    /// A refused call is not made: the future is dropped without being polled. A call that is dropped does not count.
    /// The time is taken from tokio's clock, but no runtime is needed.
    ///
    /// ```
    /// use ratchet_resilience::circuit_breaker::{CallError, CircuitBreaker};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ratchet_resilience::ResilienceError> {
    /// let breaker = CircuitBreaker::builder().consecutive_failures(1).build()?;
    ///
    /// let down = breaker.call(async { Err::<(), _>("connection refused") }).await;
    /// assert_eq!(down, Err(CallError::Failed("connection refused")));
    /// let refused = breaker.call(async { Ok::<_, &str>("never asked") }).await;
    /// assert!(matches!(refused, Err(CallError::Rejected(_))));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn call<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CallError<E>> {
        let classify = |result: &Result<T, E>| match result {
            Ok(_) => CallOutcome::Success,
            Err(_) => CallOutcome::Failure,
        };
        self.call_classified(classify, call).await
    }

    /// Does the same as [`call`](Self::call), but counts the result as `classify` decides.
    ///
    /// Some errors are not a fault of the other side, and some responses are:
    ///
    /// ```
    /// use ratchet_resilience::circuit_breaker::{CallOutcome, CircuitBreaker, State};
    ///
    /// /// Server errors are failures. Errors of the caller, such as 429, say nothing about the server.
    /// fn classify(status: &Result<u16, std::io::Error>) -> CallOutcome {
    ///     match status {
    ///         Ok(500..) | Err(_) => CallOutcome::Failure,
    ///         Ok(400..500) => CallOutcome::Ignored,
    ///         Ok(_) => CallOutcome::Success,
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let breaker = CircuitBreaker::builder().consecutive_failures(1).build()?;
    /// breaker.call_classified(classify, async { Ok(429) }).await?;
    /// assert_eq!(breaker.state(), State::Closed);
    /// breaker.call_classified(classify, async { Ok(503) }).await?;
    /// assert!(matches!(breaker.state(), State::Open { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn call_classified<T, E>(
        &self,
        classify: impl FnOnce(&Result<T, E>) -> CallOutcome,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CallError<E>> {
        let permit = self.try_acquire(clock_now()).map_err(CallError::Rejected)?;
        let result = call.await;
        permit.record(classify(&result), clock_now());
        result.map_err(CallError::Failed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::circuit_breaker::State;

    fn fragile() -> CircuitBreaker {
        CircuitBreaker::builder()
            .consecutive_failures(2)
            .open_for(Duration::from_secs(5))
            .open_jitter(0.0)
            .probes(1)
            .build()
            .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_refused_while_the_breaker_is_open_and_made_after_it() {
        let breaker = fragile();
        for _ in 0..2 {
            let failed = breaker.call(async { Err::<(), _>("down") }).await;
            assert_eq!(failed, Err(CallError::Failed("down")));
        }
        let mut was_made = false;
        let refused = breaker
            .call(async {
                was_made = true;
                Ok::<_, &str>(())
            })
            .await;
        assert!(matches!(refused, Err(CallError::Rejected(_))));
        assert!(!was_made);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(breaker.call(async { Ok::<_, &str>(7) }).await, Ok(7));
        assert_eq!(breaker.state(), State::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_call_counts_with_the_time_that_it_took() {
        let breaker = CircuitBreaker::builder()
            .minimum_calls(1)
            .slow_calls(Duration::from_secs(1), 1.0)
            .build()
            .unwrap();
        let call = tokio::time::sleep(Duration::from_secs(2));
        breaker
            .call(async {
                call.await;
                Ok::<_, &str>(())
            })
            .await
            .unwrap();
        assert!(matches!(breaker.state(), State::Open { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_dropped_counts_for_nothing() {
        let breaker = fragile();
        let endless = breaker.call(std::future::pending::<Result<(), &str>>());
        assert!(
            tokio::time::timeout(Duration::from_secs(1), endless)
                .await
                .is_err()
        );
        assert_eq!(breaker.snapshot(clock_now()).calls, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_errors_that_the_classifier_names_open_the_breaker() {
        let breaker = fragile();
        let classify = |result: &Result<(), u16>| match result {
            Err(500..) => CallOutcome::Failure,
            Err(_) => CallOutcome::Ignored,
            Ok(()) => CallOutcome::Success,
        };
        for status in [429, 404, 429, 500] {
            let failed = breaker
                .call_classified(classify, async { Err(status) })
                .await;
            assert_eq!(failed, Err(CallError::Failed(status)));
        }
        assert_eq!(breaker.state(), State::Closed);
        let last = breaker.call_classified(classify, async { Err(500) }).await;
        assert!(last.is_err());
        assert!(matches!(breaker.state(), State::Open { .. }));
    }
}
