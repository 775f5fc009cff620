//! How rates are kept although it is not always known when an attempt begins.
//!
//! A worker that says no hello may still be loading when it gets its first attempts. They lie in its pipe and begin
//! when it has loaded. A token that was taken for such an attempt is then used much later, and the attempts of several
//! such workers could begin all at once, which exceeds the rate.
//!
//! So an attempt that takes a token goes to a worker that is proven to read its requests. If there is none, one attempt
//! at a time goes to a worker that is not proven. No other token of its rates is taken until that worker has read it, and
//! the tokens of the attempt count from that moment on. Jobs of other rates go on.
//!
//! Jobs that take tokens have routes of their own (`routes.rs`), so that the scheduler can be told of fewer seats for them.

use crate::ids::Ticket;

/// Knows the attempt that has taken tokens and may not have begun.
#[derive(Debug, Default)]
pub(super) struct UncertainStart {
    /// Whether a job that takes tokens was queued.
    has_rates: bool,
    /// The attempt that has tokens and may not have begun. There is at most one.
    attempt: Option<Ticket>,
}

impl UncertainStart {
    /// Whether a job that takes tokens was queued.
    pub(super) fn has_rates(&self) -> bool {
        self.has_rates
    }

    /// Records that a job that takes tokens was queued.
    pub(super) fn note_rate(&mut self) {
        self.has_rates = true;
    }

    /// Returns how many attempts that take tokens can begin. `free` seats are free, and `proven` of them belong to
    /// workers that are proven to read their requests.
    pub(super) fn starts(&self, free: u32, proven: u32) -> u32 {
        match proven {
            0 if self.attempt.is_some() => 0,
            0 => free.min(1),
            proven => proven,
        }
    }

    /// Records that an attempt with tokens was sent to a worker that may not read it at once.
    pub(super) fn begins_later(&mut self, ticket: Ticket) {
        debug_assert!(
            self.attempt.is_none(),
            "one attempt at a time goes to a worker that is not proven"
        );
        self.attempt = Some(ticket);
    }

    /// Returns the attempt that has tokens and may not have begun.
    pub(super) fn attempt(&self) -> Option<Ticket> {
        self.attempt
    }

    /// Records that it is now known whether this attempt has begun. Returns whether that was in doubt.
    pub(super) fn settle(&mut self, ticket: Ticket) -> bool {
        let was_uncertain = self.attempt == Some(ticket);
        if was_uncertain {
            self.attempt = None;
        }
        was_uncertain
    }
}
