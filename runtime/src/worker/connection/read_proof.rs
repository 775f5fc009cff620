//! Whether a worker has shown that it reads its requests.

use std::time::{Duration, Instant};

/// How often to check whether a worker that sends no hello has read its first request. Until it has, no other attempt
/// may take a token of the rate that this one has taken.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);

/// Whether a worker has shown that it reads its requests, and when to check that.
#[derive(Debug, Default)]
pub(super) struct ReadProof {
    is_proven: bool,
    /// When to check whether the worker has read its first request.
    check_at: Option<Instant>,
}

impl ReadProof {
    /// Notes a hello, after which the supervisor needs no other proof.
    pub(super) fn introduced(&mut self) {
        self.is_proven = true;
    }

    /// Notes a proof. Returns whether it is the first one, of which the supervisor has to be told.
    pub(super) fn prove(&mut self) -> bool {
        self.check_at = None;
        !std::mem::replace(&mut self.is_proven, true)
    }

    /// Plans a check for a worker that was sent a request, if nothing is proven and no check is planned.
    pub(super) fn plan_check(&mut self, now: Instant) {
        if !self.is_proven && self.check_at.is_none() {
            self.plan_next_check(now);
        }
    }

    /// Plans another check, because the last one has shown nothing.
    pub(super) fn plan_next_check(&mut self, now: Instant) {
        self.check_at = now.checked_add(CHECK_INTERVAL);
    }

    /// Returns when the next check is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.check_at
    }
}
