use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::Shared;
use super::ticket::Ticket;

/// Allows one call. Its holder records the outcome of the call with [`record`](Self::record).
///
/// A permit that is dropped, because its call was cancelled or panicked, does not count, and frees its probe. A permit
/// from before a change of state does not count after it, except that calls in progress at the end of a ramp still
/// count.
#[must_use = "a dropped permit counts for nothing"]
pub struct Permit {
    shared: Arc<Shared>,
    /// The generation and the probe that the permit was given for.
    ticket: Ticket,
    started: Instant,
}

/// The outcome of an admitted call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The call worked.
    Success,
    /// The call failed because of the other side.
    Failure,
    /// The call shows nothing about the other side: it was cancelled, never made, or the caller made a mistake.
    Ignored,
}

impl Permit {
    /// Makes the permit of an admitted call that started at `started`.
    pub(super) fn new(shared: Arc<Shared>, ticket: Ticket, started: Instant) -> Self {
        Self {
            shared,
            ticket,
            started,
        }
    }

    /// Whether the call is a probe, whose outcome decides whether the breaker closes.
    pub fn is_probe(&self) -> bool {
        self.ticket.is_probe()
    }

    /// Records the outcome of the call, which ended now.
    pub fn record(mut self, outcome: CallOutcome, now: Instant) {
        let failed = match outcome {
            CallOutcome::Success => false,
            CallOutcome::Failure => true,
            // Dropping the permit frees a probe, and counts nothing.
            CallOutcome::Ignored => return,
        };
        let took = now.saturating_duration_since(self.started);
        let ticket = self.ticket.take();
        self.shared
            .with_machine(|machine| machine.record(ticket, failed, took, now));
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
