//! The repetition of the jobs of a file, which finds jobs that succeed only sometimes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ratchet_runtime::process::{EarlierOutput, ProgramInput, working_now};
use ratchet_runtime::{CacheTerms, Job, JobKey, Terms, Work};

/// The character between the id of a job and the number of its repetition.
const MARK: char = '#';

/// How often the jobs of a file are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repetition {
    /// They are run this many times.
    Times(NonZeroU32),
    /// They are run again until this much time has passed.
    For(Duration),
}

/// A source that returns all jobs of a file once in each round. Each repetition is a job of its own, as in `a#1` and
/// `a#2`, and needs the jobs of its own round.
pub(super) struct RepeatedJobs {
    /// The setup scripts that were not returned yet. They run once.
    setups: VecDeque<Job>,
    /// The ids of all setup scripts.
    setup_ids: HashSet<JobKey>,
    /// The jobs, each after those that it needs.
    jobs: Vec<Job>,
    /// The outputs of jobs of the round that other jobs read, by the ids of the jobs without a number.
    outputs: HashMap<JobKey, EarlierOutput>,
    repetition: Repetition,
    /// The number of the round, counted from 1. It is 0 before the first round.
    round: u64,
    /// How many jobs of the round were returned.
    brought: usize,
    /// How many jobs were returned in all.
    total: u64,
    /// How many jobs run at once.
    slots: u32,
    /// When the first round began.
    began: Option<Instant>,
    ended: Arc<EndedJobs>,
}

/// Counts the jobs of a run that have ended, for the source that makes further ones.
#[derive(Debug, Default)]
pub(crate) struct EndedJobs {
    count: Mutex<u64>,
    changed: Condvar,
}

impl EndedJobs {
    /// Adds jobs that have ended.
    pub(super) fn add(&self, jobs: usize) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += jobs as u64;
        self.changed.notify_all();
    }

    /// Waits until this many jobs have ended.
    fn wait_for(&self, wanted: u64) {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(count, |count| *count < wanted));
    }
}

impl RepeatedJobs {
    /// Makes the source. Setup scripts run once, and all other jobs are repeated. `order` has each job after those that
    /// it needs, and `slots` is how many run at once.
    pub(super) fn new(
        jobs: Vec<Job>,
        (order, setups): (&[usize], &HashSet<JobKey>),
        repetition: Repetition,
        slots: u32,
    ) -> Self {
        let mut jobs: Vec<Option<Job>> = jobs.into_iter().map(Some).collect();
        let in_order = order.iter().filter_map(|at| jobs[*at].take());
        let (once, again): (Vec<Job>, Vec<Job>) = in_order
            .map(uncached)
            .partition(|job| setups.contains(&job.id));
        Self {
            setups: once.into(),
            setup_ids: setups.clone(),
            jobs: again,
            outputs: HashMap::new(),
            repetition,
            round: 0,
            brought: 0,
            total: 0,
            slots,
            began: None,
            ended: Arc::default(),
        }
    }

    /// Makes the repetition of a job in this round.
    fn of_round(&mut self, mut job: Job) -> Job {
        let repeated = |id: &str| format!("{id}{MARK}{}", self.round);
        for need in &mut job.needs {
            if !self.setup_ids.contains(need) {
                *need = JobKey::from(repeated(need.as_str()));
            }
        }
        // The group gets another name in each round, because a group that was given up in one round must be tried again
        // in the next one.
        if let Some(group) = &job.terms.fail_fast {
            let fail_fast = Some(repeated(group).into());
            job.terms = Arc::new(Terms {
                fail_fast,
                ..Terms::clone(&job.terms)
            });
        }
        // Each round has outputs of its own. The output is in the map already, because a job comes after the one whose
        // output it reads.
        if let Work::Command(process) = &mut job.work
            && let ProgramInput::Output(of) = &process.stdin
            && let Some(output) = self.outputs.get(&JobKey::from(of.job()))
        {
            Arc::make_mut(process).stdin = ProgramInput::Output(output.clone());
        }
        let id = JobKey::from(repeated(job.id.as_str()));
        if job.kept_output.is_some() {
            let output = EarlierOutput::of(id.as_str());
            job.kept_output = Some(output.clone());
            self.outputs.insert(job.id, output);
        }
        job.id = id;
        job
    }

