use std::time::Instant;

use super::State;

/// The refusal of a call: the reason, and when to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the circuit breaker is {state}")]
pub struct Rejection {
    state: State,
    /// `None` if the breaker was forced open, so that waiting does not help.
    retry_at: Option<Instant>,
}

impl Rejection {
    /// Makes the refusal of a call, with the time at which it may ask again, if that is known.
    pub(super) fn new(state: State, retry_at: Option<Instant>) -> Self {
        Self { state, retry_at }
    }

    /// Returns the state in which the breaker refused the call.
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns when asking again may help; `None` if the breaker was forced open.
    ///
    /// An open breaker returns the end of its open time. A half-open one returns the end of the earliest lease of a
    /// probe, though the probe may return sooner. On the ramp, each refused call gets a different time before its end.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }
}
