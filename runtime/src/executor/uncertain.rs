//! Rates, where it is not known when an attempt begins.
//!
//! A worker that says no hello may still be loading when it is given its first attempts. They lie in its pipe, and begin
//! when it has loaded: a token that was taken for one of them has then been used much later than it was taken, and several
//! such workers would begin all at once. So an attempt that takes a token goes to a worker that is proven to read its
//! requests, and where there is none, to one at a time. Until that one has read it, no other token of any rate is taken,
//! and then its tokens count from that moment on.
//!
//! The scheduler knows this as kinds: each kind of worker has a second number, which stands for its jobs that take tokens,
//! and which has seats of its own.

use crate::ids::Ticket;
use crate::process::Seats;
use crate::scheduling::{Kind, Workers};

/// Knows which attempt has taken tokens without being known to have begun.
#[derive(Debug)]
pub(super) struct UncertainStart {
    /// How many kinds there are without the second numbers.
    kinds: u16,
    /// A job that takes tokens has come.
    has_rates: bool,
    attempt: Option<Ticket>,
}

impl UncertainStart {
    /// Makes the record of a run in which no attempt has taken tokens.
    pub(super) fn new(kinds: u16) -> Self {
        Self {
            kinds,
            has_rates: false,
            attempt: None,
        }
    }

    /// Returns the kind by which the scheduler knows the jobs of a kind that take tokens.
    pub(super) fn rated(&self, kind: Kind) -> Kind {
        // A run has 32,767 kinds at most, which is checked where they are added.
        Kind(self.kinds + kind.0)
    }

    /// Whether a job has come that takes tokens.
    pub(super) fn has_rates(&self) -> bool {
        self.has_rates
    }

    /// Takes note that a job has come that takes tokens.
    pub(super) fn note_rate(&mut self) {
        self.has_rates = true;
    }

    /// How many attempts that take tokens can begin on the workers of a kind; this process has no seats.
    pub(super) fn workers(&self, seats: Option<&Seats>) -> Workers {
        if self.attempt.is_some() {
            return Workers::Free(0);
        }
        seats.map_or(Workers::Unlimited, |seats| {
            Workers::Free(match seats.free_and_proven() {
                0 => seats.free().min(1),
                proven => proven,
            })
        })
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
