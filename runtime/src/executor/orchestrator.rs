//! The orchestrator of a run: passes what one owner of its state reports on to the next.
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
//! Each owner has private state and decides alone: [`Arrivals`] which jobs there are, whom they wait for, who does them,
//! and whether their result is there already; [`Execution`] what starts where, and what follows its end; [`Delivery`] how
//! outcomes leave; [`RunControl`] whether the run goes on. None of them knows another.
//!
//! Nothing here waits for anybody, so a test can put an [`Orchestrator`] through a run without a loop: performers
//! report, the cache and the ledger work beside it, sinks have backlogs.

mod steering;

use std::sync::Arc;
use std::time::Instant;

use ratchet_resilience::shutdown::Phase;

use super::arrival::{Arrival, Refused, RunInstant};
use super::arrivals::{Arrivals, NextStep, PullResult};
use super::cancelled::CancelReason;
use super::control::{PhaseChange, RunControl};
use super::delivery::{Delivery, EndedJob};
use super::dispatcher::ExpectedWork;
use super::ended_attempt::EndedAttempt;
use super::entry::JobEntry;
use super::execution::{Consequence, Execution};
use super::failed_groups::FailedGroups;
use super::intake::Intake;
use super::observers::{Observers, Turn};
use super::recording::OutgoingOutcome;
use super::resolver::Resolver;
use super::reuse::CacheAnswer;
use super::source::Batch;
use super::stop::Stopped;
use crate::dispatch::{Introduction, PoolKey, Report};
use crate::event::Event;
use crate::ids::KindId;
use crate::ids::{Ticket, WorkerName};
use crate::job::Job;
use crate::outcome::Failure;
use crate::process::Seats;

/// The most jobs that are taken in before reports are looked at again.
const JOBS: usize = 256;

