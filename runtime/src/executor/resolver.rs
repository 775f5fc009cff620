//! Resolves which kind of worker does a job, and whether the cache has its result.

use std::collections::VecDeque;

use ratchet_caching::Key;
use ratchet_ipc::Payload;

use super::arrival::{Arrival, Refused};
use super::kinds::{Kinds, Resolved};
use super::platforms::{PlatformForecast, Platforms};
use super::reuse::{CacheAnswer, RunCache, StorePermit};
use crate::dispatch::Introduction;
use crate::ids::KindId;
use crate::ids::{PlaceName, WorkerName};
use crate::job::Job;
use crate::outcome::Failure;

/// The resolution of a job whose dependencies have succeeded.
#[derive(Debug)]
pub(super) enum Resolution {
    /// This kind of worker does the job, and there is no result yet.
    Ready(Arrival, KindId),
    /// It is known later: when a worker has introduced itself, or the cache has answered.
    Later,
    /// The job ends without an attempt.
    Refused(Refused),
}

/// Owns what is known of kinds of worker, and the cache: decides who does a job, unless its result is there already.
pub(super) struct Resolver {
    kinds: Kinds,
    /// Jobs whose worker has not introduced itself yet, or of whose places none was reached.
    unresolved: VecDeque<Arrival>,
    reuse: RunCache,
    platforms: Platforms,
}

impl Resolver {
    /// Makes a resolver that waits for no worker and no cache.
    pub(super) fn new(kinds: Kinds, reuse: RunCache, platforms: Platforms) -> Self {
        Self {
            kinds,
            unresolved: VecDeque::new(),
            reuse,
            platforms,
        }
    }

    /// Returns what is known of kinds of worker.
    pub(super) fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// Finds out who does a job.
    pub(super) fn resolve(&mut self, arrival: Arrival) -> Resolution {
        match self.kinds.resolve(&arrival.job) {
            Resolved::Later => {
                self.unresolved.push_back(arrival);
                Resolution::Later
            }
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
                            self.reuse.consult(arrival, kind, question.on(platform));
                            Resolution::Later
                        }
                        PlatformForecast::Later => {
                            self.unresolved.push_back(arrival);
                            Resolution::Later
                        }
                        PlatformForecast::Unknown(reason) => {
                            question.give_up(&reason);
                            Resolution::Ready(arrival, kind)
                        }
                    },
                }
            }
        }
    }

    /// Tells on which platform a job will run.
    fn expected(&self, kind: KindId, job: &Job) -> PlatformForecast {
        match self.kinds.placement(kind, job) {
            Ok(placement) => self.platforms.expected(placement, job.host.as_ref()),
            // It is refused when it is queued.
            Err(failure) => PlatformForecast::Unknown(failure.message),
        }
    }

    /// Takes out the jobs whose worker had not introduced itself, or whose places had not been reached: they are to be
    /// resolved anew.
    pub(super) fn take_unresolved(&mut self) -> VecDeque<Arrival> {
        std::mem::take(&mut self.unresolved)
    }

    /// Iterates over the jobs whose worker has not introduced itself yet, or whose places were not reached.
    pub(super) fn unresolved(&self) -> impl Iterator<Item = &Arrival> {
        self.unresolved.iter()
    }

    /// Iterates over the jobs about which the cache is asked.
    pub(super) fn asking(&self) -> impl Iterator<Item = &Arrival> {
        self.reuse.asking()
    }

    /// Takes out the jobs for which the condition holds: those that wait for a worker's hello, and those that wait for the
    /// cache.
    pub(super) fn take(
        &mut self,
        is_wanted: impl Fn(&Arrival) -> bool,
    ) -> (Vec<Arrival>, Vec<Arrival>) {
        let (taken, left) = (self.unresolved.drain(..)).partition(&is_wanted);
        self.unresolved = left;
        (Vec::from(taken), self.reuse.take(is_wanted))
    }

    /// How many jobs wait for the hello of a kind.
    pub(super) fn unresolved_for(&self, kind: KindId) -> usize {
        // Any kind that has said nothing yet may be the one.
        if self.kinds.silent().contains(&kind) {
            self.unresolved.len()
        } else {
            0
        }
    }

    /// Records what a kind has declared, or that it declares nothing. Returns whether its tasks had been guessed, so that
    /// jobs were resolved by a guess.
    pub(super) fn introduced(
        &mut self,
        kind: KindId,
        version: Option<String>,
        tasks: Option<Vec<Introduction>>,
    ) -> bool {
        if let Some(version) = version {
            self.kinds.set_version(kind, version);
        }
        self.kinds.introduced(kind, tasks)
    }

    /// Takes note that a kind has no workers any more, for this reason.
    pub(super) fn broke(&mut self, kind: KindId, failure: Failure) {
        self.kinds.broke(kind, failure);
    }

    /// Whether nothing is asked of the cache, and nothing is stored.
    pub(super) fn is_idle(&self) -> bool {
        self.reuse.is_idle()
    }

    /// Returns the next answer of the cache; nothing if a result has been stored instead. Cancel safe.
    pub(super) async fn consulted(&mut self) -> Option<CacheAnswer> {
        self.reuse.next().await
    }

    /// How many results are being stored.
    pub(super) fn storing(&self) -> usize {
        self.reuse.storing()
    }

    /// Stores a result in the background. `worker` and `place` say where it was made; `None` is a command, or this machine.
    pub(super) fn store(
        &mut self,
        share: StorePermit,
        payload: &Payload,
        worker: Option<WorkerName>,
        place: Option<&PlaceName>,
    ) {
        if self.platforms.of(place).as_ref() == Some(share.platform()) {
            self.reuse.store(share, payload, worker);
        } else {
            self.reuse.withhold(share);
        }
    }

    /// Takes results out of the cache that proved wrong after they were stored.
    pub(super) fn withdraw(&mut self, keys: Vec<Key>) {
        self.reuse.withdraw(keys);
    }

    /// Takes out all jobs because the run stops: those that wait for a worker's hello, and those that wait for the cache.
    pub(super) fn give_up(&mut self) -> (VecDeque<Arrival>, Vec<Arrival>) {
        (self.take_unresolved(), self.reuse.give_up())
    }

    /// Waits until the cache has stored all results.
    pub(super) async fn finish(self) {
        self.reuse.finish().await;
    }
}
