//! A run over time: how many jobs ran and waited, how limits were used, and how busy each row was.

use std::collections::BTreeMap;

use ratchet_runtime::journal::RunPlan;
use ratchet_runtime::{Blocker, Limit};

use crate::model::{JobFacts, Moment, RunModel};

/// Adds up values over spans of time, in equal steps.
#[derive(Debug, Clone)]
pub(crate) struct Steps {
    /// The length of a step in microseconds.
    step: f64,
    /// For each step, the sum of the parts of it that spans cover incompletely.
    parts: Vec<f64>,
    /// For each step, the change in the number of spans that cover it completely.
    changes: Vec<f64>,
}

impl Steps {
    /// Makes this many steps over a time.
    pub(crate) fn new(length: Moment, count: usize) -> Self {
        Self {
            step: as_float(length.max(1)) / as_float(count as u64),
            parts: vec![0.0; count + 1],
            changes: vec![0.0; count + 1],
        }
    }

    /// Adds a span of time.
    pub(crate) fn add(&mut self, from: Moment, to: Moment) {
        let most = as_float(self.parts.len() as u64 - 1);
        let (from, to) = (
            (as_float(from) / self.step).min(most),
            (as_float(to) / self.step).min(most),
        );
        if to <= from {
            return;
        }
        let (first, last) = (index(from), index(to));
        if first == last {
            self.parts[first] += to - from;
            return;
        }
        self.parts[first] += as_float(first as u64) + 1.0 - from;
        self.parts[last] += to - as_float(last as u64);
        self.changes[first + 1] += 1.0;
        self.changes[last] -= 1.0;
    }

    /// Adds an event at a moment.
    pub(crate) fn count(&mut self, at: Moment) {
        let place = index(as_float(at) / self.step).min(self.parts.len() - 2);
        self.parts[place] += 1.0;
    }

    /// Returns, for each step, the average number of spans plus the number of events.
    pub(crate) fn values(&self) -> Vec<f64> {
        let mut whole = 0.0;
        let steps = self.parts.len() - 1;
        (0..steps)
            .map(|place| {
                whole += self.changes[place];
                // Sums of fractions are not exact, so they could be slightly below 0.
                (whole + self.parts[place]).max(0.0)
            })
            .collect()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of centuries are exact, and steps are for the eye"
)]
fn as_float(micros: u64) -> f64 {
    micros as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is between 0 and the number of steps"
)]
fn index(place: f64) -> usize {
    place as usize
}

/// The figures of a run over time.
#[derive(Debug)]
pub(crate) struct Series {
    /// How many attempts ran in each step.
    pub(crate) running: Vec<f64>,
    /// How many jobs waited in each step, by the index of the blocker.
    pub(crate) waiting: Vec<(u32, Vec<f64>)>,
}

impl Series {
    /// Computes the figures of a run, in this many steps.
    ///
    /// A record has how long a job waited for what, and not when. The waits before the first attempt are assumed to
    /// follow each other in the order in which they are charged, and delays of retries lie between attempts.
    pub(crate) fn of(model: &RunModel, steps: usize) -> Self {
        let new = || Steps::new(model.length, steps);
        let mut running = new();
        let mut waiting: Vec<Steps> = model.blockers.iter().map(|_| new()).collect();
        for attempt in &model.attempts {
            running.add(attempt.began, attempt.ended());
        }
        for job in &model.jobs {
            for (blocker, from, to) in wait_spans(model, job) {
                waiting[blocker as usize].add(from, to);
            }
        }
        let waiting = waiting.iter().enumerate().filter_map(|(blocker, steps)| {
            let values = steps.values();
            let is_seen = values.iter().any(|value| *value > 0.0);
            is_seen.then(|| (u32::try_from(blocker).unwrap_or(u32::MAX), values))
        });
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_by_key(|(blocker, _)| model.blockers[*blocker as usize].clone());
        Self {
            running: running.values(),
            waiting,
        }
    }
}

