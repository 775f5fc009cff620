//! The performers of a run: this process, and the pools of each kind of worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::local::LocalPerformer;
use crate::context::AttemptOutput;
use crate::dispatch::{Assignment, AttemptKey, Demand, Order, PoolKey, StopRequest};
use crate::ids::KindId;
use crate::ids::{PlaceId, Ticket};
use crate::os::MemoryLimits;
use crate::outcome::Failure;
use crate::process::{Attachment, SeatId, Seats};

/// A pool of workers that the run uses.
pub(crate) struct PoolPerformer {
    /// The place where its workers run.
    place: PlaceId,
    /// The seats of its workers.
    pub(super) seats: Seats,
    /// The link that tells the pool how much work is left. Dropping it releases the pool.
    link: Box<dyn DemandLink>,
    /// The demand that the pool was told last.
    told: Demand,
    /// Why the pool has no workers, now and for the rest of the run.
    broken: Option<Box<Failure>>,
}

/// Tells the supervisor of a pool how much work is left. Dropping the link releases the pool.
pub(crate) trait DemandLink: Send {
    /// Sends how much work is left. It does not wait.
    fn demand(&self, demand: Demand);
}

impl DemandLink for Attachment {
    fn demand(&self, demand: Demand) {
        self.demand(demand);
    }
}

impl PoolPerformer {
    /// Makes the performer of a pool whose workers run at this place.
    pub(crate) fn new(place: PlaceId, seats: Seats, link: Box<dyn DemandLink>) -> Self {
        Self {
            place,
            seats,
            link,
            told: Demand::default(),
            broken: None,
        }
    }

    fn demand(&mut self, demand: Demand) {
        self.told = demand;
        self.link.demand(demand);
    }
}

/// The pools of one kind of worker, each at a place of its own.
struct PoolsByPlace {
    list: Vec<PoolPerformer>,
    /// The index of the pool at each place, by the number of the place.
    at: Vec<Option<u16>>,
}

impl PoolsByPlace {
    fn new(pools: Vec<PoolPerformer>) -> Self {
        let mut at = Vec::new();
        for (index, pool) in (0..).zip(&pools) {
            let place = pool.place.index();
            if at.len() <= place {
                at.resize(place + 1, None);
            }
            at[place] = Some(index);
        }
        Self { list: pools, at }
    }

    fn index(&self, place: PlaceId) -> Option<usize> {
        Some((*self.at.get(place.index())?)?.into())
    }
}

/// All performers of a run. This process performs the first kinds, and pools perform each kind after them.
pub(super) struct Performers {
    local: LocalPerformer,
    /// How many kinds this process performs. The kinds with pools have the numbers after them.
    local_kinds: usize,
    /// The pools of each kind, beginning with the first kind that has pools.
    kinds: Vec<PoolsByPlace>,
    /// How long each attempt ran that has ended since the throughput was updated, with its pool.
    ran: Vec<(PoolKey, Duration)>,
}

impl Performers {
    /// Makes the performers of a run without pools. This process performs the first `local_kinds` kinds.
    pub(super) fn new(local: LocalPerformer, local_kinds: usize) -> Self {
        Self {
            local,
            local_kinds,
            kinds: Vec::new(),
            ran: Vec::new(),
        }
    }

    /// Adds the pools of the next kind.
    pub(super) fn add(&mut self, pools: Vec<PoolPerformer>) {
        self.kinds.push(PoolsByPlace::new(pools));
    }

    /// Returns the pools of a kind; `None` if this process performs the kind.
    fn of_kind(&self, kind: KindId) -> Option<&PoolsByPlace> {
        self.kinds
            .get(usize::from(kind.0).checked_sub(self.local_kinds)?)
    }

    /// Whether this process performs the attempts of a kind, which need no seats.
    pub(super) fn performs_here(&self, kind: KindId) -> bool {
        usize::from(kind.0) < self.local_kinds
    }

    /// Returns a pool; `None` if this process performs the kind, or if the kind has no pool at this place.
    pub(super) fn pool(&mut self, key: PoolKey) -> Option<&mut PoolPerformer> {
        let at = usize::from(key.kind.0).checked_sub(self.local_kinds)?;
        let kind = self.kinds.get_mut(at)?;
        let index = kind.index(key.place)?;
        kind.list.get_mut(index)
    }

    /// Returns the seats of a pool; `None` if this process performs the kind, or if the kind has no pool at this place.
    pub(super) fn seats(&self, key: PoolKey) -> Option<&Seats> {
        let kind = self.of_kind(key.kind)?;
        Some(&kind.list[kind.index(key.place)?].seats)
    }

    /// Returns how many seats of a kind are free at all places together. A kind of this process has no seats.
    pub(super) fn free_seats(&self, kind: KindId) -> usize {
        // Workers may declare any concurrency, so the sum could overflow.
        let free = self.pools_of(kind).map(|pool| pool.seats.free() as usize);
        free.fold(0, usize::saturating_add)
    }

