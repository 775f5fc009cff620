//! A tower layer that sends the requests of a client through a [`RetryExecutor`].
//!
//! HTTP clients return responses such as 503 as successes, so a function tells the layer which results are failures,
//! and of which kind. A failure is a [`Fault`]: [transient](Fault::transient) ones are retried,
//! [permanent](Fault::permanent) ones are not, and a circuit breaker ignores [some](Fault::ignored_by_breakers) ones.
//!
//! ```
//! use ratchet_resilience::retry::{Fault, RetryExecutor};
//! use ratchet_resilience::tower::RetryLayer;
//! use std::time::Duration;
//!
//! /// What an answer of some client has.
//! struct Answer {
//!     status: u16,
//! }
//!
//! fn classify(result: &Result<Answer, std::io::Error>) -> Result<(), Fault<&'static str>> {
//!     match result {
//!         Ok(Answer { status: 429 }) => Err(Fault::transient("throttled").ignored_by_breakers()),
//!         Ok(Answer { status: 500.. }) => Err(Fault::transient("server error")),
//!         Ok(_) => Ok(()),
//!         Err(_) => Err(Fault::transient("no answer")),
//!     }
//! }
//!
//! # fn main() -> Result<(), ratchet_resilience::ResilienceError> {
//! let executor = RetryExecutor::default().attempt_timeout(Duration::from_secs(10))?;
//! let layer = RetryLayer::new(executor, classify);
//! // tower::ServiceBuilder::new().layer(layer).service(client)
//! # Ok(())
//! # }
//! ```
//!
//! Requests are cloned, because each attempt sends one. Retry only those that the server may receive twice: wrap a
//! separate client for GET in the layer, and leave the client for POST without it.
//!
//! A request that is given up returns the result of its last attempt, response or error. It returns an error of the
//! layer only if there is no result, because the breaker refused it or the attempt timed out.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use crate::retry::{Fault, GiveUpReason, RetryError, RetryExecutor, Retryable};

/// Wraps services so that their requests are retried by one executor, with its budget and its breaker.
#[derive(Debug, Clone)]
pub struct RetryLayer<C> {
    executor: Arc<RetryExecutor>,
    classify: C,
}

impl<C> RetryLayer<C> {
    /// Makes a layer. `classify` returns the failure that a result of the service represents, or `Ok` if it is not a
    /// failure.
    pub fn new(executor: impl Into<Arc<RetryExecutor>>, classify: C) -> Self {
        Self {
            executor: executor.into(),
            classify,
        }
    }
}

impl<S, C: Clone> Layer<S> for RetryLayer<C> {
    type Service = RetryService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        RetryService {
            inner,
            executor: Arc::clone(&self.executor),
            classify: self.classify.clone(),
        }
    }
}

/// A service whose requests are retried. [`RetryLayer`] makes it.
#[derive(Debug, Clone)]
pub struct RetryService<S, C> {
    inner: S,
    executor: Arc<RetryExecutor>,
    classify: C,
}

/// The reason why a retried request has no response.
#[derive(Debug)]
#[non_exhaustive]
pub enum RequestError<E> {
    /// The service returned this error for the last attempt.
    Failed(E),
    /// There was no attempt, or the last one timed out. The reason explains why there is no further one.
    GivenUp(GiveUpReason),
}

impl<E: fmt::Display> fmt::Display for RequestError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::GivenUp(reason) => write!(f, "the request has no answer: {reason}"),
        }
    }
}

/// The source is that of the service's error, since this error prints like that one.
impl<E: StdError> StdError for RequestError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            Self::GivenUp(_) => None,
        }
    }
}

/// A result of the service that counts as a failure.
struct FailedResult<T, E> {
    result: Result<T, E>,
    fault: Fault<&'static str>,
}

impl<T, E> fmt::Display for FailedResult<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl<T, E> Retryable for FailedResult<T, E> {
    fn is_retryable(&self) -> bool {
        self.fault.is_retryable()
    }

    fn is_cancellation(&self) -> bool {
        self.fault.is_cancellation()
    }

    fn counts_as_failure(&self) -> bool {
        self.fault.counts_as_failure()
    }

    fn retry_after(&self) -> Option<std::time::Duration> {
        Retryable::retry_after(&self.fault)
    }

    fn class(&self) -> &str {
        Retryable::class(&self.fault)
    }
}

impl<S, C, R> Service<R> for RetryService<S, C>
where
    R: Clone + Send + 'static,
    S: Service<R> + Clone + Send + 'static,
    S::Response: Send,
    S::Error: Send,
    S::Future: Send,
    C: Fn(&Result<S::Response, S::Error>) -> Result<(), Fault<&'static str>>,
    C: Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = RequestError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(RequestError::Failed)
    }

    fn call(&mut self, request: R) -> Self::Future {
        // The first attempt uses the service that was polled until it was ready. A clone may not be ready.
        let clone = self.inner.clone();
        let mut ready = Some(mem::replace(&mut self.inner, clone.clone()));
        let (executor, classify) = (Arc::clone(&self.executor), self.classify.clone());
        Box::pin(async move {
            // The closure owns its clones, because a service need not be `Sync`.
            let retried = executor.execute(move |_| {
                let ready = ready.take();
                let (clone, request, classify) = (clone.clone(), request.clone(), classify.clone());
                async move {
                    let result = attempt(ready, clone, request).await;
                    match classify(&result) {
                        Ok(()) => Ok(result),
                        Err(fault) => Err(FailedResult { result, fault }),
                    }
                }
            });
            match retried.await {
                Ok(result) => result.map_err(RequestError::Failed),
                Err(given_up) => last_result(given_up),
            }
        })
    }
}

/// Returns the result of the last attempt of a request.
fn last_result<T, E>(given_up: RetryError<FailedResult<T, E>>) -> Result<T, RequestError<E>> {
    let reason = given_up.reason();
    match given_up.into_last() {
        Some(failed) => failed.result.map_err(RequestError::Failed),
        None => Err(RequestError::GivenUp(reason)),
    }
}

/// Sends a request through the service that is ready, or otherwise through its clone once that is ready.
async fn attempt<S: Service<R>, R>(
    ready: Option<S>,
    mut clone: S,
    request: R,
) -> Result<S::Response, S::Error> {
    if let Some(mut service) = ready {
        return service.call(request).await;
    }
    poll_fn(|cx| clone.poll_ready(cx)).await?;
    clone.call(request).await
}