    /// Begins another round. Returns whether there is one.
    fn begin_round(&mut self) -> bool {
        let goes_on = match self.repetition {
            Repetition::Times(times) => self.round < u64::from(times.get()),
            Repetition::For(limit) => {
                // A round begins when the one before leaves slots free, so that few jobs are left when the time is
                // over. When the run stops, all jobs end, and the next job is not taken.
                let least = (self.total + 1).saturating_sub(u64::from(self.slots));
                self.ended.wait_for(least);
                let now = working_now();
                let began = *self.began.get_or_insert(now);
                self.round == 0 || now.saturating_duration_since(began) < limit
            }
        };
        if goes_on {
            self.round += 1;
            self.brought = 0;
            self.outputs.clear();
        }
        goes_on
    }
}

impl RepeatedJobs {
    /// Returns the next job.
    pub(super) fn next_job(&mut self) -> Option<Job> {
        if self.jobs.is_empty() {
            return None;
        }
        if let Some(script) = self.setups.pop_front() {
            self.total += 1;
            return Some(script);
        }
        if (self.round == 0 || self.brought == self.jobs.len()) && !self.begin_round() {
            return None;
        }
        let job = self.of_round(self.jobs[self.brought].clone());
        self.brought += 1;
        self.total += 1;
        Some(job)
    }

    /// Whether the next job may have to wait for others to end.
    pub(super) fn may_wait(&self) -> bool {
        matches!(self.repetition, Repetition::For(_)) && self.brought == self.jobs.len()
    }

    /// Returns how many jobs there are in all, if that is known.
    pub(super) fn total(&self) -> Option<u64> {
        match self.repetition {
            Repetition::Times(times) => {
                Some(self.setup_ids.len() as u64 + self.jobs.len() as u64 * u64::from(times.get()))
            }
            Repetition::For(_) => None,
        }
    }

    /// Returns the counter of ended jobs. The owner of the run has to [add](EndedJobs::add) to it.
    pub(super) fn ended_jobs(&self) -> Arc<EndedJobs> {
        Arc::clone(&self.ended)
    }
}

/// Turns off the cache of a job, because a reused result would not show whether the job succeeds again.
fn uncached(job: Job) -> Job {
    let terms = Terms {
        cache: Some(CacheTerms::Off),
        ..Terms::clone(&job.terms)
    };
    job.terms(terms)
}

#[cfg(test)]
mod tests {
    use ratchet_runtime::Payload;

    use super::*;

    fn jobs(repetition: Repetition) -> RepeatedJobs {
        let job = |id: &str| Job::task(id, "t", Payload::null());
        let all = vec![job("b").needs(["a"]), job("a")];
        RepeatedJobs::new(all, (&[1, 0], &HashSet::new()), repetition, 2)
    }

    fn id(stream: &mut RepeatedJobs) -> Option<String> {
        let job = stream.next_job()?;
        let needs: Vec<_> = job.needs.iter().map(JobKey::as_str).collect();
        Some(format!("{} {}", job.id, needs.join(" ")))
    }

    #[test]
    fn each_round_has_all_jobs_which_need_those_of_their_own_round() {
        let times = Repetition::Times(NonZeroU32::MIN.saturating_add(1));
        let mut stream = jobs(times);
        assert_eq!(stream.total(), Some(4));
        let all: Vec<_> = std::iter::from_fn(|| id(&mut stream)).collect();
        assert_eq!(all, ["a#1 ", "b#1 a#1", "a#2 ", "b#2 a#2"]);
    }

    #[test]
    fn rounds_are_begun_while_there_is_time_and_a_slot_is_free() {
        let mut stream = jobs(Repetition::For(Duration::from_hours(1)));
        let ended = stream.ended_jobs();
        assert_eq!(
            (id(&mut stream), id(&mut stream)).0.as_deref(),
            Some("a#1 ")
        );
        assert!(stream.may_wait());
        // One of the two slots is free, so the next round begins without a wait.
        ended.add(1);
        assert_eq!(id(&mut stream).as_deref(), Some("a#2 "));
        stream.repetition = Repetition::For(Duration::ZERO);
        assert_eq!(id(&mut stream).as_deref(), Some("b#2 a#2"));
        ended.add(2);
        assert_eq!(id(&mut stream), None);
    }
}
