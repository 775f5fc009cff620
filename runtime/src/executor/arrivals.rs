//! The jobs of a run before they are queued.

use std::sync::Arc;
use std::time::Instant;

use ratchet_caching::{Key, Waiter};
use ratchet_ipc::{JobKey, Payload};

use super::arrival::{Arrival, Refused, RunInstant, UnresolvedJob};
use super::intake::{Admitted, Intake};
use super::job_window::UndeliveredOutcomes;
use super::kinds::Kinds;
use super::resolver::{ComputedResult, Resolution, Resolver};
use super::reuse::{CacheAnswer, CacheKey, CacheLookup};
use super::source::{Batch, Pulled};
use crate::Error;
use crate::dispatch::DeclaredTask;
use crate::ids::KindId;
use crate::ids::Ticket;
use crate::job::{Job, Work};
use crate::outcome::{Failure, Outcome};
use crate::scheduling::Blocker;
use crate::table::Names;

/// What is to be done with a job that has come, or that has waited outside of the queue.
#[derive(Debug)]
pub(super) enum NextStep {
    /// The job goes into the queue of this kind of worker, with its cache key and the permit to compute the result, if it
    /// has them.
    Enqueue(Arrival, KindId, Option<Box<CacheKey>>),
    /// An equal job has the permit. If it is in the queue, this job follows it there, and else it [shares](Arrivals::share)
    /// the result of another run.
    Follow(Arrival, KindId, Box<CacheKey>, Waiter),
    /// The job waits for another job, for a worker's hello, or for the cache, and comes up again.
    Wait,
    /// The job succeeds with a result from the cache.
    Succeed(Arrival, Payload),
    /// The job had ended before it came, and its outcome is passed on.
    PassOn(Arrival, Arc<Outcome>),
    /// The job ends without being queued.
    Refuse(Refused),
}

impl NextStep {
    /// Decides the next step of a job after the cache has answered.
    pub(super) fn after_cache(
        consulted: CacheAnswer,
        at: RunInstant,
        refusal: Option<Failure>,
    ) -> Self {
        let CacheAnswer {
            mut arrival,
            kind,
            found,
        } = consulted;
        arrival.waited_for(Blocker::Cache, at);
        match (found, refusal) {
            // A result that is there counts even while the run stops.
            (CacheLookup::Result(payload), _) => Self::Succeed(arrival, payload),
            (CacheLookup::Refused(failure), _)
            | (
                CacheLookup::Compute(_) | CacheLookup::Shared(..) | CacheLookup::Nothing,
                Some(failure),
            ) => Self::Refuse(Refused::new(arrival, failure)),
            (CacheLookup::Compute(key), None) => Self::Enqueue(arrival, kind, Some(key)),
            (CacheLookup::Shared(key, waiter), None) => Self::Follow(arrival, kind, key, waiter),
            (CacheLookup::Nothing, None) => Self::Enqueue(arrival, kind, None),
        }
    }
}

/// The result of asking the source for one job.
#[derive(Debug)]
pub(super) enum PullResult {
    /// A job, which has to be [admitted](Arrivals::admit).
    Job(Arrival),
    /// Nothing, for now or for good.
    Nothing,
    /// The source panicked with this message.
    Panicked(String),
}

/// Takes in jobs, holds them until their dependencies have ended, and finds their kind of worker or a cached result.
///
/// Each method that takes a job returns it with its next step, or keeps it. While the run stops, the argument `refusal`
/// is the failure of every job that would otherwise be queued.
pub(super) struct Arrivals {
    intake: Intake,
    resolver: Resolver,
}

impl Arrivals {
    /// Makes the arrivals of a run from their two parts.
    pub(super) fn new(intake: Intake, resolver: Resolver) -> Self {
        Self { intake, resolver }
    }

    /// Returns both owners, because the loop waits for both: for new jobs and for answers of the cache.
    pub(super) fn sources(&mut self) -> (&mut Intake, &mut Resolver) {
        (&mut self.intake, &mut self.resolver)
    }

