//! The orchestrator of a run passes what one owner of its state returns to the next owner.
//!
//! ```text
//!              +-- retry, return --+
//!              v                   |
//! Arrivals -> Execution ------> performers
//!     ^            |     attempts, and reports of their ends
//!     |            v
//!     +------- Delivery -------> Run
//!   who needed it
//! ```
//!
//! Each owner has private state and decides alone. [`Arrivals`] decides which jobs there are, what they wait for, who
//! performs them, and whether their result is in the cache. [`Execution`] decides what starts where, and what follows
//! the end of an attempt. [`Delivery`] decides how outcomes leave, and [`RunControl`] whether the run goes on. No owner
//! knows another.
//!
//! Nothing here waits. Performers report through a channel, the cache and the ledger work on other threads, and sinks
//! have queues. So a test can take an [`Orchestrator`] through a run without a loop.

mod reports;
mod steering;
mod stopping;

use std::sync::Arc;
use std::time::Instant;

use ratchet_resilience::shutdown::Phase;

use super::arrival::{Arrival, RunInstant};
use super::arrivals::{Arrivals, NextStep, PullResult};
use super::control::RunControl;
use super::delivery::{Delivery, EndedJob};
use super::demand::ExpectedWork;
use super::ended_attempt::EndedAttempt;
use super::entry::JobEntry;
use super::execution::Execution;
use super::failed_groups::FailedGroups;
use super::intake::Intake;
use super::observers::{Observers, Turn};
use super::recording::OutgoingOutcome;
use super::resolver::{ComputedResult, Resolver};
use super::reuse::{CacheKey, CacheReport};
use super::source::Batch;
use super::stop::Stopped;
use crate::dispatch::PoolKey;
use crate::event::RunEvent;
use crate::ids::KindId;
use crate::job::Job;
use crate::outcome::Failure;

/// The most jobs that are taken in during one turn, before reports are read again.
const JOBS: usize = 256;

/// The state of a run, divided among its owners.
///
/// A turn reads the clock of work once, and all that happens in the turn happens at `now`.
pub(super) struct Orchestrator {
    now: Instant,
    arrivals: Arrivals,
    execution: Execution,
    delivery: Delivery,
    control: RunControl,
    observers: Observers,
    groups: FailedGroups,
}

/// The parts of a run that the event loop waits for.
pub(super) struct Sources<'a> {
    /// Returns the answers of the cache.
    pub(super) resolver: &'a mut Resolver,
    /// Wakes the loop when outcomes were recorded or can be delivered.
    pub(super) delivery: &'a mut Delivery,
    /// Returns the jobs that were submitted.
    pub(super) intake: &'a mut Intake,
    /// Whether the window has room for more jobs.
    pub(super) takes_jobs: bool,
}

impl Orchestrator {
    /// Makes a run that begins at this moment.
    pub(super) fn new(
        arrivals: Arrivals,
        execution: Execution,
        delivery: Delivery,
        control: RunControl,
        observers: Observers,
        now: Instant,
    ) -> Self {
        Self {
            now,
            arrivals,
            execution,
            delivery,
            control,
            observers,
            groups: FailedGroups::default(),
        }
    }

    /// Emits the event that the run has begun. It has to come before everything else.
    pub(super) fn begin(&mut self, now: Instant) {
        self.pass_time(now);
        let total = self.arrivals.total();
        self.emit(|| RunEvent::RunStarted { total });
        self.emit_hints(None);
    }

    /// Begins a turn. The time until `now` is charged before anything changes, because it belongs to the state before
    /// the turn.
    pub(super) fn pass_time(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.observers.pass_time(self.now);
        self.execution.dispatcher_mut().pass_time(self.now);
    }

    /// Records that the loop has woken and had set its timer to `timer`.
    pub(super) fn note_wakeup(&mut self, timer: Instant) {
        self.control.note_wakeup(timer, self.now);
    }

    /// Does all that follows from the last event. Returns whether there is more to do at once.
    pub(super) fn turn(&mut self) -> bool {
        self.keep_time();
        self.arrivals
            .note_ended(self.delivery.tally().ended, self.now);
        self.take_in();
        self.release_dependents();
        self.check_stop_rules();
        self.end_failed_groups();
        let was_clogged = self.delivery.has_untaken_outcomes();
        self.start_jobs(was_clogged);
        if self.control.may_start() {
            self.execution.dispatcher_mut().recall(self.now);
        }
        self.send_demand();
        self.publish_breakers();
        let more_to_record = self.arrivals.unfinished() > 0;
        self.delivery.record(more_to_record, self.now);
        self.take_recorded();
        self.delivery.send();
        self.observers.publish(
            self.arrivals.total(),
            (self.arrivals.taken(), self.arrivals.unfinished()),
            &self.execution.dispatcher().load(),
            self.delivery.tally(),
        );
        // Outcomes that have left make room for jobs to start, and no other event will say so.
        let unclogged = was_clogged && !self.delivery.has_untaken_outcomes();
        let takes_in = self.has_room() || !self.control.is_running();
        unclogged || self.arrivals.has_unreleased() || (self.arrivals.has_more() && takes_in)
    }

