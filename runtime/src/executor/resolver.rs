//! Resolves which kind of worker performs a job, and whether the cache has its result.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use ratchet_caching::{Key, Waiter};
use ratchet_ipc::{JobKey, Payload};

use super::arrival::{Arrival, Refused, UnresolvedJob};
use super::kinds::{Kinds, Resolved};
use super::platforms::{PlatformForecast, Platforms};
use super::reuse::{CacheKey, CacheReport, RunCache};
use crate::dispatch::DeclaredTask;
use crate::ids::KindId;
use crate::ids::{PlaceName, Ticket, WorkerName};
use crate::job::Job;
use crate::outcome::Failure;
use crate::scheduling::Blocker;

/// The resolution of a job whose dependencies have succeeded.
#[derive(Debug)]
pub(super) enum Resolution {
    /// This kind of worker performs the job, and the cache need not be asked.
    Ready(Arrival, KindId),
    /// The job waits for a worker's hello, for a place that was not reached yet, or for the cache.
    Later,
    /// The job ends without an attempt.
    Refused(Refused),
}

/// The result of a job with a cache key, and where it was made.
pub(super) struct ComputedResult<'a> {
    /// The job.
    pub(super) job: JobKey,
    /// The key of the job, with the permit to store the result.
    pub(super) key: CacheKey,
    /// The result.
    pub(super) payload: &'a Payload,
    /// The worker that made it; `None` for a command.
    pub(super) worker: Option<WorkerName>,
    /// The place where it was made; `None` for the local place.
    pub(super) place: Option<&'a PlaceName>,
}

/// Owns the kinds of worker and the cache of a run, and decides who performs a job unless its result is in the cache.
pub(super) struct Resolver {
    kinds: Kinds,
    /// The jobs that wait for a worker's hello, or for a place that was not reached yet.
    unresolved: VecDeque<UnresolvedJob>,
    /// When the queue timeouts of the jobs pass that wait here or for the cache, each with the position of its job.
    deadlines: BTreeSet<(Instant, u64)>,
    reuse: RunCache,
    platforms: Platforms,
}

impl Resolver {
    /// Makes a resolver for which no job waits.
    pub(super) fn new(kinds: Kinds, reuse: RunCache, platforms: Platforms) -> Self {
        Self {
            kinds,
            unresolved: VecDeque::new(),
            deadlines: BTreeSet::new(),
            reuse,
            platforms,
        }
    }

    /// Returns the kinds of worker.
    pub(super) fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// Decides who performs a job, or asks the cache first. The answer then comes from [`consulted`](Self::consulted).
    pub(super) fn resolve(&mut self, arrival: Arrival) -> Resolution {
        match self.kinds.resolve(&arrival.job) {
            Resolved::Later => self.postpone(arrival),
            Resolved::Refused(failure) => Resolution::Refused(Refused::new(arrival, failure)),
            Resolved::Known { kind, cacheable } => {
                let performer_identity = self.kinds.performer_identity(kind);
                match self
                    .reuse
                    .wants(&arrival.job, cacheable, performer_identity)
                {
                    Err(failure) => Resolution::Refused(Refused::new(arrival, failure)),
                    Ok(None) => Resolution::Ready(arrival, kind),
                    Ok(Some(question)) => match self.expected(kind, &arrival.job) {
                        PlatformForecast::Platform(platform) => {
                            self.deadlines.extend(deadline_of(&arrival));
                            self.reuse.consult(arrival, kind, question.on(platform));
                            Resolution::Later
                        }
                        PlatformForecast::Later => self.postpone(arrival),
                        PlatformForecast::Unknown(reason) => {
                            question.give_up(&reason);
                            Resolution::Ready(arrival, kind)
                        }
                    },
                }
            }
        }
    }

    /// Keeps a job until a worker says its hello, or a place is reached.
    fn postpone(&mut self, arrival: Arrival) -> Resolution {
        self.deadlines.extend(deadline_of(&arrival));
        let (job, platforms) = (&arrival.job, &self.platforms);
        let placements = self.kinds.placements(job);
        let mut placements = placements.into_iter();
        // Without a connection no worker could start there and say its hello.
        let waits_for = if placements.any(|on| platforms.is_connected(on, job.host.as_ref())) {
            Blocker::Worker
        } else {
            Blocker::Connect
        };
        self.unresolved
            .push_back(UnresolvedJob { arrival, waits_for });
        Resolution::Later
    }