    /// Returns how many jobs the run will have, if that is known.
    pub(super) fn total(&self) -> Option<u64> {
        self.intake.total()
    }

    /// Returns how many jobs were pulled so far.
    pub(super) fn taken(&self) -> u64 {
        self.intake.taken()
    }

    /// Returns how many jobs were pulled and have no outcome yet, wherever they are.
    pub(super) fn unfinished(&self) -> usize {
        self.intake.unfinished()
    }

    /// Whether no more jobs will come.
    pub(super) fn is_exhausted(&self) -> bool {
        self.intake.is_exhausted()
    }

    /// Whether pulling would return a job now, or find that no more jobs come.
    pub(super) fn has_more(&self) -> bool {
        self.intake.has_more()
    }

    /// Whether the window has room for another job, besides the outcomes that are not delivered yet.
    pub(super) fn has_room(&self, out: UndeliveredOutcomes) -> bool {
        let outcomes = out.outcomes + self.resolver.storing();
        self.intake
            .has_room(UndeliveredOutcomes { outcomes, ..out })
    }

    /// Returns the time until which no more jobs have to be pulled, as [`Intake::enough_until`] does.
    pub(super) fn enough_until(
        &self,
        ready: usize,
        ahead: impl FnOnce() -> usize,
        now: Instant,
    ) -> Option<Instant> {
        self.intake.enough_until(ready, ahead, now)
    }

    /// Returns the kinds of worker, and what is known of their tasks.
    pub(super) fn kinds(&self) -> &Kinds {
        self.resolver.kinds()
    }

    /// Returns how many jobs wait for the hello of a kind.
    pub(super) fn unresolved_for(&self, kind: KindId) -> usize {
        self.resolver.unresolved_for(kind)
    }

    /// Iterates over the jobs that wait for other jobs, each with the ids of those that have not ended yet.
    pub(super) fn needing(&self) -> impl Iterator<Item = (&Arrival, Vec<JobKey>)> {
        self.intake.waiting()
    }

    /// Iterates over the jobs that wait for a worker's hello, or for a place that was not reached yet.
    pub(super) fn unresolved(&self) -> impl Iterator<Item = &UnresolvedJob> {
        self.resolver.unresolved()
    }

    /// Iterates over the jobs for which a question to the cache is open.
    pub(super) fn asking(&self) -> impl Iterator<Item = &Arrival> {
        self.resolver.asking()
    }

    /// Iterates over all jobs that were pulled and are not queued yet.
    pub(super) fn unqueued(&self) -> impl Iterator<Item = &Job> {
        let needing = self.intake.waiting_jobs();
        let unresolved = self.unresolved().map(|job| &job.arrival);
        let all = needing.chain(unresolved).chain(self.asking());
        all.map(|arrival| &*arrival.job)
    }

    /// Iterates over the jobs that the run knows and that were not pulled yet, without those that were cancelled.
    pub(super) fn pending_jobs(&self) -> impl Iterator<Item = &Job> {
        self.intake.pending_jobs()
    }

