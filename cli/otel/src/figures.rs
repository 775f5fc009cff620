//! The figures of a run, from which metrics are made.

use std::collections::BTreeMap;
use std::time::Duration;

use ratchet_runtime::{AttemptEnd, Outcome};

/// The upper bounds of the buckets of durations, in seconds. A last bucket has what is longer.
pub(crate) const BOUNDS: [f64; 18] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0,
    3_600.0, 14_400.0, 86_400.0,
];

/// How many jobs run and wait at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunLoad {
    /// How many jobs run.
    pub running: u64,
    /// How many jobs wait.
    pub waiting: u64,
}

/// The sums over all that has ended so far. They only grow.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Figures {
    /// The jobs by their status.
    pub(crate) jobs: BTreeMap<&'static str, u64>,
    /// The jobs whose result was an earlier one.
    pub(crate) cached: u64,
    /// The durations of attempts, by how they ended.
    pub(crate) attempts: BTreeMap<&'static str, Durations>,
    /// How long jobs waited, by what they waited for.
    pub(crate) waits: BTreeMap<String, Duration>,
    /// The workers that ended by themselves and had to be replaced.
    pub(crate) restarts: u64,
}

/// A histogram of durations.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Durations {
    pub(crate) count: u64,
    pub(crate) sum: Duration,
    pub(crate) buckets: [u64; BOUNDS.len() + 1],
}

impl Durations {
    fn add(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(duration);
    }
}

impl Figures {
    /// Adds a job that has ended.
    pub(crate) fn job(&mut self, outcome: &Outcome) {
        *self.jobs.entry(outcome.status().as_str()).or_default() += 1;
        self.cached += u64::from(outcome.cached);
        for attempt in outcome.attempts_detail().listed() {
            if attempt.end != AttemptEnd::Returned {
                let durations = self.attempts.entry(attempt.end.word()).or_default();
                durations.add(attempt.duration);
            }
        }
        for (blocker, time) in outcome.waits.iter() {
            let word = blocker.word();
            match self.waits.get_mut(&*word) {
                Some(sum) => *sum = sum.saturating_add(time),
                None => drop(self.waits.insert(word.into_owned(), time)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ratchet_ipc::Payload;
    use ratchet_runtime::{Blocker, Class, Failure, Timestamp};

    use super::*;

    #[test]
    fn durations_are_in_the_bucket_whose_bound_they_do_not_exceed() {
        let mut durations = Durations::default();
        for millis in [1, 5, 6, 200_000_000] {
            durations.add(Duration::from_millis(millis));
        }
        assert_eq!((durations.buckets[0], durations.buckets[1]), (2, 1));
        assert_eq!(durations.buckets[BOUNDS.len()], 1);
        assert_eq!(durations.count, durations.buckets.iter().sum::<u64>());
    }

    #[test]
    fn jobs_attempts_and_waits_are_added_up_by_their_kind() {
        let mut figures = Figures::default();
        for result in [
            Ok(Payload::null()),
            Err(Failure::new(Class::Exit, "no")),
            Err(Failure::new(Class::Timeout, "no")),
            Ok(Payload::null()),
        ] {
            figures.job(&Outcome {
                attempts: 1,
                started: Some(Timestamp::from_millis(1)),
                duration: Duration::from_secs(1),
                waits: [(Blocker::Slot, Duration::from_secs(2))]
                    .into_iter()
                    .collect(),
                ..Outcome::new("a", "t", result)
            });
        }
        let jobs: Vec<_> = figures.jobs.into_iter().collect();
        assert_eq!(jobs, [("failed", 1), ("succeeded", 2), ("timed_out", 1)]);
        assert_eq!(figures.attempts["succeeded"].sum, Duration::from_secs(2));
        assert_eq!(figures.waits["slot"], Duration::from_secs(8));
    }
}
