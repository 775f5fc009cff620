//! The critical path: the chain of jobs that set the length of a run, from the last end back to the beginning.
//!
//! The chain is found backwards. A job began when it got the last of all that it waited for: a need, a slot or worker,
//! the lock of a host, a limit. The job that released that is the job before it in the chain.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use ratchet_runtime::{Blocker, ParallelizationHint};

use crate::model::{JobFacts, Moment, RunModel};

/// The greatest error of recorded times: starts and ends are recorded to the millisecond.
const ROUNDING: u64 = 1_000;

/// A job of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The index of the job.
    pub job: u32,
    /// How long the job kept the next one of the chain from beginning, or the run from ending, in microseconds.
    pub ran: u64,
    /// What the job waited for last, and for how long, if it waited after the job before it in the chain had ended.
    pub waited: Option<(Blocker, u64)>,
    /// What the job got from the one before it in the chain; `None` for the first one.
    pub got: Option<Blocker>,
}

/// Finds the chain of jobs that set the length of a run, the first one first. It is empty if the record has no times.
pub fn critical_path(model: &RunModel) -> Vec<Link> {
    let timed = |job: &&(usize, &JobFacts)| job.1.is_timed;
    let jobs: Vec<_> = model.jobs.iter().enumerate().collect();
    let Some((last, _)) = jobs.iter().filter(timed).max_by_key(|(_, job)| job.ended) else {
        return Vec::new();
    };
    let search = Search::new(model);
    let mut links = Vec::new();
    let mut at = u32::try_from(*last).unwrap_or(u32::MAX);
    let mut until = model.jobs[*last].ended;
    loop {
        let job = &model.jobs[at as usize];
        let began = began(model, job);
        let before = search.before(at, job, began);
        let from = match &before {
            Some((_, given, _)) => (*given).min(began),
            None => job.arrived.min(began),
        };
        links.push(Link {
            job: at,
            ran: until.saturating_sub(began),
            waited: last_wait(model, job)
                .map(|blocker| (blocker, began.saturating_sub(from)))
                .filter(|(_, time)| *time > ROUNDING),
            got: before.as_ref().map(|(.., got)| got.clone()),
        });
        // Each job of the chain ended before the next one began, so the loop ends.
        match before {
            Some((index, given, _)) => {
                at = index;
                until = given.min(began);
            }
            None => break,
        }
    }
    links.reverse();
    links
}

/// Returns the job that released what a job waited for last, and what that was.
pub(crate) fn before(model: &RunModel, index: u32) -> Option<(u32, Blocker)> {
    let job = &model.jobs[index as usize];
    let found = Search::new(model).before(index, job, began(model, job))?;
    Some((found.0, found.2))
}

/// Returns when the first attempt of a job began, or when the job ended if it had no attempt.
fn began(model: &RunModel, job: &JobFacts) -> Moment {
    let first = model.attempts_of(job).first();
    first.map_or(job.ended, |attempt| attempt.began)
}

/// Returns what a job waited for last, judged by its waits: the last blocker in the order in which they are charged.
fn last_wait(model: &RunModel, job: &JobFacts) -> Option<Blocker> {
    let waits = model.waits_of(job).iter();
    let long = waits.filter(|wait| wait.time > ROUNDING);
    let blockers = long.map(|wait| &model.blockers[wait.blocker as usize]);
    blockers
        .filter(|blocker| **blocker != Blocker::Retry)
        .max()
        .cloned()
}

/// Something that one job releases and another one then gets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Resource<'a> {
    /// A slot or a worker, by its row.
    Row(u32),
    /// The lock of a host, by its name.
    Host(&'a str),
    /// The global lock.
    Global,
    /// A unit of a limit.
    Limit(&'a str),
}

/// Finds which job held a resource before another one.
struct Search<'a> {
    model: &'a RunModel,
    /// For each resource, the jobs that held it, with the moments at which they released it, in this order.
    holders: HashMap<Resource<'a>, Vec<(Moment, u32)>, RandomState>,
    /// For each job with needs, the need that ended last.
    needs: HashMap<u32, u32, RandomState>,
}