    /// Whether no job is unfinished, no more jobs will come, and all outcomes are delivered.
    pub(super) fn is_over(&self) -> bool {
        let over = self.arrivals.is_exhausted() && self.arrivals.unfinished() == 0;
        if over {
            self.observers.publish_quiet();
        }
        over && self.delivery.is_idle()
    }

    /// Returns the moment at which the next turn is due if no event comes before.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        if self.control.deadlines_enforced_from().is_some() {
            return self.control.deadlines_enforced_from();
        }
        let is_running = self.control.is_running();
        let may_start = self.control.may_start();
        [
            self.control.next_timer(),
            self.execution.next_timer(is_running, may_start),
            self.arrivals.next_deadline(),
            self.delivery.record_at(),
            self.enough_until().filter(|_| is_running),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Returns the owners for whose events the loop waits.
    pub(super) fn sources(&mut self) -> Sources<'_> {
        let takes_jobs = self.has_room();
        let (intake, resolver) = self.arrivals.sources();
        Sources {
            resolver,
            delivery: &mut self.delivery,
            intake,
            takes_jobs,
        }
    }

    /// Waits for the cache, the ledger and the sinks to finish. Returns why the run stopped early, if it did.
    pub(super) async fn finish(self, messages_dropped: u64) -> Option<Stopped> {
        let Self {
            now,
            arrivals,
            execution,
            delivery,
            control,
            observers,
            groups: _,
        } = self;
        // The report of a breaker that is still open counts the time until now.
        observers.publish_breakers(execution.dispatcher().breakers(now));
        observers.publish_retries_refused(execution.retries_refused());
        // Dropping the execution releases the pools. It comes before the waits below, so that another run can use them
        // sooner.
        drop(execution);
        let tally = *delivery.tally();
        let mut stopped = control.into_stopped();
        if tally.ended != arrivals.taken() {
            let reason = format!(
                "{} jobs have no outcome",
                arrivals.taken().abs_diff(tally.ended)
            );
            stopped = Some(Stopped::Broken { reason });
        }
        if messages_dropped > 0 {
            tracing::warn!(
                dropped = messages_dropped,
                "workers sent more progress and log messages than could be handled, so some were dropped"
            );
        }
        arrivals.finish().await;
        delivery.finish().await;
        observers.finish(&tally, now).await;
        stopped
    }

    // Jobs come in.

    /// Takes jobs that were submitted; `None` says that no more will be.
    pub(super) fn received(&mut self, jobs: Option<Batch>) {
        self.arrivals.received(jobs);
    }

    /// Pulls jobs while the window has room, up to a batch.
    fn take_in(&mut self) {
        for _ in 0..JOBS {
            // While the run stops, jobs are pulled whatever the window says, because each job that was handed over gets
            // an outcome.
            if self.control.is_running() && !self.has_room() {
                return;
            }
            match self.arrivals.pull(self.now) {
                PullResult::Job(arrival) => {
                    self.emit_of_job(|| RunEvent::JobQueued {
                        id: arrival.job.id.clone(),
                        task: arrival.job.task_name().into(),
                        hint: arrival.job.terms.hint.clone(),
                    });
                    let (at, refusal) = (self.moment(), self.refusal(&arrival.job));
                    let next = self.arrivals.admit(arrival, at, refusal);
                    self.take_step(next);
                }
                PullResult::Nothing => return,
                PullResult::Panicked(reason) => {
                    return self.stop(Phase::Draining, Stopped::Source { reason });
                }
            }
        }
    }

    /// Returns the failure of a job that may not be queued, because the run stops or the group of the job has failed.
    fn refusal(&self, job: &Job) -> Option<Failure> {
        let refusal = self.control.refusal();
        refusal.or_else(|| self.groups.refusal(job))
    }

    /// Whether another job may be taken in.
    fn has_room(&self) -> bool {
        let is_known = self.arrivals.total().is_some();
        let out = self.delivery.on_the_way_out(is_known);
        self.arrivals.has_room(out) && self.enough_until().is_none()
    }

    /// Returns the time until which enough jobs wait, if jobs end so fast that more would be of no use.
    fn enough_until(&self) -> Option<Instant> {
        let dispatcher = self.execution.dispatcher();
        let ahead = || dispatcher.room_ahead() as usize;
        self.arrivals
            .enough_until(dispatcher.ready(), ahead, self.now)
    }

    /// Returns the time of the turn, up to which waiting outside of the queue is charged.
    fn moment(&self) -> RunInstant {
        RunInstant {
            now: self.now,
            paused: self.execution.queue().time_paused(),
        }
    }

    /// Takes the next step of a job that is not queued.
    fn take_step(&mut self, next: NextStep) {
        match next {
            NextStep::Enqueue(arrival, kind, cache_key) => {
                let first_of = cache_key.as_ref().map(|cache_key| cache_key.key());
                self.enqueue(arrival, kind, cache_key);
                if let Some(key) = first_of
                    && self.execution.queue().knows_key(&key)
                {
                    for (arrival, kind, cache_key) in
                        self.arrivals.take_sharers(&key, self.moment())
                    {
                        self.enqueue(arrival, kind, Some(cache_key));
                    }
                }
            }
            NextStep::Follow(arrival, kind, cache_key, waiter) => {
                if self.execution.queue().knows_key(&cache_key.key()) {
                    self.enqueue(arrival, kind, Some(cache_key));
                } else {
                    self.arrivals.share((arrival, kind), cache_key, waiter);
                }
            }
            NextStep::Wait => {}
            NextStep::Succeed(arrival, payload) => self.conclude(EndedJob {
                cached: true,
                ..EndedJob::unqueued(arrival, Ok(payload))
            }),
            NextStep::PassOn(arrival, outcome) => {
                if let Ok(payload) = &outcome.result {
                    arrival.job.give_output(payload);
                }
                let leaving = self.delivery.pass_on(&arrival, outcome);
                self.arrivals.concluded(&arrival.job);
                self.leave(leaving);
            }
            NextStep::Refuse(refused) => self.conclude(EndedJob::refused(refused)),
        }
    }

    /// Puts a job into the queue, or ends it if it cannot be queued.
    fn enqueue(&mut self, arrival: Arrival, kind: KindId, cache_key: Option<Box<CacheKey>>) {
        let (dispatcher, kinds) = (self.execution.dispatcher_mut(), self.arrivals.kinds());
        if let Err(refused) = dispatcher.enqueue(arrival, kind, kinds, cache_key, self.now) {
            self.conclude(EndedJob::refused(*refused));
        }
    }

    /// Continues with a job for which the cache has answered.
    pub(super) fn consulted(&mut self, report: CacheReport) {
        match report {
            CacheReport::Arrival(answer) => {
                let (at, refusal) = (self.moment(), self.control.refusal());
                let next = NextStep::after_cache(answer, at, refusal);
                self.take_step(next);
            }
            CacheReport::Parked(ticket, answer) => {
                let dispatcher = self.execution.dispatcher_mut();
                if let Some((entry, payload)) = dispatcher.answered(ticket, answer, self.now) {
                    self.conclude(EndedJob::answered(entry, payload));
                }
            }
        }
    }

    /// Continues with jobs that can be resolved, or have to be resolved again.
    fn proceed_all(&mut self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            let refusal = self.refusal(&arrival.job);
            let next = self.arrivals.proceed(arrival, refusal);
            self.take_step(next);
        }
    }

    /// Continues with the jobs that waited for a worker's hello or for a place, because one of these has changed.
    fn resolve_again(&mut self) {
        let unresolved = self.arrivals.take_unresolved(self.moment());
        self.proceed_all(unresolved);
    }

    /// Continues with the jobs that needed a job that has ended.
    fn release_dependents(&mut self) {
        while let Some(released) = self.arrivals.release() {
            for admitted in released {
                let (at, refusal) = (self.moment(), self.control.refusal());
                let next = self.arrivals.next_step(admitted, at, refusal);
                self.take_step(next);
            }
        }
    }

    // Attempts begin and end.

    /// Starts the jobs that may start. None may start while too many outcomes wait for the receiver.
    fn start_jobs(&mut self, has_untaken_outcomes: bool) {
        if !self.control.may_start() || has_untaken_outcomes {
            return self.execution.dispatcher_mut().start_nothing();
        }
        let turn = Turn {
            now: self.now,
            observers: &self.observers,
        };
        // Jobs that were sent ahead run although the run stops. So no more are sent than can end before a rule stops it.
        let most_begun = self.control.ends_left(self.delivery.tally());
        for (entry, failure) in self.execution.start_jobs(most_begun, turn) {
            self.conclude(EndedJob::waited(entry, Box::new(failure)));
        }
    }

    // Jobs end.

    /// Ends a job that has left the queue, with the end of its last attempt.
    fn end(&mut self, mut entry: JobEntry, attempted: EndedAttempt) {
        if let Some(key) = entry.cache_key.take() {
            let (dispatcher, ticket) = (self.execution.dispatcher_mut(), entry.ticket);
            match &attempted.result {
                Ok(payload) => {
                    let parked = dispatcher.succeeded(ticket, &key);
                    let computed = ComputedResult {
                        job: entry.job.id.clone(),
                        key: *key,
                        payload,
                        worker: attempted.worker.clone(),
                        place: attempted.place.as_ref(),
                    };
                    self.arrivals.store(computed, parked);
                }
                Err(_) => dispatcher.failed(ticket, key),
            }
        }
        self.conclude(EndedJob::attempted(entry, attempted));
    }

    /// Makes the outcome of a job and passes it on. Every job comes here once, except those that had ended before the
    /// run.
    fn conclude(&mut self, done: EndedJob) {
        self.arrivals.concluded(&done.job);
        match &done.result {
            Ok(payload) => done.job.give_output(payload),
            Err(failure) => self.groups.failed(&done.job, failure.class),
        }
        let awaited = self.arrivals.is_needed(&done.job.id);
        let wall = self.observers.wall();
        if let Some(leaving) = self.delivery.conclude(done, awaited, self.now, wall) {
            self.leave(leaving);
        }
    }

    /// Queues a final outcome for delivery, and releases the dependents of its job. The outcome has to be recorded
    /// before that. Otherwise a resumed run could repeat a job on whose result others already depend.
    fn leave(&mut self, leaving: OutgoingOutcome) {
        let OutgoingOutcome {
            position,
            outcome,
            nameless,
        } = leaving;
        if !nameless {
            self.arrivals.ended(&outcome.id, outcome.is_success());
        }
        self.emit_of_job(|| RunEvent::JobEnded {
            outcome: Arc::clone(&outcome),
        });
        self.delivery.push(position, outcome);
    }

    /// Handles the outcomes that the ledger has recorded.
    pub(super) fn take_recorded(&mut self) {
        while let Some(leaving) = self.delivery.next_recorded() {
            self.leave(leaving);
        }
        if let Some(reason) = self.delivery.recording_failure() {
            self.stop(Phase::Cancelling, Stopped::Ledger { reason });
        }
    }

    // Others are told.

    /// Emits an event of a single job.
    fn emit_of_job(&self, event: impl FnOnce() -> RunEvent) {
        self.observers.emit_of_job(self.now, event);
    }

    /// Emits an event.
    fn emit(&self, event: impl FnOnce() -> RunEvent) {
        self.observers.emit(self.now, event);
    }

    /// Publishes and emits why no job starts, or that jobs start again.
    fn publish_admission(&self) {
        let held = self.control.hold_reason().map(str::to_owned);
        let held = held.or_else(|| self.control.is_paused().then(|| "paused".to_owned()));
        let is_paused = self.control.is_paused();
        self.observers.publish_admission(held, is_paused, self.now);
    }

    /// Returns what the run still expects, from which the demand for pools is computed.
    fn expected_work(&self) -> ExpectedWork {
        let settled = self.execution.queued_or_held();
        ExpectedWork {
            phase: self.control.phase(),
            may_come: !self.arrivals.is_exhausted() || self.arrivals.unfinished() > settled,
        }
    }

    /// Tells each pool how much work is left for it.
    fn send_demand(&mut self) {
        let (expected_work, arrivals) = (self.expected_work(), &self.arrivals);
        self.execution
            .dispatcher_mut()
            .pool_demand()
            .send(expected_work, |kind| arrivals.unresolved_for(kind));
    }

    /// Tells a pool that has asked how much work is left for it.
    fn send_demand_again(&mut self, pool: PoolKey) {
        let unresolved = self.arrivals.unresolved_for(pool.kind);
        let expected_work = self.expected_work();
        self.execution
            .dispatcher_mut()
            .pool_demand()
            .send_again(pool, expected_work, unresolved);
    }

    /// Emits and publishes the breakers that have changed.
    fn publish_breakers(&mut self) {
        let changed = self.execution.dispatcher_mut().changed_breakers();
        if changed.is_empty() {
            return;
        }
        for report in changed {
            self.emit(|| RunEvent::BreakerChanged(report));
        }
        self.observers
            .publish_breakers(self.execution.dispatcher().breakers(self.now));
    }
}