/// The state of a run, divided among its owners.
///
/// A turn reads the clock of work once: all that happens in it happens at `now`.
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
    /// Tells when the cache has answered.
    pub(super) resolver: &'a mut Resolver,
    /// Tells when outcomes were recorded or taken.
    pub(super) delivery: &'a mut Delivery,
    /// Tells when jobs were submitted.
    pub(super) intake: &'a mut Intake,
    /// Whether there is room for more jobs.
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

    /// Tells of the beginning of the run. This comes before everything else.
    pub(super) fn begin(&mut self, now: Instant) {
        self.pass_time(now);
        let total = self.arrivals.total();
        self.emit(|| Event::RunStarted { total });
    }

    /// Begins a turn. The time until `now` is charged before anything changes.
    pub(super) fn pass_time(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.observers.pass_time(self.now);
        self.execution.dispatcher_mut().pass_time(self.now);
    }

    /// Takes note that the loop was to wake at `timer`, and has now.
    pub(super) fn note_wakeup(&mut self, timer: Instant) {
        self.control.note_wakeup(timer, self.now);
    }

    /// Does all that follows from what has come. Returns whether there is more to do at once.
    pub(super) fn turn(&mut self) -> bool {
        self.keep_time();
        self.arrivals
            .note_ended(self.delivery.tally().ended, self.now);
        self.take_in();
        self.release_dependents();
        self.check_failures();
        self.end_failed_groups();
        let was_clogged = self.delivery.has_untaken_outcomes();
        self.start_jobs(was_clogged);
        if self.control.may_start() {
            self.execution.dispatcher_mut().recall(self.now);
        }
        self.tell_demand();
        self.tell_breakers();
        let more_to_record = self.arrivals.living() > 0;
        self.delivery.record(more_to_record, self.now);
        self.take_recorded();
        self.delivery.send();
        self.observers.show(
            self.arrivals.total(),
            (self.arrivals.taken(), self.arrivals.living()),
            &self.execution.dispatcher().load(),
            self.delivery.tally(),
        );
        // What has left has made room, which nothing else will tell.
        let unclogged = was_clogged && !self.delivery.has_untaken_outcomes();
        let takes_in = self.has_room() || !self.control.is_running();
        unclogged || self.arrivals.has_unreleased() || (self.arrivals.has_more() && takes_in)
    }

    /// Whether no job is unfinished, no more jobs will come, and all outcomes are delivered.
    pub(super) fn is_over(&self) -> bool {
        let over = self.arrivals.is_exhausted() && self.arrivals.living() == 0;
        if over {
            self.observers.show_quiet();
        }
        over && self.delivery.is_idle()
    }

    /// Returns the moment at which the next turn is due, if nothing else brings it.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        if self.control.judges_from().is_some() {
            return self.control.judges_from();
        }
        let is_running = self.control.is_running();
        let may_start = self.control.may_start();
        [
            self.control.next_timer(),
            self.execution.next_timer(is_running, may_start),
            self.delivery.record_at(),
            self.enough_until().filter(|_| is_running),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Lends out the owners for whose news the loop waits.
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

    /// Lets what works beside the loop come to its end. Returns why the run stopped early, if it did.
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
        // A breaker that is still open has been so until now.
        observers.show_breakers(execution.dispatcher().breakers(now));
        observers.show_retries_refused(execution.retries_refused());
        // Pools are given up before the rest is waited for, so that another run can have them.
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
                "workers said more than could be listened to"
            );
        }
        arrivals.finish().await;
        delivery.finish().await;
        observers.finish(&tally, now).await;
        stopped
    }

    // Jobs come in.

    /// Takes jobs that were submitted, or ends the source where no more come.
    pub(super) fn received(&mut self, jobs: Option<Batch>) {
        self.arrivals.received(jobs);
    }

    /// Pulls jobs as far as there is room, but no more than a batch.
    fn take_in(&mut self) {
        for _ in 0..JOBS {
            // Those that were handed over have their outcomes, even if nothing is done any more.
            if self.control.is_running() && !self.has_room() {
                return;
            }
            match self.arrivals.pull(self.now) {
                PullResult::Job(arrival) => {
                    self.emit_of_job(|| Event::JobQueued {
                        id: arrival.job.id.clone(),
                        task: arrival.job.task_name().into(),
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

    /// Why a job is not queued, if the run stops or its group has failed.
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

    /// Returns until when there are jobs enough, if they end faster than more could be of use.
    fn enough_until(&self) -> Option<Instant> {
        let dispatcher = self.execution.dispatcher();
        let ahead = || dispatcher.room_ahead() as usize;
        self.arrivals
            .enough_until(dispatcher.ready(), ahead, self.now)
    }

    /// Returns this moment, by which the time is charged that jobs have waited outside of the queue.
    fn moment(&self) -> RunInstant {
        RunInstant {
            now: self.now,
            paused: self.execution.queue().time_paused(),
        }
    }

    /// Does the next step with a job that is not queued.
    fn take_step(&mut self, next: NextStep) {
        match next {
            NextStep::Enqueue(arrival, kind, share) => {
                let (dispatcher, kinds) = (self.execution.dispatcher_mut(), self.arrivals.kinds());
                if let Err(refused) = dispatcher.enqueue(arrival, kind, kinds, share, self.now) {
                    self.conclude(EndedJob::refused(*refused));
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

    /// Goes on with a job about which the cache has answered.
    pub(super) fn consulted(&mut self, consulted: CacheAnswer) {
        let (at, refusal) = (self.moment(), self.control.refusal());
        let next = NextStep::after_cache(consulted, at, refusal);
        self.take_step(next);
    }

    /// Goes on with jobs that need not be resolved any more, or that are to be looked at anew.
    fn proceed_all(&mut self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            let refusal = self.refusal(&arrival.job);
            let next = self.arrivals.proceed(arrival, refusal);
            self.take_step(next);
        }
    }

    /// Goes on with the jobs that waited for a kind that has introduced itself or is given up, or for a place.
    fn resolve_again(&mut self) {
        let unresolved = self.arrivals.take_unresolved(self.moment());
        self.proceed_all(unresolved);
    }

    /// Goes on with the jobs that needed one that has ended.
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

    /// Starts what may start, unless too many results wait to be taken.
    fn start_jobs(&mut self, has_untaken_outcomes: bool) {
        if !self.control.may_start() || has_untaken_outcomes {
            return self.execution.dispatcher_mut().start_nothing();
        }
        let turn = Turn {
            now: self.now,
            observers: &self.observers,
        };
        for (entry, failure) in self.execution.start_jobs(turn) {
            self.conclude(EndedJob::waited(entry, Box::new(failure)));
        }
    }

    /// Takes in the reports of one turn.
    pub(super) fn handle_reports(&mut self, reports: impl Iterator<Item = Report>) {
        reports.for_each(|report| self.handle_report(report));
        self.execution.dispatcher_mut().update_throughput();
    }

    /// Takes in what a performer or the supervisor reports.
    #[expect(
        clippy::too_many_lines,
        reason = "one short arm for each kind of report"
    )]
    pub(super) fn handle_report(&mut self, report: Report) {
        let turn = Turn {
            now: self.now,
            observers: &self.observers,
        };
        match report {
            Report::Ended {
                ticket,
                result,
                worker,
                ran,
                usage,
                next,
                provisional,
            } => {
                let attempted = EndedAttempt {
                    result,
                    worker,
                    ran,
                    usage,
                    began: None,
                    slot: None,
                    place: None,
                    provisional,
                };
                let consequence = self.execution.attempt_ended(ticket, attempted, next, turn);
                self.follow(ticket, consequence);
            }
            Report::Returned {
                ticket,
                next,
                withdrawn,
            } => {
                let execution = &mut self.execution;
                let consequence = execution.attempt_returned(ticket, next, withdrawn, turn);
                self.follow(ticket, consequence);
            }
            Report::Confirmed { ticket, in_doubt } => {
                let consequence = self.execution.confirmed(ticket, in_doubt, self.now);
                self.follow(ticket, consequence);
            }
            Report::Refuted { ticket, failure } => {
                let consequence = self.execution.refuted(ticket, failure, turn);
                self.follow(ticket, consequence);
            }
            Report::Cleared { worker } => self.execution.cleared(&worker),
            Report::OutOfStep { worker, reason } => self.out_of_step(worker, reason),
            Report::Step { ticket, step } => {
                if let Some(said) = self.execution.dispatcher_mut().said(ticket) {
                    said.step(&step);
                }
                // One that was given up may go on for a moment.
                if let Some(entry) = self.execution.queue().find(ticket) {
                    self.emit_of_job(|| Event::AttemptProgress {
                        id: entry.job.id.clone(),
                        done: step.done,
                        total: step.total,
                        message: step.message,
                    });
                }
            }
            Report::Log {
                ticket,
                worker,
                level,
                message,
            } => {
                let said = ticket.and_then(|ticket| self.execution.dispatcher_mut().said(ticket));
                if let Some(said) = said {
                    said.say(&message);
                }
                let entry = ticket.and_then(|ticket| self.execution.queue().find(ticket));
                let id = entry.map(|entry| entry.job.id.clone());
                self.emit_of_job(|| Event::Log {
                    id,
                    worker,
                    level,
                    message,
                });
            }
            Report::Offered { pool, offer } => {
                let now = self.now;
                self.change_seats(pool, |seats| seats.offered(offer, now));
            }
            Report::Withdrawn { pool, worker } => {
                self.change_seats(pool, |seats| seats.withdrawn(worker));
            }
            Report::Filter {
                pool,
                worker,
                change,
            } => self.change_seats(pool, |seats| seats.filter_changed(worker, change)),
            Report::Proven { pool, worker } => self
                .execution
                .dispatcher_mut()
                .proven(pool, worker, self.now),
            Report::DemandWanted { pool } => self.tell_demand_again(pool),
            Report::Place { place, slots } => {
                self.execution.dispatcher_mut().place_changed(place, slots);
                self.end_unstartable();
                // The platform of the place may be known now.
                self.resolve_again();
            }
            Report::RoundTrip { place, round_trip } => self
                .execution
                .dispatcher_mut()
                .set_round_trip(place, round_trip),
            Report::Introduced {
                kind,
                version,
                tasks,
            } => self.kind_introduced(kind, version, tasks),
            Report::Broken { pool, failure } => self.pool_broke(pool, &failure),
            #[expect(
                clippy::panic,
                reason = "attempts are lost, so the run can never come to its end; a panic of the loop ends it as broken"
            )]
            Report::ConnectionBroke { worker, reason } => {
                panic!("the connection to worker {worker} broke: {reason}")
            }
            Report::Worker(news) => self.emit(|| Event::Worker(news)),
        }
    }

    /// Changes which seats a pool has.
    fn change_seats(&mut self, pool: PoolKey, change: impl FnOnce(&mut Seats)) {
        self.execution.dispatcher_mut().change_seats(pool, change);
    }

    /// Does with a job what the end or the return of its attempt means for it.
    fn follow(&mut self, ticket: Ticket, consequence: Consequence) {
        match consequence {
            Consequence::Ends(entry, attempted) => self.end(entry, attempted),
            Consequence::WaitsAgain => {
                let cancelled = self.execution.cancelled(ticket);
                let refusal = cancelled.map(CancelReason::before_start);
                if let Some(failure) = refusal.or_else(|| self.control.refusal()) {
                    let entry = self.execution.dispatcher_mut().cancel(ticket, self.now);
                    self.conclude(EndedJob::waited(entry, Box::new(failure)));
                }
            }
            Consequence::Nothing => {}
        }
    }

    /// Queues the jobs again whose answers were refuted, when their time has come.
    fn retry_refuted(&mut self) {
        loop {
            let kinds = self.arrivals.kinds();
            let Some((entry, failure)) = self.execution.retry_refuted(kinds, self.now) else {
                return;
            };
            self.end(entry, EndedAttempt::none(failure));
        }
    }

    /// Marks the jobs as suspect whose results this worker has given since its answers were last confirmed.
    fn out_of_step(&mut self, worker: WorkerName, reason: String) {
        let Some(suspects) = self.execution.out_of_step(&worker) else {
            return;
        };
        let ids = suspects.ids;
        self.arrivals.withdraw(suspects.cached);
        self.observers.show_suspects(&ids);
        self.delivery.suspect(&ids);
        self.emit(|| Event::JobsSuspect {
            ids,
            worker,
            reason,
        });
    }

    // Kinds of worker say what they do.

    /// Goes on with the jobs of a kind that has introduced itself, or has shown that it does not.
    fn kind_introduced(
        &mut self,
        kind: KindId,
        version: Option<String>,
        tasks: Option<Vec<Introduction>>,
    ) {
        let unbound = self.execution.unbound(kind, self.arrivals.kinds());
        if self.arrivals.introduced(kind, version, tasks) {
            let kinds = self.arrivals.kinds();
            let too_late = self.execution.count_bound(&unbound, kinds);
            if too_late > 0 {
                tracing::warn!(
                    worker = kinds.name(kind),
                    jobs = too_late,
                    "a worker declared hints only after jobs had been given out, which run without \
                     them; `handshake: required` or a longer `handshake_wait` has jobs wait for its hello"
                );
            }
            // Their hints, their tasks and the cache may mean something else by now. All are out before the first is
            // back, or it would be bound by what those behind it declared.
            let untried = self.execution.take_untried(kind, self.now);
            self.proceed_all(untried);
        }
        self.resolve_again();
    }

    /// Ends the jobs that wait for a pool that has no workers any more, and could be given to no other.
    fn pool_broke(&mut self, pool: PoolKey, failure: &Failure) {
        let is_last = self.execution.dispatcher_mut().pool_broke(pool, failure);
        if !is_last {
            return self.end_unstartable();
        }
        self.arrivals.broke(pool.kind, failure.clone());
        for entry in self.execution.cancel_waiting_for(pool.kind, self.now) {
            self.conclude(EndedJob::waited(entry, Box::new(failure.clone())));
        }
        self.resolve_again();
    }

    /// Ends the jobs that can run nowhere any more.
    fn end_unstartable(&mut self) {
        for (ticket, failure) in self.execution.dispatcher().unstartable() {
            let entry = self.execution.dispatcher_mut().cancel(ticket, self.now);
            self.conclude(EndedJob::waited(entry, Box::new(failure)));
        }
    }

    // Jobs end.

    /// Ends a job that has left the queue, with what its last attempt came to.
    fn end(&mut self, mut entry: JobEntry, attempted: EndedAttempt) {
        // Without a result the right to store one passes to whoever waits for it.
        if let (Some(share), Ok(payload)) = (entry.share.take(), &attempted.result) {
            let (worker, place) = (attempted.worker.clone(), attempted.place.as_ref());
            self.arrivals.store(*share, payload, worker, place);
        }
        self.conclude(EndedJob::attempted(entry, attempted));
    }

    /// Makes the outcome of a job and sends it on its way. Every job comes here once.
    fn conclude(&mut self, done: EndedJob) {
        self.arrivals.concluded(&done.job);
        match &done.result {
            Ok(payload) => done.job.give_output(payload),
            Err(failure) => self.groups.failed(&done.job, failure.class),
        }
        let awaited = self.arrivals.awaits(&done.job.id);
        let wall = self.observers.wall();
        if let Some(leaving) = self.delivery.conclude(done, awaited, self.now, wall) {
            self.leave(leaving);
        }
    }

    /// Delivers a final outcome and releases its dependents. It has to be recorded first, or a run that is
    /// resumed would repeat a job on whose result others already depend.
    fn leave(&mut self, leaving: OutgoingOutcome) {
        let OutgoingOutcome {
            position,
            outcome,
            nameless,
        } = leaving;
        if !nameless {
            self.arrivals.ended(&outcome.id, outcome.is_success());
        }
        self.emit_of_job(|| Event::JobEnded {
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

    // The run stops.

    /// Does what became due by the clock.
    fn keep_time(&mut self) {
        let now = self.now;
        if !self.control.may_judge_deadlines(now) {
            return;
        }
        self.retry_refuted();
        while let Some(entry) = self.execution.dispatcher_mut().cancel_past_deadline(now) {
            let failure = Box::new(entry.queue_timeout_failure());
            self.conclude(EndedJob::waited(entry, failure));
        }
        while let Some(entry) = self.execution.dispatcher_mut().pop_slow(now) {
            let event = Event::JobSlow {
                id: entry.job.id.clone(),
                item: entry.job.item.as_ref().map(|item| item.name.clone()),
                attempt: entry.attempts,
                after_ms: u64::try_from(entry.in_state_for(now).as_millis()).unwrap_or(u64::MAX),
            };
            self.observers.show_slow();
            self.emit(|| event);
        }
        if self.control.is_past_deadline(now) {
            self.stop(Phase::Cancelling, Stopped::Deadline);
        }
        match self.control.poll(now) {
            Some(PhaseChange::TimeIsOver) => self.give_up(),
            Some(PhaseChange::Entered(phase)) => self.enter_phase(phase),
            None => {}
        }
    }

    /// Stops the run when too many jobs have failed.
    fn check_failures(&mut self) {
        let (tally, total) = (self.delivery.tally(), self.arrivals.total());
        if let Some((phase, why)) = self.control.broken_rule(tally, total) {
            self.stop(phase, why);
        }
    }

    /// Goes over to a later phase; nothing happens in one that is as late.
    pub(super) fn stop(&mut self, phase: Phase, why: Stopped) {
        if let Some(phase) = self.control.stop(phase, why, self.now) {
            self.enter_phase(phase);
        }
    }

    /// Does what a phase begins with: nothing is retried or queued any more, what waits ends, and what runs is stopped
    /// as the phase says.
    fn enter_phase(&mut self, phase: Phase) {
        let reason = self.control.reason();
        self.observers.show_phase(phase, reason, self.now);
        self.execution.end_retries();
        self.arrivals.close();
        self.end_all_waiting();
        self.execution
            .dispatcher_mut()
            .stop_all(self.control.stop_of_phase());
    }

    /// Ends all jobs that have not started, wherever they wait.
    fn end_all_waiting(&mut self) {
        let Some(failure) = self.control.refusal() else {
            return;
        };
        for (entry, failure) in self.execution.give_up_retries(&failure, self.now) {
            self.end(entry, EndedAttempt::none(failure));
        }
        for arrival in self.arrivals.give_up(self.moment()) {
            self.conclude(EndedJob::refused(Refused::new(arrival, failure.clone())));
        }
        for (entry, failure) in self.execution.cancel_all_waiting(&failure, self.now) {
            self.conclude(EndedJob::waited(entry, failure));
        }
    }

    /// Gives an outcome to all jobs that have not ended although they were killed.
    fn give_up(&mut self) {
        for (entry, attempted) in self.execution.give_up(self.now) {
            self.end(entry, attempted);
        }
    }

    // Others are told.

    /// Tells sinks of an event of a single job.
    fn emit_of_job(&self, event: impl FnOnce() -> Event) {
        self.observers.emit_of_job(self.now, event);
    }

    /// Tells sinks of an event.
    fn emit(&self, event: impl FnOnce() -> Event) {
        self.observers.emit(self.now, event);
    }

    /// Tells why nothing starts, or that things start again.
    fn tell_admission(&self) {
        let held = self.control.held().map(str::to_owned);
        let held = held.or_else(|| self.control.is_paused().then(|| "paused".to_owned()));
        let is_paused = self.control.is_paused();
        self.observers.show_admission(held, is_paused, self.now);
    }

    /// Returns what the run expects of the rest of its jobs.
    fn outlook(&self) -> ExpectedWork {
        let settled = self.execution.queued_or_held();
        ExpectedWork {
            phase: self.control.phase(),
            may_come: !self.arrivals.is_exhausted() || self.arrivals.living() > settled,
        }
    }

    /// Tells pools how much work is left for them.
    fn tell_demand(&mut self) {
        let (outlook, arrivals) = (self.outlook(), &self.arrivals);
        self.execution
            .dispatcher_mut()
            .tell_demand(outlook, |kind| arrivals.unresolved_for(kind));
    }

    /// Tells a pool that has asked how much work is left for it.
    fn tell_demand_again(&mut self, pool: PoolKey) {
        let unresolved = self.arrivals.unresolved_for(pool.kind);
        let outlook = self.outlook();
        self.execution
            .dispatcher_mut()
            .tell_demand_again(pool, outlook, unresolved);
    }

    /// Tells of the breakers that have changed.
    fn tell_breakers(&mut self) {
        let changed = self.execution.dispatcher_mut().changed_breakers();
        if changed.is_empty() {
            return;
        }
        for report in changed {
            self.emit(|| Event::BreakerChanged(report));
        }
        self.observers
            .show_breakers(self.execution.dispatcher().breakers(self.now));
    }
}
