//! What the record of a run shows of times that were not recorded themselves.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use ratchet_runtime::{Blocker, Workers};

use super::number;
use crate::model::{AttemptFacts, ROUNDING, RunModel};

/// The time within which attempts on one row follow each other if only their start takes time.
const QUICK_MICROS: u64 = 20_000;

/// The least number of unfinished jobs at which a run is assumed to have held back its source.
const SMALLEST_WINDOW: usize = 512;

/// The times in which a run was stopped.
#[derive(Clone, Copy)]
pub(super) struct Stops<'a>(pub(super) &'a [(u64, u64)]);

impl Stops<'_> {
    /// Returns the moment by a clock that is paused while the run is stopped.
    pub(super) fn working(self, at: u64) -> u64 {
        let before = self.0.iter().filter(|(from, _)| *from < at);
        let stopped: u64 = before.map(|(from, to)| (*to).min(at) - from).sum();
        at - stopped
    }
}

/// Corrects arrivals by what is known of them besides their times: jobs arrive in the order in which they were submitted, if
/// that order is known, and ends are recorded to the millisecond. So jobs that arrived within one millisecond are taken to have
/// arrived at once, or the first of them would be started although more urgent ones were there.
pub(super) fn settle_arrivals(arrivals: &mut [u64], is_ordered: bool, order: &[u32]) {
    let mut latest = 0;
    for job in order {
        let arrival = &mut arrivals[*job as usize];
        if is_ordered {
            // The end of a job is rounded down, so that none has arrived earlier than it seems to.
            latest = (*arrival).max(latest);
            *arrival = latest;
        }
        *arrival -= *arrival % 1_000;
    }
}

/// Returns the usual time from the end of the last job that another one needs until that one is released: the mean of all such
/// times.
pub(super) fn release_delay(model: &RunModel) -> u64 {
    let mut last_ends: HashMap<u32, u64, RandomState> = HashMap::default();
    for (job, needed) in &model.needs {
        let last = last_ends.entry(*job).or_default();
        *last = (*last).max(model.jobs[*needed as usize].ended);
    }
    let delays = last_ends.into_iter().filter_map(|(job, ended)| {
        let job = &model.jobs[job as usize];
        let waited = model.waited_for(job, &Blocker::Needs);
        let delay = (job.arrived + waited).cast_signed() - ended.cast_signed();
        (waited > 0 && delay.unsigned_abs() < QUICK_MICROS).then_some(delay)
    });
    // What is below a hundredth of a millisecond comes from rounding.
    mean(delays).unwrap_or(0) / 10 * 10
}

/// Returns the mean of times, of which some may seem to be negative because starts and ends are recorded to the millisecond.
/// `None` if there are too few.
pub(super) fn mean(times: impl IntoIterator<Item = i64>) -> Option<u64> {
    const LEAST: i64 = 8;
    let (mut sum, mut count) = (0_i64, 0_i64);
    for time in times {
        sum += time;
        count += 1;
    }
    (count >= LEAST).then(|| u64::try_from(sum / count).unwrap_or(0))
}

/// Finds the jobs that arrived only when there was room for them, and for how many there was room.
pub(super) fn held_back(
    model: &RunModel,
    arrivals: &[u64],
    stops: Stops<'_>,
) -> (Vec<bool>, usize) {
    let mut is_held_back = vec![false; arrivals.len()];
    let mut came: Vec<u32> = (0..number(arrivals.len())).collect();
    came.sort_unstable_by_key(|index| arrivals[*index as usize]);
    let mut ends: Vec<u64> = model
        .jobs
        .iter()
        .map(|job| stops.working(job.ended))
        .collect();
    ends.sort_unstable();
    let mut ended = 0;
    let in_flight: Vec<usize> = came
        .iter()
        .enumerate()
        .map(|(before, index)| {
            let now = arrivals[*index as usize];
            while ends.get(ended).is_some_and(|end| *end < now) {
                ended += 1;
            }
            before.saturating_sub(ended)
        })
        .collect();
    let window = in_flight.iter().copied().max().unwrap_or_default();
    if window < SMALLEST_WINDOW || came.len() <= window + window / 4 {
        return (is_held_back, usize::MAX);
    }
    for (index, in_flight) in came.iter().zip(in_flight).skip(window) {
        is_held_back[*index as usize] = in_flight >= window / 2;
    }
    (is_held_back, window)
}

