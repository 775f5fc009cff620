use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::state::Ticket;
use super::{Shared, State};

/// The right to make one call.
///
/// Record what became of it. A permit that is dropped, because its call was cancelled or panicked, counts for
/// nothing and frees its probe. A permit from before a transition counts for nothing after it; only the end of a ramp
/// changes nothing for the calls under way.
#[must_use = "a dropped permit counts for nothing"]
pub struct Permit {
    shared: Arc<Shared>,
    ticket: Ticket,
    started: Instant,
}

/// What became of an admitted call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// It worked.
    Success,
    /// It failed in a way that speaks against the other side.
    Failure,
    /// It says nothing about the other side: cancelled, never made, or refused for a fault of the caller.
    Ignored,
}

impl Permit {
    pub(super) fn new(shared: Arc<Shared>, ticket: Ticket, started: Instant) -> Self {
        Self {
            shared,
            ticket,
            started,
        }
    }

    /// Whether the call is a probe: it decides whether the breaker closes again.
    pub fn is_probe(&self) -> bool {
        self.ticket.is_probe()
    }

    /// Tells the breaker what became of the call, which ended now.
    pub fn record(mut self, outcome: CallOutcome, now: Instant) {
        let failed = match outcome {
            CallOutcome::Success => false,
            CallOutcome::Failure => true,
            // What dropping does.
            CallOutcome::Ignored => return,
        };
        let took = now.saturating_duration_since(self.started);
        let ticket = self.ticket.take();
        self.shared
            .step(|machine| machine.record(ticket, failed, took, now));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_probe() {
            self.shared.lock().release(self.ticket.take());
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("is_probe", &self.is_probe())
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}

/// A call that was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the circuit breaker is {state}")]
pub struct Rejection {
    state: State,
    until: Option<Instant>,
}

impl Rejection {
    pub(super) fn new(state: State, until: Option<Instant>) -> Self {
        Self { state, until }
    }

    /// The state that refused the call.
    pub fn state(&self) -> State {
        self.state
    }

    /// When asking again may help: the end of the open time, or of the earliest lease of a probe, which may also
    /// come back sooner; on the ramp a time before its end, another one for each call that was refused. None if the
    /// breaker was forced open.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }
}
