//! How much work is left for each pool, which the pools are told.

use ratchet_resilience::shutdown::Phase;

use super::queue::Queue;
use super::seating::Seating;
use crate::dispatch::{Demand, PoolKey};
use crate::ids::KindId;

/// The highest number of jobs without a free seat that is reported to a pool. With a cap, the number does not change
/// with each job of a long queue, and each change would be a message to the pool.
const MAX_UNSEATED: usize = 1024;

/// What the run still expects, which decides how much demand pools are told of.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExpectedWork {
    /// How far the run is on the way to its end.
    pub(super) phase: Phase,
    /// Whether jobs of any kind may still come to the queue.
    pub(super) may_come: bool,
}

/// Tells the pools of a run how much work is left for them. By that, pools grow, and do not replace workers that are not
/// needed.
pub(super) struct PoolDemand<'a> {
    queue: &'a Queue,
    seating: &'a mut Seating,
}

impl<'a> PoolDemand<'a> {
    /// Makes the demand of the jobs of a queue.
    pub(super) fn new(queue: &'a Queue, seating: &'a mut Seating) -> Self {
        Self { queue, seating }
    }

    /// Tells each pool how much work is left for it, if that has changed. `unresolved` returns how many jobs wait for the
    /// hello of a kind.
    pub(super) fn send(self, expected_work: ExpectedWork, unresolved: impl Fn(KindId) -> usize) {
        for kind in self.seating.performers().pool_kinds() {
            for pool in self.seating.performers().keys_of(kind) {
                let demand = self.of(pool, expected_work, unresolved(kind));
                self.seating.performers_mut().demand(pool, demand);
            }
        }
    }

    /// Tells a pool again how much work is left for it, because it has asked.
    pub(super) fn send_again(self, pool: PoolKey, expected_work: ExpectedWork, unresolved: usize) {
        let demand = self.of(pool, expected_work, unresolved);
        self.seating.performers_mut().demand_again(pool, demand);
    }

    /// Returns how much work is left for a pool. `unresolved` is how many jobs wait for the hello of its kind.
    pub(super) fn of(
        &self,
        pool: PoolKey,
        expected_work: ExpectedWork,
        unresolved: usize,
    ) -> Demand {
        let waiting = self.waiting_for(pool) + unresolved;
        let seats = self.seating.performers().seats(pool);
        let free = seats.map_or(0, |seats| seats.free() as usize);
        // A job that waits for the result of an equal job starts if there is none.
        let may_wait = waiting > 0 || self.queue.count(pool.kind).parked > 0;
        match expected_work.phase {
            Phase::Running if expected_work.may_come || may_wait => Demand::Open {
                // The cap keeps the figure from changing with every job.
                unseated: waiting.saturating_sub(free).min(MAX_UNSEATED),
            },
            Phase::Running if self.queue.count(pool.kind).jobs() > 0 => Demand::Last,
            Phase::Running | Phase::Draining | Phase::Cancelling => Demand::Over,
            Phase::Killing => Demand::Killed,
        }
    }

    /// Returns how many waiting jobs a pool could be given. If other pools could be given them too, each gets its
    /// share.
    fn waiting_for(&self, key: PoolKey) -> usize {
        let places = self.seating.places();
        if !places.are_several() {
            return self.queue.count(key.kind).waiting;
        }
        let routes = self.queue.routes().through(key.place).iter();
        let waiting = routes.filter_map(|id| {
            let route = self.queue.routes().get(*id);
            let members = places.members(route.places).len();
            (route.kind == key.kind).then(|| self.queue.waiting_on(*id).div_ceil(members))
        });
        waiting.sum()
    }
}
