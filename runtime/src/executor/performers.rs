//! Those who perform the attempts of a run, by the kind of worker that a job asks for.

use std::time::{Duration, Instant};

use super::local::LocalPerformer;
use crate::dispatch::{Assignment, AttemptKey, Demand, Order, StopRequest};
use crate::ids::Ticket;
use crate::process::{Attachment, SeatId, Seats};
use crate::scheduling::Kind;

/// A pool of workers that a run has.
pub(crate) struct PoolPerformer {
    /// The seats of its workers.
    pub(super) seats: Seats,
    link: Box<dyn DemandLink>,
    /// The demand that the pool was told last.
    told: Demand,
}

/// Tells the keeper of a pool's size how much work is left. Dropping it gives the pool up.
pub(crate) trait DemandLink: Send {
    /// Says how much work is left. It does not wait.
    fn demand(&self, demand: Demand);
}

impl DemandLink for Attachment {
    fn demand(&self, demand: Demand) {
        self.demand(demand);
    }
}

impl PoolPerformer {
    /// Makes the performer of a pool that was told of no demand yet.
    pub(crate) fn new(seats: Seats, link: Box<dyn DemandLink>) -> Self {
        Self {
            seats,
            link,
            told: Demand::default(),
        }
    }
}

/// All performers of a run: this process for the first kinds, and a pool for each kind after them.
pub(super) struct Performers {
    local: LocalPerformer,
    local_kinds: usize,
    /// Iterates over the pools, each with its kind.
    pools: Vec<PoolPerformer>,
    /// How long the attempts of this turn ran, by kind.
    ran: Vec<(Kind, Duration)>,
}

impl Performers {
    /// Makes the performers of a run without pools; the first `local_kinds` kinds belong to this process.
    pub(super) fn new(local: LocalPerformer, local_kinds: usize) -> Self {
        Self {
            local,
            local_kinds,
            pools: Vec::new(),
            ran: Vec::new(),
        }
    }

    /// Adds the pool of the next kind.
    pub(super) fn add(&mut self, pool: PoolPerformer) {
        self.pools.push(pool);
    }

    /// Returns the pool of a kind; none where this process performs the attempts itself.
    pub(super) fn pool(&mut self, kind: Kind) -> Option<&mut PoolPerformer> {
        let at = usize::from(kind.0).checked_sub(self.local_kinds)?;
        self.pools.get_mut(at)
    }

    /// Returns the seats of a kind; none where this process performs the attempts itself.
    pub(super) fn seats(&self, kind: Kind) -> Option<&Seats> {
        let at = usize::from(kind.0).checked_sub(self.local_kinds)?;
        self.pools.get(at).map(|pool| &pool.seats)
    }

    /// Iterates over the pools, each with its kind.
    pub(super) fn pools(&self) -> impl Iterator<Item = (Kind, &PoolPerformer)> {
        (self.local_kinds..).map(kind).zip(&self.pools)
    }

    /// Iterates over all kinds: those of this process, then those of pools.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> + use<> {
        (0..self.local_kinds + self.pools.len()).map(kind)
    }

    /// Iterates over the kinds that have pools.
    pub(super) fn pool_kinds(&self) -> impl Iterator<Item = Kind> + use<> {
        (self.local_kinds..self.local_kinds + self.pools.len()).map(kind)
    }

    /// Takes note of how long an attempt of this kind ran that has ended.
    pub(super) fn note_ran(&mut self, kind: Kind, ran: Duration) {
        self.ran.push((kind, ran));
    }

    /// Has pools learn how long the attempts took that have ended since the last time.
    pub(super) fn learn(&mut self) {
        for (number, pool) in (self.local_kinds..).zip(&mut self.pools) {
            let of_kind = self.ran.iter().filter(|(other, _)| *other == kind(number));
            let (jobs, busy) = of_kind.fold((0, Duration::ZERO), |(jobs, busy), (_, ran)| {
                (jobs + 1, busy + *ran)
            });
            pool.seats.learn(jobs, busy);
        }
        self.ran.clear();
    }

    /// Performs an attempt in this process.
    pub(super) fn perform_here(&mut self, ticket: Ticket, assignment: Assignment) {
        self.local.perform(ticket, assignment);
    }

    /// Stops an attempt; one that has ended meanwhile is not an error.
    pub(super) fn stop(
        &mut self,
        kind: Kind,
        seat: Option<SeatId>,
        ticket: Ticket,
        stop: StopRequest,
    ) {
        match (self.pool(kind), seat) {
            (Some(pool), Some(seat)) => {
                let key = AttemptKey::Ticket(ticket);
                pool.seats.link(seat).order(Order::Stop(key, stop));
            }
            (_, _) => self.local.stop(ticket, stop),
        }
    }

    /// Tells a pool how much work is left for it, if that has changed.
    pub(super) fn demand(&mut self, kind: Kind, demand: Demand) {
        if let Some(pool) = self.pool(kind)
            && pool.told != demand
        {
            pool.told = demand;
            pool.link.demand(demand);
        }
    }

    /// Tells a pool again how much work is left for it, because it has asked.
    pub(super) fn demand_again(&mut self, kind: Kind, demand: Demand) {
        if let Some(pool) = self.pool(kind) {
            pool.told = demand;
            pool.link.demand(demand);
        }
    }

    /// Returns the moment at which [`recall`](Self::recall) has something to do.
    pub(super) fn recall_at(&self) -> Option<Instant> {
        let pools = self.pools.iter();
        pools.filter_map(|pool| pool.seats.recall_at()).min()
    }

    /// Asks back what lies in pipes while other workers of the same pool are idle.
    pub(super) fn recall(&mut self, now: Instant) {
        for pool in &mut self.pools {
            pool.seats.recall(now);
        }
    }
}

/// Makes a kind of its number. A run has 32,767 kinds at most, which is checked when it is put together.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked where kinds are added"
)]
fn kind(number: usize) -> Kind {
    Kind(number as u16)
}
