//! Chooses the faster of two workers picked at random.

use std::collections::HashMap;
use std::time::Duration;

use super::{Balancer, Candidate, WorkerNumber};

/// The weight of the latest attempt in the moving averages, compared to all attempts before it.
const NEWEST: f64 = 0.2;

/// What an error costs: a worker whose every attempt fails seems this many times slower.
const ERROR_COST: f64 = 20.0;

/// The share of its errors and its latency that a worker keeps each time it is passed over. Without this, a worker that
/// failed or was slow once would never get another attempt, and so could never show that it has recovered.
const DECAY: f64 = 0.98;

/// Chooses the faster of two workers picked at random, by latency and load, with errors counted as slow.
///
/// A worker that fails does so quickly, so latency alone would send it everything. Two are picked at random instead of
/// the best of all, because all callers would choose the best of all at the same time.
#[derive(Debug)]
pub struct PowerOfTwo {
    /// The measurements of each worker.
    known: HashMap<WorkerNumber, WorkerRecord>,
    /// The state of the random numbers.
    random: u64,
}

/// The measurements of a worker.
#[derive(Clone, Copy, Debug)]
struct WorkerRecord {
    /// The moving average of how long its attempts took.
    seconds: f64,
    /// The moving average of how many of its attempts failed, from 0 to 1.
    errors: f64,
}

impl Default for PowerOfTwo {
    fn default() -> Self {
        Self::seeded(0x9e37_79b9_7f4a_7c15)
    }
}

impl PowerOfTwo {
    /// Makes a balancer whose random picks follow from the seed.
    pub fn seeded(seed: u64) -> Self {
        Self {
            known: HashMap::new(),
            random: seed,
        }
    }

    /// Draws a random number below a bound, by Splitmix64: it spreads well enough here and needs no crate.
    fn random_below(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        #[expect(
            clippy::expect_used,
            reason = "the upper half of the product is below `below`"
        )]
        usize::try_from((u128::from(word) * below as u128) >> 64)
            .expect("a number below a usize fits into a usize")
    }

    /// Returns how long an attempt is expected to take there, `None` if the worker was never tried.
    fn seconds(&self, candidate: &Candidate) -> Option<f64> {
        let record = self.known.get(&candidate.worker)?;
        Some(record.seconds * (1.0 + ERROR_COST * record.errors))
    }

    /// Whether the second one is cheaper.
    fn prefers_second(&self, first: &Candidate, second: &Candidate) -> bool {
        // An untried worker is tried before known ones, but with one attempt only: until that has ended, it is taken to
        // be as fast as the other.
        let untried = |one: &Candidate| self.seconds(one).is_none() && one.in_flight == 0;
        if untried(first) || untried(second) {
            return !untried(first);
        }
        let cost = |one: &Candidate, other: &Candidate| {
            let seconds = self.seconds(one).or_else(|| self.seconds(other));
            seconds.unwrap_or(1.0) * f64::from(one.in_flight + 1)
        };
        cost(second, first) < cost(first, second)
    }
}

impl Balancer for PowerOfTwo {
    fn choose(&mut self, candidates: &[Candidate], _key: Option<&str>) -> Option<usize> {
        let free = || (0..candidates.len()).filter(|&at| candidates[at].has_room());
        let count = free().count();
        if count < 2 {
            return free().next();
        }
        let first = self.random_below(count);
        let second = (first + 1 + self.random_below(count - 1)) % count;
        let (first, second) = (free().nth(first)?, free().nth(second)?);
        let (chosen, passed) = if self.prefers_second(&candidates[first], &candidates[second]) {
            (second, first)
        } else {
            (first, second)
        };
        if let Some(record) = self.known.get_mut(&candidates[passed].worker) {
            record.errors *= DECAY;
            record.seconds *= DECAY;
        }
        Some(chosen)
    }

    fn record(&mut self, worker: WorkerNumber, took: Duration, well: bool) {
        // Never 0, or errors times 0 would be 0.
        let seconds = took.as_secs_f64().max(1e-6);
        let errors = if well { 0.0 } else { 1.0 };
        let record = self
            .known
            .entry(worker)
            .or_insert(WorkerRecord { seconds, errors });
        record.seconds += NEWEST * (seconds - record.seconds);
        record.errors += NEWEST * (errors - record.errors);
    }

    fn forget(&mut self, worker: WorkerNumber) {
        self.known.remove(&worker);
    }
}
