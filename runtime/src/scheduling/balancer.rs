//! Balancers choose the worker of a kind that gets the next attempt.

mod affinity;
mod power_of_two;
mod turns;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use affinity::Affinity;
pub use power_of_two::PowerOfTwo;
pub use turns::{LeastLoaded, RoundRobin, Weighted};

/// A worker's number, unique among the workers of its kind for as long as the pool lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerNumber(pub u64);

/// A worker that may get the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The number of the worker.
    pub worker: WorkerNumber,
    /// How many attempts the worker is busy with.
    pub in_flight: u32,
    /// How many attempts the worker can be busy with at once. Full candidates are skipped.
    pub capacity: u32,
    /// The worker's share of the work, for balancers that use weights.
    pub weight: u32,
}

impl Candidate {
    fn has_room(&self) -> bool {
        self.in_flight < self.capacity
    }

    /// Compares by the share of the capacity that is in use.
    fn load_beside(&self, other: &Self) -> std::cmp::Ordering {
        let load = |one: &Self, two: &Self| u64::from(one.in_flight) * u64::from(two.capacity);
        load(self, other).cmp(&load(other, self))
    }
}

/// Chooses the worker for an attempt.
///
/// A balancer is a plain value that is informed of events, like the scheduler. It is asked once the scheduler has
/// started a job of a kind.
pub trait Balancer: Send + std::fmt::Debug {
    /// Returns the index of the candidate that gets the attempt; `None` if all are full.
    ///
    /// The key is common to attempts that run better on the same worker: a host, for example.
    fn choose(&mut self, candidates: &[Candidate], key: Option<&str>) -> Option<usize>;

    /// Records that an attempt has ended on a worker after this time, successfully or not.
    fn record(&mut self, worker: WorkerNumber, took: Duration, well: bool) {
        let _ = (worker, took, well);
    }

    /// Forgets a worker that is gone.
    fn forget(&mut self, worker: WorkerNumber) {
        let _ = worker;
    }
}

/// The available balancers, by their names in settings.
///
/// ```
/// use ratchet_runtime::{Balance, Candidate, WorkerNumber};
///
/// let mut balancer = Balance::LeastLoaded.balancer();
/// let worker = |number, in_flight| Candidate {
///     worker: WorkerNumber(number),
///     in_flight,
///     capacity: 4,
///     weight: 1,
/// };
/// assert_eq!(balancer.choose(&[worker(1, 3), worker(2, 1), worker(3, 2)], None), Some(1));
/// assert_eq!(balancer.choose(&[worker(1, 4)], None), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// The worker with the most free capacity gets the attempt.
    #[default]
    LeastLoaded,
    /// The workers take turns.
    RoundRobin,
    /// The workers take turns in proportion to their weights.
    Weighted,
    /// The faster of two workers that are picked at random gets the attempt. Errors count as slow.
    PowerOfTwo,
    /// The worker that had the same key before gets the attempt, unless it is too busy.
    Affinity,
}

impl Balance {
    /// Makes a balancer of this sort.
    pub fn balancer(self) -> Box<dyn Balancer> {
        match self {
            Self::LeastLoaded => Box::<LeastLoaded>::default(),
            Self::RoundRobin => Box::<RoundRobin>::default(),
            Self::Weighted => Box::<Weighted>::default(),
            Self::PowerOfTwo => Box::<PowerOfTwo>::default(),
            Self::Affinity => Box::<Affinity>::default(),
        }
    }
}

#[cfg(test)]
mod tests;