    /// Returns the next moment at which the queue timeout of a job passes that waits here or for the cache.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Removes and returns the jobs whose queue timeouts have passed, as [`take`](Self::take) does.
    pub(super) fn take_past_deadline(
        &mut self,
        now: Instant,
    ) -> (Vec<UnresolvedJob>, Vec<Arrival>) {
        let mut due = BTreeSet::new();
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            due.extend(self.deadlines.pop_first().map(|(_, position)| position));
        }
        if due.is_empty() {
            return (Vec::new(), Vec::new());
        }
        self.take(|arrival| due.contains(&arrival.position))
    }

    /// Stops watching the queue timeouts of jobs that do not wait here any more.
    fn forget_deadlines<'a>(&mut self, arrivals: impl Iterator<Item = &'a Arrival>) {
        for deadline in arrivals.filter_map(deadline_of) {
            self.deadlines.remove(&deadline);
        }
    }

    /// Predicts on which platform a job will run.
    fn expected(&self, kind: KindId, job: &Job) -> PlatformForecast {
        match self.kinds.placement(kind, job) {
            Ok(placement) => self.platforms.expected(placement, job.host.as_ref()),
            // Such a job is refused when it is queued.
            Err(failure) => PlatformForecast::Unknown(failure.message),
        }
    }

    /// Removes and returns the jobs that waited for a worker's hello or for a place. The caller has to resolve them
    /// again.
    pub(super) fn take_unresolved(&mut self) -> VecDeque<UnresolvedJob> {
        let taken = std::mem::take(&mut self.unresolved);
        self.forget_deadlines(taken.iter().map(|job| &job.arrival));
        taken
    }

    /// Iterates over the jobs that wait for a worker's hello, or for a place that was not reached yet.
    pub(super) fn unresolved(&self) -> impl Iterator<Item = &UnresolvedJob> {
        self.unresolved.iter()
    }

    /// Iterates over the jobs for which a question to the cache is open.
    pub(super) fn asking(&self) -> impl Iterator<Item = &Arrival> {
        self.reuse.asking()
    }

    /// Removes and returns the jobs for which the condition holds: those that wait for a worker's hello or a place, and
    /// those that wait for the cache.
    pub(super) fn take(
        &mut self,
        is_wanted: impl Fn(&Arrival) -> bool,
    ) -> (Vec<UnresolvedJob>, Vec<Arrival>) {
        let (taken, left) = (self.unresolved.drain(..)).partition(|job| is_wanted(&job.arrival));
        self.unresolved = left;
        let taken = Vec::from(taken);
        let asking = self.reuse.take(is_wanted);
        let unresolved = taken.iter().map(|job| &job.arrival);
        self.forget_deadlines(unresolved.chain(&asking));
        (taken, asking)
    }

    /// Returns how many jobs may wait for the hello of a kind.
    pub(super) fn unresolved_for(&self, kind: KindId) -> usize {
        // Any kind that was not heard yet may be the one that performs them.
        if self.kinds.silent().contains(&kind) {
            self.unresolved.len()
        } else {
            0
        }
    }

    /// Records what a kind has declared, or that it declares nothing. Returns whether jobs may have been resolved wrongly
    /// until now, see [`Kinds::introduced`].
    pub(super) fn introduced(
        &mut self,
        kind: KindId,
        version: Option<String>,
        tasks: Option<Vec<DeclaredTask>>,
    ) -> bool {
        if let Some(version) = version {
            self.kinds.set_version(kind, version);
        }
        self.kinds.introduced(kind, tasks)
    }

    /// Records that a kind has no workers any more, for this reason.
    pub(super) fn broke(&mut self, kind: KindId, failure: Failure) {
        self.kinds.broke(kind, failure);
    }

    /// Whether no question to the cache is open, and no result is being stored.
    pub(super) fn is_idle(&self) -> bool {
        self.reuse.is_idle()
    }

    /// Returns the next answer of the cache; `None` if a result was stored instead. Cancel safe.
    pub(super) async fn consulted(&mut self) -> Option<CacheReport> {
        let report = self.reuse.next().await;
        if let Some(CacheReport::Arrival(answer)) = &report {
            self.forget_deadlines(std::iter::once(&answer.arrival));
        }
        report
    }

    /// Has a job wait outside of the queue for the result of an equal job that is not in the queue either.
    pub(super) fn share(&mut self, job: (Arrival, KindId), key: Box<CacheKey>, waiter: Waiter) {
        self.deadlines.extend(deadline_of(&job.0));
        self.reuse.share(job, key, waiter);
    }

    /// Removes and returns the jobs that wait outside of the queue for the result of this key.
    pub(super) fn take_sharers(&mut self, key: &Key) -> Vec<(Arrival, KindId, Box<CacheKey>)> {
        let taken = self.reuse.take_sharers(key);
        self.forget_deadlines(taken.iter().map(|(arrival, ..)| arrival));
        taken
    }

    /// Returns how many results are being stored.
    pub(super) fn storing(&self) -> usize {
        self.reuse.storing()
    }

    /// Stores the result of a job in the background, and has the parked jobs, which are equal, be answered from it. A
    /// result from another platform than that of its key is neither stored nor shared.
    pub(super) fn store(
        &mut self,
        computed: ComputedResult<'_>,
        parked: Vec<(Ticket, Box<CacheKey>)>,
    ) {
        let ComputedResult {
            job,
            key,
            payload,
            worker,
            place,
        } = computed;
        // They have to wait for the result before there is one, so as not to miss it.
        self.reuse.answer(&key, parked);
        if self.platforms.of(place).as_ref() == Some(key.platform()) {
            self.reuse.store(job, key, payload, worker);
        } else {
            self.reuse.abandon(&job, key);
        }
    }

    /// Removes results from the cache that proved wrong after they were stored.
    pub(super) fn withdraw(&mut self, keys: Vec<Key>) {
        self.reuse.withdraw(keys);
    }

    /// Removes and returns all jobs, because the run stops: those that wait for a worker's hello or a place, and those
    /// that wait for the cache.
    pub(super) fn give_up(&mut self) -> (VecDeque<UnresolvedJob>, Vec<Arrival>) {
        self.deadlines.clear();
        (self.take_unresolved(), self.reuse.give_up())
    }

    /// Waits until the cache has stored all results.
    pub(super) async fn finish(self) {
        self.reuse.finish().await;
    }
}

/// Returns when the queue timeout of a job passes, with the position of the job; `None` if it has none.
fn deadline_of(arrival: &Arrival) -> Option<(Instant, u64)> {
    Some((arrival.start_deadline()?, arrival.position))
}
