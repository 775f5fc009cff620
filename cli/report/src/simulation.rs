//! Simulates how long a run would have taken with a change. The real scheduler decides, with a clock that jumps from
//! event to event, so a simulation takes only a moment.
//!
//! Each job arrives when it arrived, waits for its needs, and its attempts take as long as they took. Waits that are
//! not simulated keep their recorded time: the delays of retries, and waits for breakers, the cache, connections,
//! pauses and short memory. A worker takes its first job when it was ready for it in the record.

mod estimates;
mod run;

use std::collections::HashMap;

use foldhash::fast::RandomState;
use ratchet_runtime::Workers;

use self::estimates::{
    Stops, held_back, kinds, overhead, ready_times, release_delay, settle_arrivals,
};
use self::run::SimulationRun;
use crate::model::RunModel;

/// A difference from the recorded run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing is different.
    Nothing,
    /// There are more slots, and as many more workers of each kind.
    MoreSlots(u32),
    /// A named limit is not enforced.
    WithoutLimit(String),
    /// A hint is ignored: the jobs with the hint of this name run fully parallel.
    WithoutHint(&'static str),
    /// The attempts of a job take half as long.
    Halved(u32),
}

/// The recorded run, prepared to be simulated several times.
pub struct Simulation<'a> {
    model: &'a RunModel,
    /// The jobs in the order in which they were submitted; if that is not recorded, in the order in which they were
    /// started. Jobs that were never started are ordered by their ends.
    order: Vec<u32>,
    /// When each job arrived, without the time for which the run was stopped.
    arrivals: Vec<u64>,
    /// Whether the job arrived as soon as there was room for it.
    is_held_back: Vec<bool>,
    /// The greatest number of unfinished jobs, if that held back the source.
    window: usize,
    /// The dependents of each job.
    dependents: HashMap<u32, Vec<u32>, RandomState>,
    needs: Vec<u32>,
    /// The kind of worker of each row, and how many workers each kind has.
    kind_of_row: Vec<u16>,
    workers: Vec<Workers>,
    /// When each worker of each kind became ready; empty for kinds that are not pools of workers.
    ready: Vec<Vec<u64>>,
    slots: u32,
    /// The time from the end of an attempt until the next one began in its place.
    overhead: u64,
    /// The time from the end of a job until the jobs that need it are released: it is recorded first.
    release_delay: u64,
    /// The recorded end of the last job, without the time for which the run was stopped.
    recorded: u64,
}

impl<'a> Simulation<'a> {
    /// Prepares a run. Returns `None` if the journal has no times.
    pub fn new(model: &'a RunModel) -> Option<Self> {
        if model.jobs.is_empty() || model.jobs.iter().any(|job| !job.is_timed) {
            return None;
        }
        let stops = Stops(&model.suspensions);
        let mut arrivals: Vec<u64> = (model.jobs.iter())
            .map(|job| {
                let ended = stops.working(job.ended);
                let began = model
                    .attempts_of(job)
                    .first()
                    .map(|first| stops.working(first.began));
                let age = job.ended - job.arrived;
                let came = ended.saturating_sub(age);
                began.map_or(came, |began| came.min(began))
            })
            .collect();
        let mut order: Vec<u32> = (0..number(model.jobs.len())).collect();
        let places: Option<Vec<u64>> = model.jobs.iter().map(|job| job.position).collect();
        order.sort_by_key(|index| {
            if let Some(places) = &places {
                return (places[*index as usize], None, *index);
            }
            let job = &model.jobs[*index as usize];
            let began = model.attempts_of(job).first().map(|first| first.began);
            // Starts are known to the millisecond, and slots are given out from the first on.
            let slot = model.attempts_of(job).first().map(|first| first.slot);
            (began.unwrap_or(job.ended) / 1_000, slot, *index)
        });
        settle_arrivals(
            &mut arrivals,
            places.is_some() && model.resumed == 0,
            &order,
        );
        let (is_held_back, window) = held_back(model, &arrivals, stops);
        let mut dependents: HashMap<u32, Vec<u32>, RandomState> = HashMap::default();
        let mut needs = vec![0; model.jobs.len()];
        for (job, needed) in &model.needs {
            dependents.entry(*needed).or_default().push(*job);
            needs[*job as usize] += 1;
        }
        let (kind_of_row, workers, slots) = kinds(model);
        let ready = ready_times(model, &kind_of_row, workers.len(), stops);
        let recorded = model.jobs.iter().map(|job| stops.working(job.ended));
        Some(Self {
            model,
            order,
            arrivals,
            is_held_back,
            window,
            dependents,
            needs,
            kind_of_row,
            workers,
            ready,
            slots,
            overhead: overhead(model),
            release_delay: release_delay(model),
            recorded: recorded.max().unwrap_or_default(),
        })
    }

    /// Returns when the last job of the recorded run ended, in microseconds, without the time for which the run was
    /// stopped.
    pub fn recorded(&self) -> u64 {
        self.recorded
    }

    /// Returns when the last job ends with this change, in microseconds. `None` if the scheduler refuses a job, for
    /// example if the record has no limits.
    pub fn length(&self, change: &Change) -> Option<u64> {
        SimulationRun::new(self, change)?.run()
    }

    /// Returns how many workers of each kind are free at the beginning if there are `more` of each kind, and when each worker
    /// becomes ready.
    fn workers_with(&self, more: u32) -> (Vec<Workers>, Vec<Vec<u64>>) {
        let mut ready = self.ready.clone();
        for times in &mut ready {
            // The other workers of a kind are started like its first one.
            if let Some(first) = times.iter().min().copied() {
                times.extend(std::iter::repeat_n(first, more as usize));
            }
        }
        let workers = self.workers.iter().zip(&ready);
        let workers = workers.map(|(workers, ready)| match workers {
            Workers::Free(_) if !ready.is_empty() => {
                Workers::Free(number(ready.iter().filter(|at| **at == 0).count()))
            }
            Workers::Free(free) => Workers::Free(free.saturating_add(more)),
            other => *other,
        });
        (workers.collect(), ready)
    }

    /// Returns the jobs that their source held back, in the order of arrival.
    fn jobs_held_back(&self) -> Vec<u32> {
        let ranks = self.ranks();
        let mut jobs: Vec<u32> = (0..number(self.model.jobs.len()))
            .filter(|index| self.is_held_back[*index as usize])
            .collect();
        jobs.sort_by_key(|index| (self.arrivals[*index as usize], ranks[*index as usize]));
        jobs
    }

    /// Returns the position of each job in [`order`](Self::order), by the index of the job.
    fn ranks(&self) -> Vec<u32> {
        let mut ranks = vec![0; self.order.len()];
        for (rank, job) in self.order.iter().enumerate() {
            ranks[*job as usize] = number(rank);
        }
        ranks
    }
}

/// Converts a length to a number of 32 bits.
fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