    /// Returns the next moment at which the queue timeout of a job passes that waits for a hello, a place or the cache.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.resolver.next_deadline()
    }

    /// Removes and returns the jobs whose queue timeouts have passed while they waited for a hello, a place or the cache.
    pub(super) fn take_past_deadline(&mut self, at: RunInstant) -> Vec<Arrival> {
        let (unresolved, asking) = self.resolver.take_past_deadline(at.now);
        charged(Vec::new(), unresolved, asking, at)
    }

    /// Iterates over the ids of the jobs that the run knows and that were not pulled yet.
    pub(super) fn pending(&self) -> impl Iterator<Item = &JobKey> {
        self.intake.pending()
    }

    /// Marks jobs that were not pulled yet as cancelled. Each ends without an attempt when it is pulled.
    pub(super) fn cancel_pending(&mut self, ids: impl IntoIterator<Item = JobKey>) {
        self.intake.cancel_pending(ids);
    }

    /// Adds jobs to the run, as [`Intake::add`] does.
    pub(super) fn add(&mut self, jobs: Batch, unfinished: &Names<JobKey>) -> Result<(), Error> {
        self.intake.add(jobs, unfinished)
    }

    /// Removes the waiting jobs for which the condition holds, and returns them.
    pub(super) fn take(
        &mut self,
        is_wanted: impl Fn(&Arrival) -> bool,
        at: RunInstant,
    ) -> Vec<Arrival> {
        let needing = self.intake.take(&is_wanted);
        let (unresolved, asking) = self.resolver.take(is_wanted);
        charged(needing, unresolved, asking, at)
    }

    // Jobs come in.

    /// Takes jobs that were submitted; `None` says that no more will be.
    pub(super) fn received(&mut self, jobs: Option<Batch>) {
        self.intake.received(jobs);
    }

    /// Takes the next job from the source.
    pub(super) fn pull(&mut self, now: Instant) -> PullResult {
        match self.intake.pull() {
            Pulled::Job { position, job } => {
                PullResult::Job(self.intake.arrive(position, job, now))
            }
            Pulled::Nothing | Pulled::Exhausted => PullResult::Nothing,
            Pulled::Panicked(reason) => PullResult::Panicked(reason),
        }
    }

    /// Stops taking jobs from outside. Jobs that were already handed over can still be pulled.
    pub(super) fn close(&mut self) {
        self.intake.close();
    }

    /// Decides the next step of a job that was pulled.
    pub(super) fn admit(
        &mut self,
        arrival: Arrival,
        at: RunInstant,
        refusal: Option<Failure>,
    ) -> NextStep {
        let admitted = self.intake.admit(arrival);
        self.next_step(admitted, at, refusal)
    }

    /// Returns the jobs that waited for one ended job and can proceed, or `None` if no ended job is left to look at. The
    /// caller passes each of them to [`next_step`](Self::next_step).
    pub(super) fn release(&mut self) -> Option<impl Iterator<Item = Admitted> + use<>> {
        self.intake.release()
    }

    /// Whether jobs have ended whose dependents were not released yet.
    pub(super) fn has_unreleased(&self) -> bool {
        self.intake.has_unreleased()
    }

    /// Returns the next step of a job, given the state of its dependencies.
    pub(super) fn next_step(
        &mut self,
        admitted: Admitted,
        at: RunInstant,
        refusal: Option<Failure>,
    ) -> NextStep {
        match admitted {
            Admitted::Clear(mut arrival) => {
                arrival.waited_for(Blocker::Needs, at);
                self.proceed(arrival, refusal)
            }
            Admitted::Waits => NextStep::Wait,
            Admitted::Refused(mut refused) => {
                refused.arrival.waited_for(Blocker::Needs, at);
                NextStep::Refuse(refused)
            }
        }
    }

    /// Returns the next step of a job whose dependencies have all succeeded.
    pub(super) fn proceed(&mut self, arrival: Arrival, refusal: Option<Failure>) -> NextStep {
        if let Work::Ended(outcome) = &arrival.job.work {
            let outcome = Arc::clone(outcome);
            return NextStep::PassOn(arrival, outcome);
        }
        if let Some(failure) = refusal {
            return NextStep::Refuse(Refused::new(arrival, failure));
        }
        match self.resolver.resolve(arrival) {
            Resolution::Ready(arrival, kind) => NextStep::Enqueue(arrival, kind, None),
            Resolution::Later => NextStep::Wait,
            Resolution::Refused(refused) => NextStep::Refuse(refused),
        }
    }

    /// Removes and returns the jobs that waited for a worker's hello, or for a place that was not reached yet. The
    /// caller passes each of them to [`proceed`](Self::proceed) again.
    pub(super) fn take_unresolved(&mut self, at: RunInstant) -> Vec<Arrival> {
        let taken = self.resolver.take_unresolved().into_iter();
        taken.map(|job| job.charged(at)).collect()
    }

    /// Removes and returns all waiting jobs, because the run stops.
    pub(super) fn give_up(&mut self, at: RunInstant) -> Vec<Arrival> {
        let needing = self.intake.give_up();
        let (unresolved, asking) = self.resolver.give_up();
        charged(needing, Vec::from(unresolved), asking, at)
    }

    // Workers say what they do.

    /// Records what a kind has declared, or that it declares nothing, as [`Resolver::introduced`] does.
    pub(super) fn introduced(
        &mut self,
        kind: KindId,
        version: Option<String>,
        tasks: Option<Vec<DeclaredTask>>,
    ) -> bool {
        self.resolver.introduced(kind, version, tasks)
    }

    /// Records that a kind has no workers any more, for this reason.
    pub(super) fn broke(&mut self, kind: KindId, failure: Failure) {
        self.resolver.broke(kind, failure);
    }

    // Jobs end.

    /// Removes a job that has its outcome from the count of unfinished jobs.
    pub(super) fn concluded(&mut self, job: &Job) {
        self.intake.concluded(job);
    }

    /// Records how many jobs have ended since the run began.
    pub(super) fn note_ended(&mut self, ended: u64, now: Instant) {
        self.intake.note_ended(ended, now);
    }

    /// Whether a job that was pulled waits for this one, because it needs it.
    pub(super) fn is_needed(&self, id: &JobKey) -> bool {
        self.intake.is_needed(id)
    }

    /// Records that the outcome of a job is final: its id is free again, and its dependents can be released.
    pub(super) fn ended(&mut self, id: &JobKey, well: bool) {
        self.intake.ended(id, well);
    }

    /// Has a job wait outside of the queue for the result of an equal job that is not in the queue either.
    pub(super) fn share(&mut self, job: (Arrival, KindId), key: Box<CacheKey>, waiter: Waiter) {
        self.resolver.share(job, key, waiter);
    }

    /// Removes and returns the jobs that wait outside of the queue for the result of this key, because an equal job was
    /// queued.
    pub(super) fn take_sharers(
        &mut self,
        key: &Key,
        at: RunInstant,
    ) -> Vec<(Arrival, KindId, Box<CacheKey>)> {
        let mut taken = self.resolver.take_sharers(key);
        for (arrival, ..) in &mut taken {
            arrival.waited_for(Blocker::Cache, at);
        }
        taken
    }

    /// Stores the result of a job in the background, as [`Resolver::store`] does.
    pub(super) fn store(
        &mut self,
        computed: ComputedResult<'_>,
        parked: Vec<(Ticket, Box<CacheKey>)>,
    ) {
        self.resolver.store(computed, parked);
    }

    /// Removes results from the cache that proved wrong after they were stored.
    pub(super) fn withdraw(&mut self, keys: Vec<Key>) {
        self.resolver.withdraw(keys);
    }

    /// Waits until all results are stored.
    pub(super) async fn finish(self) {
        self.resolver.finish().await;
    }
}

/// Charges the waiting time of jobs to its cause: other jobs, a worker's hello, a connection, or the cache.
fn charged(
    needing: Vec<Arrival>,
    unresolved: Vec<UnresolvedJob>,
    asking: Vec<Arrival>,
    at: RunInstant,
) -> Vec<Arrival> {
    let by = |arrivals: Vec<Arrival>, blocker: Blocker| {
        arrivals.into_iter().map(move |mut arrival| {
            arrival.waited_for(blocker.clone(), at);
            arrival
        })
    };
    let unresolved = unresolved.into_iter().map(move |job| job.charged(at));
    by(needing, Blocker::Needs)
        .chain(unresolved)
        .chain(by(asking, Blocker::Cache))
        .collect()
}