    /// Iterates over all pools.
    pub(super) fn pools(&self) -> impl Iterator<Item = &PoolPerformer> {
        self.kinds.iter().flat_map(|kind| &kind.list)
    }

    fn pools_mut(&mut self) -> impl Iterator<Item = &mut PoolPerformer> {
        self.kinds.iter_mut().flat_map(|kind| &mut kind.list)
    }

    /// Iterates over all kinds: those of this process, then those of pools.
    pub(super) fn kinds(&self) -> impl Iterator<Item = KindId> + use<> {
        (0..self.local_kinds + self.kinds.len()).map(kind)
    }

    /// Iterates over the kinds that have pools.
    pub(super) fn pool_kinds(&self) -> impl Iterator<Item = KindId> + use<> {
        (self.local_kinds..self.local_kinds + self.kinds.len()).map(kind)
    }

    /// Records how long an attempt ran that has ended.
    pub(super) fn note_ran(&mut self, pool: PoolKey, ran: Duration) {
        self.ran.push((pool, ran));
    }

    /// Updates the throughput of pools from the attempts that have ended since the last call.
    pub(super) fn update_throughput(&mut self) {
        for (number, of_kind) in (self.local_kinds..).zip(&mut self.kinds) {
            for pool in &mut of_kind.list {
                let key = PoolKey {
                    kind: kind(number),
                    place: pool.place,
                };
                let of_pool = self.ran.iter().filter(|(other, _)| *other == key);
                let (jobs, busy) = of_pool.fold((0, Duration::ZERO), |(jobs, busy), (_, ran)| {
                    (jobs + 1, busy + *ran)
                });
                pool.seats.record_throughput(jobs, busy);
            }
        }
        self.ran.clear();
    }

    /// Performs an attempt in this process. If it is a command, it runs at this place, within these limits of memory.
    pub(super) fn perform_here(
        &mut self,
        ticket: Ticket,
        assignment: Assignment,
        at: (PlaceId, MemoryLimits),
    ) {
        self.local.perform(ticket, assignment, at);
    }

    /// Returns the output of a command that this process has started.
    pub(super) fn output_here(&self, ticket: Ticket) -> Option<Arc<AttemptOutput>> {
        self.local.output(ticket)
    }

    /// Stops an attempt. If it has ended in the meantime, nothing happens.
    pub(super) fn stop(
        &mut self,
        pool: PoolKey,
        seat: Option<SeatId>,
        ticket: Ticket,
        stop: StopRequest,
    ) {
        match (self.pool(pool), seat) {
            (Some(pool), Some(seat)) => {
                let key = AttemptKey::Ticket(ticket);
                pool.seats.link(seat).order(Order::Stop(key, stop));
            }
            (_, _) => self.local.stop(ticket, stop),
        }
    }

    /// Tells a pool how much work is left for it, if that has changed.
    pub(super) fn demand(&mut self, key: PoolKey, demand: Demand) {
        if let Some(pool) = self.pool(key)
            && pool.told != demand
        {
            pool.demand(demand);
        }
    }

    /// Tells a pool again how much work is left for it, because it has asked.
    pub(super) fn demand_again(&mut self, key: PoolKey, demand: Demand) {
        if let Some(pool) = self.pool(key) {
            pool.demand(demand);
        }
    }

    fn pools_of(&self, kind: KindId) -> impl Iterator<Item = &PoolPerformer> {
        self.of_kind(kind).into_iter().flat_map(|kind| &kind.list)
    }

    /// Returns the keys of the pools of a kind.
    pub(super) fn keys_of(&self, kind: KindId) -> Vec<PoolKey> {
        let places = self.pools_of(kind).map(|pool| pool.place);
        places.map(|place| PoolKey { kind, place }).collect()
    }

    /// Records that a pool has no workers any more. Returns whether no pool of its kind has workers any more.
    pub(super) fn broke(&mut self, key: PoolKey, failure: &Failure) -> bool {
        if let Some(pool) = self.pool(key) {
            pool.broken = Some(Box::new(failure.clone()));
        }
        let mut pools = self.pools_of(key.kind);
        pools.all(|pool| pool.broken.is_some())
    }

    /// Returns why a pool has no workers any more; `None` if it has.
    pub(super) fn broken(&self, key: PoolKey) -> Option<&Failure> {
        let kind = self.of_kind(key.kind)?;
        kind.list[kind.index(key.place)?].broken.as_deref()
    }

    /// Returns the moment at which [`recall`](Self::recall) has something to do.
    pub(super) fn recall_at(&self) -> Option<Instant> {
        self.pools().filter_map(|pool| pool.seats.recall_at()).min()
    }

    /// Recalls the attempts that lie in pipes while other workers of the same pool are idle.
    pub(super) fn recall(&mut self, now: Instant) {
        for pool in self.pools_mut() {
            pool.seats.recall(now);
        }
    }
}

/// Makes the id of a kind from its number. A run has at most 32,767 kinds, which is checked when it is started.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the number of kinds is checked when they are added"
)]
fn kind(number: usize) -> KindId {
    KindId(number as u16)
}
