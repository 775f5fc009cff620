//! Rates, where it is not known when an attempt begins.
//!
//! A worker that says no hello may still be loading when it is given its first attempts. They lie in its pipe, and begin
//! when it has loaded: a token that was taken for one of them has then been used much later than it was taken, and several
//! such workers would begin all at once. So an attempt that takes a token goes to a worker that is proven to read its
//! requests, and where there is none, to one at a time. Until that one has read it, no other token of any rate is taken,
//! and then its tokens count from that moment on.
//!
//! Jobs that take tokens have routes of their own (`routes.rs`), so that the scheduler can be told of fewer seats for them.

use crate::ids::Ticket;

/// Knows which attempt has taken tokens without being known to have begun.
#[derive(Debug, Default)]
pub(super) struct UncertainStart {
    /// A job that takes tokens has come.
    has_rates: bool,
    /// The attempt that has tokens and may not have begun. There is at most one.
    attempt: Option<Ticket>,
}

impl UncertainStart {
    /// Whether a job has come that takes tokens.
    pub(super) fn has_rates(&self) -> bool {
        self.has_rates
    }

    /// Takes note that a job has come that takes tokens.
    pub(super) fn note_rate(&mut self) {
        self.has_rates = true;
    }

    /// How many attempts that take tokens can begin, where so many seats are free, and so many of them belong to workers
    /// that are proven to read their requests.
    pub(super) fn starts(&self, free: u32, proven: u32) -> u32 {
        match proven {
            _ if self.attempt.is_some() => 0,
            0 => free.min(1),
            proven => proven,
        }
    }

    /// Takes note that an attempt with tokens was given to a worker that may not read it at once.
    pub(super) fn begins_later(&mut self, ticket: Ticket) {
        debug_assert!(
            self.attempt.is_none(),
            "no token is taken while it is not known when an attempt begins"
        );
        self.attempt = Some(ticket);
    }

    /// Returns the attempt of which it is not known whether it has begun.
    pub(super) fn attempt(&self) -> Option<Ticket> {
        self.attempt
    }

    /// Takes note that it is known of this attempt whether it has begun. Returns whether that was in doubt.
    pub(super) fn settle(&mut self, ticket: Ticket) -> bool {
        let was_uncertain = self.attempt == Some(ticket);
        if was_uncertain {
            self.attempt = None;
        }
        was_uncertain
    }
}