/// Assigns each row the number of its kind of worker. Also returns how many workers each kind has, and how many slots
/// there are.
pub(super) fn kinds(model: &RunModel) -> (Vec<u16>, Vec<Workers>, u32) {
    let plan = model.plans.last().map(|(_, plan)| plan);
    let mut numbers: HashMap<&str, u16, RandomState> = HashMap::default();
    let (mut workers, mut rows) = (Vec::new(), Vec::new());
    for row in &model.rows {
        let next = u16::try_from(workers.len()).unwrap_or(u16::MAX);
        let kind = *numbers.entry(row.group.as_str()).or_insert_with(|| {
            workers.push(0_u32);
            next
        });
        workers[usize::from(kind)] += 1;
        rows.push(kind);
    }
    let places = plan.map(|plan| &plan.places);
    let mut slots = model.slots();
    let mut of_kinds = vec![Workers::Unlimited; workers.len()];
    for (group, kind) in numbers {
        let kind = usize::from(kind);
        let is_pool = group != "local" && places.is_none_or(|places| !places.contains_key(group));
        if let Some(of_place) = places.and_then(|places| places.get(group)) {
            of_kinds[kind] = Workers::Free(*of_place);
            slots = slots.saturating_add(*of_place);
        } else if is_pool {
            of_kinds[kind] = Workers::Free(workers[kind]);
        }
    }
    (rows, of_kinds, slots)
}

/// Returns when each worker of each kind became ready. That is not recorded, but it shows if the first job of a worker
/// waited for one. Workers for which no job waited count as ready from the beginning.
pub(super) fn ready_times(
    model: &RunModel,
    kind_of_row: &[u16],
    kinds: usize,
    stops: Stops<'_>,
) -> Vec<Vec<u64>> {
    let places = model.plans.last().map(|(_, plan)| &plan.places);
    let mut firsts: Vec<Option<&AttemptFacts>> = vec![None; model.rows.len()];
    for attempt in &model.attempts {
        let first = &mut firsts[attempt.row as usize];
        if first.is_none_or(|first| attempt.began < first.began) {
            *first = Some(attempt);
        }
    }
    let mut ready = vec![Vec::new(); kinds];
    for ((row, kind), first) in model.rows.iter().zip(kind_of_row).zip(firsts) {
        let is_place = places.is_some_and(|places| places.contains_key(&row.group));
        if row.group == "local" || is_place {
            continue;
        }
        let at = first.map_or(0, |first| {
            let job = &model.jobs[first.job as usize];
            let attempts = model.attempts_of(job);
            let is_first = attempts.first().is_some_and(|of| of.began == first.began);
            let waited = model.waited_for(job, &Blocker::Worker);
            if !is_first || waited <= ROUNDING {
                return 0;
            }
            // A job is charged for a slot only when a worker is ready for it.
            let for_slot = model.waited_for(job, &Blocker::Slot);
            stops.working(first.began).saturating_sub(for_slot)
        });
        ready[usize::from(*kind)].push(at);
    }
    ready
}

/// Returns the usual time between two attempts in one slot if the second one waited for nothing else: the mean of all such
/// times.
///
/// The row of a worker tells nothing of this where workers share slots: a worker is also idle while others have them.
pub(super) fn overhead(model: &RunModel) -> u64 {
    let shares_numbers = (model.plans.iter()).any(|(_, plan)| !plan.places.is_empty());
    let place = |attempt: &AttemptFacts| match attempt.slot {
        0 => (attempt.row, 0),
        // Each place has a slot of this number.
        slot if shares_numbers => (attempt.row, slot),
        slot => (u32::MAX, slot),
    };
    let mut order: Vec<u32> = (0..number(model.attempts.len())).collect();
    order.sort_unstable_by_key(|index| {
        let attempt = &model.attempts[*index as usize];
        (place(attempt), attempt.began)
    });
    let gaps = order.windows(2).filter_map(|pair| {
        let [before, after] = [0, 1].map(|side| &model.attempts[pair[side] as usize]);
        let job = &model.jobs[after.job as usize];
        let waited_for_turn = model.waits_of(job).iter().all(|wait| {
            matches!(
                model.blockers[wait.blocker as usize],
                Blocker::Slot | Blocker::Worker
            )
        });
        let gap = after.began.cast_signed() - before.ended().cast_signed();
        let is_quick = gap.unsigned_abs() < QUICK_MICROS;
        let is_next = place(before) == place(after) && job.arrived < before.ended();
        (waited_for_turn && is_quick && is_next).then_some(gap)
    });
    mean(gaps).unwrap_or(0)
}