/// Returns the times in which a job waited, with the indices of the blockers.
pub(crate) fn wait_spans(model: &RunModel, job: &JobFacts) -> Vec<(u32, Moment, Moment)> {
    let attempts = model.attempts_of(job);
    let first = attempts.first().map_or(job.ended, |attempt| attempt.began);
    let mut spans = Vec::new();
    let mut at = job.arrived;
    for wait in model.waits_of(job) {
        if model.blockers[wait.blocker as usize] == Blocker::Retry {
            continue;
        }
        let to = (at + wait.time).min(first);
        if to > at {
            spans.push((wait.blocker, at, to));
        }
        at = at.max(to);
    }
    let is_retry =
        |wait: &&crate::model::WaitFacts| model.blockers[wait.blocker as usize] == Blocker::Retry;
    if let Some(retry) = model.waits_of(job).iter().find(is_retry) {
        let mut left = retry.time;
        for pair in attempts.windows(2) {
            let from = pair[0].ended();
            let to = pair[1].began.min(from.saturating_add(left));
            if to > from {
                spans.push((retry.blocker, from, to));
                left -= to - from;
            }
        }
    }
    spans
}

/// The usage of a limit over time.
#[derive(Debug)]
pub(crate) struct LimitUse {
    /// The name of the limit.
    pub(crate) name: String,
    /// The limit as text; empty if the record does not have it.
    pub(crate) text: String,
    /// The maximum of units, or of starts per second.
    pub(crate) most: f64,
    /// The units that were held, or the starts per second, in each step.
    pub(crate) values: Vec<f64>,
    /// Whether the limit is a rate.
    pub(crate) is_rate: bool,
}

/// Computes the usage of the limits that jobs named.
pub(crate) fn limit_uses(model: &RunModel, steps: usize) -> Vec<LimitUse> {
    let limits: BTreeMap<&str, &Limit> = (model.plans.iter())
        .flat_map(|(_, RunPlan { limits, .. })| limits)
        .map(|(name, limit)| (name.as_str(), limit))
        .collect();
    let mut uses: BTreeMap<&str, (Steps, bool)> = BTreeMap::new();
    for job in &model.jobs {
        for name in &model.terms_of(job).limits {
            let is_rate = matches!(limits.get(name.as_str()), Some(Limit::Rate(_)));
            let (steps, _) = uses
                .entry(name)
                .or_insert_with(|| (Steps::new(model.length, steps), is_rate));
            for attempt in model.attempts_of(job) {
                if is_rate {
                    steps.count(attempt.began);
                } else {
                    steps.add(attempt.began, attempt.ended());
                }
            }
        }
    }
    let step = as_float(model.length.max(1)) / 1e6 / as_float(steps as u64);
    let told = uses.into_iter().map(|(name, (steps, is_rate))| {
        let mut values = steps.values();
        if is_rate {
            for value in &mut values {
                *value /= step;
            }
        }
        let limit = limits.get(name);
        LimitUse {
            name: name.to_owned(),
            text: limit.map(ToString::to_string).unwrap_or_default(),
            most: match limit {
                Some(Limit::Max(max)) => f64::from(max.get()),
                Some(Limit::Rate(quota)) => quota.rate.as_per_second(),
                None => 0.0,
            },
            values,
            is_rate,
        }
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn steps_hold_as_much_time_as_the_spans_that_were_added(
            spans in proptest::collection::vec((0_u64..1_000, 0_u64..1_000), 0..20),
            count in 1_usize..50,
        ) {
            let mut steps = Steps::new(1_000, count);
            let mut sum = 0.0;
            for (from, length) in spans {
                let to = (from + length).min(1_000);
                steps.add(from, to);
                sum += as_float(to - from);
            }
            let step = 1_000.0 / as_float(count as u64);
            let held: f64 = steps.values().iter().map(|value| value * step).sum();
            prop_assert!((held - sum).abs() < 1e-6, "{held} and not {sum}");
        }
    }

    #[test]
    fn a_span_fills_the_steps_that_it_covers() {
        let mut steps = Steps::new(100, 4);
        steps.add(10, 60);
        let expected = [0.6, 1.0, 0.4, 0.0];
        let differ = |(is, expected): (f64, f64)| (is - expected).abs() > 1e-9;
        assert!(!steps.values().into_iter().zip(expected).any(differ));
        let mut steps = Steps::new(100, 4);
        steps.count(100);
        steps.count(0);
        assert_eq!(steps.values(), [1.0, 0.0, 0.0, 1.0]);
    }
}
