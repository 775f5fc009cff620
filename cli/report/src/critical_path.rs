//! The critical path: the chain of jobs that set the length of a run, from the last end back to the beginning.
//!
//! The chain is found backwards. A job began when it got the last of all that it waited for: a need, a slot or worker,
//! the lock of a host, a limit, units of a resource. The job that released that is the job before it in the chain.

use std::cmp::Reverse;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use ratchet_runtime::{Blocker, ParallelizationHint};

use crate::model::{AttemptFacts, JobFacts, Moment, ROUNDING, RunModel};

/// A job of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The index of the job.
    pub job: u32,
    /// How long the attempts of the job ran until the next one of the chain could begin, or the run ended, in
    /// microseconds.
    pub ran: u64,
    /// What the job waited for since the job before it in the chain had ended, and for how long: before its first attempt,
    /// and after it for another one.
    pub waited: Vec<(Blocker, u64)>,
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
        let ran = ran(model, job, (began, until));
        let first = last_wait(model, job).map(|blocker| (blocker, worked(model, from, began)));
        let mut waited: Vec<_> = first
            .into_iter()
            .filter(|(_, time)| *time > ROUNDING)
            .collect();
        waited.extend(later_waits(
            model,
            job,
            worked(model, began, until).saturating_sub(ran),
        ));
        links.push(Link {
            job: at,
            ran,
            waited,
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

/// Returns the time between two moments, without that for which the process was stopped.
fn worked(model: &RunModel, from: Moment, until: Moment) -> u64 {
    let suspended = model.suspended_between(from, until);
    until.saturating_sub(from).saturating_sub(suspended)
}

/// Returns how long the attempts of a job ran from its first beginning until a moment.
fn ran(model: &RunModel, job: &JobFacts, (began, until): (Moment, Moment)) -> u64 {
    let attempts = model.attempts_of(job).iter();
    let part = |attempt: &AttemptFacts| attempt.ended().min(until).saturating_sub(attempt.began);
    let listed: u64 = attempts.map(part).sum();
    let whole = worked(model, began, until);
    let waited: u64 = model.waits_of(job).iter().map(|wait| wait.time).sum();
    // Of very many attempts only some are listed. But a job runs whenever it does not wait.
    listed.max(whole.saturating_sub(waited)).min(whole)
}

/// Divides the time in which a job did not run after its first attempt had begun among what it waited for. The delays of
/// retries come first, because no job waits for them before, and breakers next, because they open after failures.
fn later_waits(model: &RunModel, job: &JobFacts, mut left: u64) -> Vec<(Blocker, u64)> {
    let waits = model.waits_of(job).iter();
    let mut waits: Vec<_> = waits
        .map(|wait| (&model.blockers[wait.blocker as usize], wait.time))
        .collect();
    waits.sort_by_key(|(blocker, time)| {
        let rank = match blocker {
            Blocker::Retry => 0,
            Blocker::Breaker => 1,
            _ => 2,
        };
        (rank, Reverse(*time))
    });
    let mut later = Vec::new();
    for (blocker, time) in waits {
        let part = time.min(left);
        left -= part;
        if part > ROUNDING {
            later.push((blocker.clone(), part));
        }
    }
    later
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
    /// Units of a resource, by its name.
    Units(&'a str),
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
        // Whatever a job waits for, a moment passes until it has a slot. So a short wait counts only if there is no longer
        // one.
        let waits = model.waits_of(job).iter();
        let first = waits.filter(|wait| model.blockers[wait.blocker as usize] != Blocker::Retry);
        let longest = first.map(|wait| wait.time).max().unwrap_or_default();
        let least = longest.clamp(1, ROUNDING);
        let waited = |blocker: &Blocker| model.waited_for(job, blocker) >= least;
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
                Resource::Units(name) => Blocker::Resource((*name).into()),
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
    let units = terms.resources.iter();
    let units = units.map(|(name, _)| Resource::Units(name));
    let host = model.host_of(job).map(Resource::Host);
    let locks = match terms.hint {
        Some(ParallelizationHint::HostExclusive) => [host, None],
        Some(ParallelizationHint::GlobalExclusive) => [host, Some(Resource::Global)],
        _ => [None, None],
    };
    let locks = locks.into_iter().flatten();
    limits.chain(units).chain(locks).collect()
}

#[cfg(test)]
mod tests;
