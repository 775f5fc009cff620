//! The balancers that only count: least loaded, round robin, weighted.

use std::collections::BTreeMap;

use super::{Balancer, Candidate, WorkerNumber};

/// Chooses the worker with the most free capacity; equal ones take turns.
#[derive(Debug, Default)]
pub struct LeastLoaded {
    /// The worker that was chosen last, after which the next turn begins.
    last: Option<WorkerNumber>,
}

impl Balancer for LeastLoaded {
    fn choose(&mut self, candidates: &[Candidate], _key: Option<&str>) -> Option<usize> {
        let last = self.last;
        let free = (0..candidates.len()).filter(|&at| candidates[at].has_room());
        let chosen = free.min_by(|&left, &right| {
            let (left, right) = (&candidates[left], &candidates[right]);
            let load = left.load_beside(right);
            load.then_with(|| after(last, left.worker).cmp(&after(last, right.worker)))
        })?;
        self.last = Some(candidates[chosen].worker);
        Some(chosen)
    }
}

/// Chooses workers in turn, by number, so that workers may join and leave between two choices.
#[derive(Debug, Default)]
pub struct RoundRobin {
    /// The worker that was chosen last, after which the next turn begins.
    last: Option<WorkerNumber>,
}

impl Balancer for RoundRobin {
    fn choose(&mut self, candidates: &[Candidate], _key: Option<&str>) -> Option<usize> {
        let free = (0..candidates.len()).filter(|&at| candidates[at].has_room());
        let chosen = free.min_by_key(|&at| after(self.last, candidates[at].worker))?;
        self.last = Some(candidates[chosen].worker);
        Some(chosen)
    }
}

/// Orders workers by number, beginning after the last one.
fn after(last: Option<WorkerNumber>, worker: WorkerNumber) -> (bool, WorkerNumber) {
    (last.is_some_and(|last| worker <= last), worker)
}

/// Chooses workers in proportion to their weights, and mixes them as evenly as the weights allow.
///
/// Every worker earns its weight at each choice; the one with the most is chosen and pays what all have earned. A
/// worker without weight gets work only if no other has room.
#[derive(Debug, Default)]
pub struct Weighted {
    /// What each worker has earned by its weight. The one with the most is chosen, and pays for it.
    earned: BTreeMap<WorkerNumber, i64>,
}

impl Balancer for Weighted {
    fn choose(&mut self, candidates: &[Candidate], _key: Option<&str>) -> Option<usize> {
        let free = || (0..candidates.len()).filter(|&at| candidates[at].has_room());
        let mut total = 0;
        for at in free() {
            let weight = i64::from(candidates[at].weight);
            *self.earned.entry(candidates[at].worker).or_default() += weight;
            total += weight;
        }
        let chosen = free().max_by_key(|&at| {
            let Candidate { worker, weight, .. } = candidates[at];
            let earned = self.earned.get(&worker).copied().unwrap_or_default();
            (weight > 0, earned, std::cmp::Reverse(worker))
        })?;
        *self.earned.entry(candidates[chosen].worker).or_default() -= total;
        Some(chosen)
    }

    fn forget(&mut self, worker: WorkerNumber) {
        self.earned.remove(&worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_is_gone_is_forgotten() {
        let worker = WorkerNumber(7);
        let candidate = Candidate {
            worker,
            in_flight: 0,
            capacity: 1,
            weight: 3,
        };
        let mut balancer = Weighted::default();
        assert_eq!(balancer.choose(&[candidate], None), Some(0));
        assert_eq!(balancer.earned.len(), 1);
        balancer.forget(worker);
        assert!(balancer.earned.is_empty());
    }
}
