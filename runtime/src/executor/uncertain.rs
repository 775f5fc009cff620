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

use super::orchestrator::{Orchestrator, expect_known};
use crate::ids::Ticket;
use crate::process::Seats;
use crate::scheduling::{Kind, Workers};

impl Orchestrator {
    /// The kind by which the scheduler knows jobs that take tokens.
    pub(super) fn rated(&self, kind: Kind) -> Kind {
        let kinds = self.counts.len();
        // Wiring checks that twice as many kinds have numbers.
        Kind(u16::try_from(kinds).map_or(kind.0, |kinds| kind.0 + kinds))
    }

    /// Tells the scheduler how many attempts of a kind can begin.
    pub(super) fn count_workers(&mut self, kind: Kind) {
        if let Some(pool) = self.performers.pool(kind) {
            let free = pool.seats.free();
            self.scheduler.set_workers(kind, Workers::Free(free));
        }
        if self.has_rates {
            let workers = if self.uncertain.is_some() {
                Workers::Free(0)
            } else {
                let pool = self.performers.pool(kind);
                pool.map_or(Workers::Unlimited, |pool| {
                    Workers::Free(seats_for_rates(&pool.seats))
                })
            };
            self.scheduler.set_workers(self.rated(kind), workers);
        }
    }

    /// An attempt that takes tokens was given to a worker that may not read it at once.
    pub(super) fn note_uncertain(&mut self, ticket: Ticket) {
        self.uncertain = Some(ticket);
        self.count_all_workers();
    }

    /// It is known when an attempt has begun: now at the latest.
    pub(super) fn began_by_now(&mut self, ticket: Ticket) {
        if self.uncertain == Some(ticket) {
            expect_known(self.scheduler.began_late(ticket, self.now));
            self.forget_uncertain(ticket);
        }
    }

    /// An attempt has not begun and will not, so that its tokens were not used.
    pub(super) fn forget_uncertain(&mut self, ticket: Ticket) {
        if self.uncertain == Some(ticket) {
            self.uncertain = None;
            self.count_all_workers();
        }
    }

    pub(super) fn count_all_workers(&mut self) {
        for number in 0..self.counts.len() {
            self.count_workers(super::dispatch::kind(number));
        }
    }
}

/// How many attempts that take tokens can begin: on proven workers, or else one.
fn seats_for_rates(seats: &Seats) -> u32 {
    match seats.free_and_proven() {
        0 => seats.free().min(1),
        proven => proven,
    }
}
