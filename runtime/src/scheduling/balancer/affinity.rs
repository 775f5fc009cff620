//! Sends attempts with the same key to the same worker, as far as balance allows.

use super::{Balancer, Candidate, LeastLoaded};

/// Chooses the worker that had the same key before, unless it is too busy already.
///
/// Each key ranks the workers in an order of its own (rendezvous hashing), so that a worker that
/// comes or goes changes nothing but its own keys, and nothing has to be remembered. The first in
/// this order that has room and is not a quarter above the average gets the attempt. Attempts
/// without a key go to the least loaded.
#[derive(Debug, Default)]
pub struct Affinity {
    /// Chooses for attempts without a key, and where the worker of a key is too busy.
    without_key: LeastLoaded,
}

impl Balancer for Affinity {
    fn choose(&mut self, candidates: &[Candidate], key: Option<&str>) -> Option<usize> {
        let Some(key) = key else {
            return self.without_key.choose(candidates, key);
        };
        let in_flight: u64 = candidates.iter().map(|one| u64::from(one.in_flight)).sum();
        let capacity: u64 = candidates.iter().map(|one| u64::from(one.capacity)).sum();
        let key = hash(key.as_bytes());
        let free = || (0..candidates.len()).filter(|&at| candidates[at].has_room());
        // The worker's share of all attempts in flight, this one included, plus a quarter, rounded up.
        let fair = |&at: &usize| {
            let one = &candidates[at];
            let share = (in_flight + 1) * u64::from(one.capacity) * 5;
            u64::from(one.in_flight) < share.div_ceil(capacity * 4)
        };
        let wish = |&at: &usize| mix(key ^ mix(candidates[at].worker.0));
        let chosen = free().filter(fair).max_by_key(wish);
        chosen.or_else(|| free().max_by_key(wish))
    }
}

/// Hashes by FNV-1a: the same in every run, which the standard hasher does not promise.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    word = (word ^ (word >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ (word >> 33)
}