impl<'a> Search<'a> {
    /// Collects the holders of all resources, and the last need of each job.
    fn new(model: &'a RunModel) -> Self {
        let mut holders: HashMap<Resource<'a>, Vec<(Moment, u32)>, RandomState> =
            HashMap::default();
        for attempt in &model.attempts {
            let of_row = holders.entry(Resource::Row(attempt.row)).or_default();
            of_row.push((attempt.ended(), attempt.job));
        }
        for (index, job) in model.jobs.iter().enumerate() {
            if job.terms == 0 || model.attempts_of(job).is_empty() {
                continue;
            }
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            for resource in resources(model, job) {
                holders
                    .entry(resource)
                    .or_default()
                    .push((job.ended, index));
            }
        }
        for list in holders.values_mut() {
            list.sort_unstable();
        }
        let mut needs: HashMap<u32, u32, RandomState> = HashMap::default();
        for (job, needed) in &model.needs {
            let last = needs.entry(*job).or_insert(*needed);
            if model.jobs[*needed as usize].ended > model.jobs[*last as usize].ended {
                *last = *needed;
            }
        }
        Self {
            model,
            holders,
            needs,
        }
    }

    /// Returns the job that released what a job waited for last, when it did, and what that was.
    fn before(
        &self,
        index: u32,
        job: &'a JobFacts,
        began: Moment,
    ) -> Option<(u32, Moment, Blocker)> {
        let model = self.model;
        let waited = |blocker: &Blocker| model.waited_for(job, blocker) > 0;
        let mut found: Option<(Moment, u32, Blocker)> = None;
        let mut offer = |ended: Moment, giver: u32, blocker: Blocker| {
            let is_later = found.as_ref().is_none_or(|(known, ..)| ended > *known);
            if is_later {
                found = Some((ended, giver, blocker));
            }
        };
        if let Some(needed) = self.needs.get(&index) {
            let ended = model.jobs[*needed as usize].ended;
            if ended < job.ended {
                offer(ended, *needed, Blocker::Needs);
            }
        }
        for resource in resources(model, job) {
            let blocker = match &resource {
                Resource::Row(_) => continue,
                Resource::Host(_) => Blocker::Host,
                Resource::Global => Blocker::Global,
                Resource::Limit(name) => Blocker::Limit((*name).into()),
            };
            if waited(&blocker)
                && let Some((ended, giver)) = self.last_holder(&resource, index, began)
            {
                offer(ended, giver, blocker);
            }
        }
        let row = model.attempts_of(job).first().map(|attempt| attempt.row);
        if let Some(row) = row
            && (waited(&Blocker::Slot) || waited(&Blocker::Worker))
            && let Some((ended, giver)) = self.last_holder(&Resource::Row(row), index, began)
        {
            let blocker = if waited(&Blocker::Slot) {
                Blocker::Slot
            } else {
                Blocker::Worker
            };
            offer(ended, giver, blocker);
        }
        found.map(|(given, giver, blocker)| (giver, given, blocker))
    }

    /// Returns the job that held a resource last before a moment.
    fn last_holder(
        &self,
        resource: &Resource<'a>,
        but: u32,
        before: Moment,
    ) -> Option<(Moment, u32)> {
        let list = self.holders.get(resource)?;
        let end = list.partition_point(|(ended, _)| *ended <= before + ROUNDING);
        // The holder must have begun earlier: a job that took no time at all may have begun and ended at this very
        // moment.
        let candidates = list[..end].iter().rev();
        let mut earlier = candidates.filter(|(_, job)| {
            let other = &self.model.jobs[*job as usize];
            *job != but && began(self.model, other) < before
        });
        earlier.next().copied()
    }
}

/// Returns what a job held in addition to its slot.
fn resources<'a>(model: &'a RunModel, job: &'a JobFacts) -> Vec<Resource<'a>> {
    let terms = model.terms_of(job);
    let limits = terms.limits.iter().map(|name| Resource::Limit(name));
    let host = model.host_of(job).map(Resource::Host);
    let locks = match terms.hint {
        Some(ParallelizationHint::HostExclusive) => [host, None],
        Some(ParallelizationHint::GlobalExclusive) => [host, Some(Resource::Global)],
        _ => [None, None],
    };
    limits.chain(locks.into_iter().flatten()).collect()
}
