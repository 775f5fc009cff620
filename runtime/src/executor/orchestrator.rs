//! The loop: one task that passes on what the owners of a run say to each other.
//!
//! ```text
//! Intake -> Resolver -> Dispatcher -----> performers
//!  ^   names, needs       queue, seats      |
//!  |                          ^             | reports
//!  |                          +-- retry ----+
//!  |                                        v
//!  +---- who needed it ---- Delivery <-- outcome
//!                             |  ledger, order
//!                             v
//!                            Run
//! ```
//!
//! Each owner has private state and decides alone: [`Intake`] which jobs there are and which wait for which, [`Resolver`]
//! who does a job and whether its result is there already, [`Dispatcher`] what starts where, [`Provisional`] which results
//! may yet prove wrong, [`Delivery`] how outcomes leave, [`RunControl`] whether the run goes on. None of them knows another.
//!
//! The loop waits for the first of many things, does all that follows from it in one turn, and waits again. A
//! turn reads the clock of work once. Nothing in it waits for anybody: performers report, the cache and the ledger work
//! beside it, sinks have backlogs.

use std::sync::Arc;
use std::time::Instant;

use ratchet_resilience::shutdown::Phase;
use tokio::sync::mpsc;

use super::arrival::{Arrival, Refused};
use super::attempted::Attempted;
use super::control::{PhaseChange, RunControl};
use super::delivery::{Delivery, Done};
use super::dispatcher::{Dispatcher, Settled, tell_retry};
use super::entry::{Entry, State};
use super::in_hand::OnTheWayOut;
use super::intake::{Admitted, Intake};
use super::observers::{Observers, Turn};
use super::orders::RunOrder;
use super::provisional::Provisional;
use super::recording::Leaving;
use super::resolver::{Resolution, Resolver};
use super::retries::Retries;
use super::reuse::{Consulted, Found, Share};
use super::snapshot::Snapshot;
use super::source::Pulled;
use super::stop::Stopped;
use crate::dispatch::{Introduction, Report, Reporter, Reports};
use crate::event::Event;
use crate::ids::{Ticket, WorkerName};
use crate::job::{Job, Work};
use crate::outcome::{AttemptEnd, Class, Failure};
use crate::scheduling::{Blocker, End, Kind, ParallelizationHint};
use crate::suspension::{system_time_of, working_now};

/// How many reports are taken in one turn: enough that a turn's fixed cost is nothing beside them, few enough
/// that what they free starts again at once.
const REPORTS: usize = 1024;

/// How many jobs are taken in before reports are looked at again.
const JOBS: usize = 256;

/// What a loop is made of.
pub(super) struct Orchestrator {
    pub(super) now: Instant,
    pub(super) intake: Intake,
    pub(super) resolver: Resolver,
    pub(super) dispatcher: Dispatcher,
    pub(super) retries: Retries,
    pub(super) provisional: Provisional,
    pub(super) delivery: Delivery,
    pub(super) control: RunControl,
    pub(super) observers: Observers,
    pub(super) channels: Channels,
}

/// What a loop hears.
pub(super) struct Channels {
    pub(super) orders: mpsc::UnboundedReceiver<RunOrder>,
    pub(super) reports: Reports,
    /// Kept, so that there is always somebody who could report.
    pub(super) reporter: Reporter,
}

/// What the loop waited for.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart at once, and a box would be an allocation a job"
)]
enum Heard {
    Order(Option<RunOrder>),
    Reports,
    Talk(Option<Report>),
    Consulted(Option<Consulted>),
    Delivery,
    Jobs(Option<Vec<Arc<Job>>>),
    Time,
    Nothing,
}

impl Orchestrator {
    /// Runs until every job has its outcome, and everybody has it who waits for it.
    pub(super) async fn run(mut self) -> Option<Stopped> {
        self.pass_time();
        let total = self.intake.total();
        self.tell(|| Event::RunStarted { total });
        // What was ordered before the first turn counts in it.
        while let Ok(order) = self.channels.orders.try_recv() {
            self.obey(order);
        }
        let mut news = Vec::with_capacity(REPORTS);
        let sleep = tokio::time::sleep_until(tokio::time::Instant::now());
        let mut sleep = std::pin::pin!(sleep);
        let mut heard_of_timer = None;
        loop {
            let more = self.turn();
            if self.is_over() {
                break;
            }
            let timer = self.next_timer();
            if timer != heard_of_timer {
                if let Some(timer) = timer {
                    sleep.as_mut().reset(system_time_of(timer).into());
                }
                heard_of_timer = timer;
            }
            let room_left = self.has_room();
            let Channels {
                orders, reports, ..
            } = &mut self.channels;
            let heard = tokio::select! {
                biased;
                order = orders.recv() => Heard::Order(order),
                _ = reports.news.recv_many(&mut news, REPORTS) => Heard::Reports,
                consulted = self.resolver.consulted(), if !self.resolver.is_idle() => {
                    Heard::Consulted(consulted)
                }
                () = self.delivery.changed() => Heard::Delivery,
                () = &mut sleep, if timer.is_some() => Heard::Time,
                talk = reports.talk.recv() => Heard::Talk(talk),
                jobs = self.intake.submitted(), if room_left => Heard::Jobs(jobs),
                () = tokio::task::yield_now(), if more => Heard::Nothing,
            };
            self.pass_time();
            if let Some(timer) = timer {
                self.control.woke(timer, self.now);
            }
            match heard {
                Heard::Order(Some(order)) => self.obey(order),
                // Nobody can order anything any more.
                Heard::Order(None) => self.stop(Phase::Killing, Stopped::Asked),
                Heard::Reports => {
                    news.drain(..).for_each(|report| self.hear(report));
                    self.dispatcher.learn();
                }
                Heard::Talk(Some(report)) => self.hear(report),
                Heard::Consulted(Some(consulted)) => self.consulted(consulted),
                Heard::Delivery => self.take_recorded(),
                Heard::Jobs(jobs) => self.intake.received(jobs),
                // The timer is set anew: it rings too early if the clock of work stood still meanwhile.
                Heard::Time => heard_of_timer = None,
                Heard::Consulted(None) | Heard::Talk(None) | Heard::Nothing => {}
            }
        }
        self.finish().await
    }

    /// The clock is read once a turn, before anything changes.
    fn pass_time(&mut self) {
        self.now = self.now.max(working_now());
        self.observers.pass_time(self.now);
        self.dispatcher.pass_time(self.now);
    }

    /// All that follows from what has come. Says whether there is more to do at once.
    fn turn(&mut self) -> bool {
        self.keep_time();
        self.intake
            .note_ended(self.delivery.tally().ended, self.now);
        self.take_in();
        self.release_dependents();
        self.check_failures();
        let was_clogged = self.delivery.is_clogged();
        self.start_jobs(was_clogged);
        if self.control.may_start() {
            self.dispatcher.recall(self.now);
        }
        self.tell_demand();
        self.tell_breakers();
        let more_to_record = self.intake.living() > 0;
        self.delivery.record(more_to_record, self.now);
        self.take_recorded();
        self.delivery.send();
        self.observers.show(
            self.intake.taken(),
            self.intake.living(),
            &self.dispatcher.load(),
            self.delivery.tally(),
        );
        // What has left has made room, which nothing else will tell.
        let unclogged = was_clogged && !self.delivery.is_clogged();
        let takes_in = self.has_room() || !self.control.is_running();
        unclogged || self.intake.has_unreleased() || (self.intake.has_more() && takes_in)
    }

    /// Nothing lives, nothing comes, nothing is on its way.
    fn is_over(&self) -> bool {
        let over = self.intake.is_dry() && self.intake.living() == 0;
        if over {
            self.observers.show_quiet();
        }
        over && self.delivery.is_idle()
    }

    /// Lets what works beside the loop come to its end, and says why the run stopped early, if it did.
    async fn finish(self) -> Option<Stopped> {
        let Self {
            now,
            intake,
            resolver,
            dispatcher,
            retries,
            delivery,
            control,
            observers,
            channels,
            ..
        } = self;
        // A breaker that is still open has been so until now.
        observers.show_breakers(dispatcher.breakers(now));
        observers.show_retries_refused(retries.refused());
        drop(dispatcher);
        let tally = *delivery.tally();
        let mut stopped = control.into_stopped();
        if tally.ended != intake.taken() {
            let reason = format!(
                "{} jobs have no outcome",
                intake.taken().abs_diff(tally.ended)
            );
            stopped = Some(Stopped::Broken { reason });
        }
        let dropped = channels.reporter.dropped();
        if dropped > 0 {
            tracing::warn!(dropped, "workers said more than could be listened to");
        }
        resolver.finish().await;
        delivery.finish().await;
        observers.finish(&tally, now).await;
        stopped
    }

    fn next_timer(&self) -> Option<Instant> {
        if self.control.judges_from().is_some() {
            return self.control.judges_from();
        }
        let is_running = self.control.is_running();
        [
            self.control.next_timer(),
            self.dispatcher.wake().filter(|_| is_running),
            self.dispatcher.next_impatience(),
            self.dispatcher.recall_at().filter(|_| self.may_recall()),
            self.delivery.record_at(),
            self.enough_until().filter(|_| is_running),
            self.provisional.next_retry(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    // Jobs come in.

    /// Pulls jobs as far as there is room, but no more than a batch.
    fn take_in(&mut self) {
        for _ in 0..JOBS {
            // Those that were handed over have their outcomes, even if nothing is done any more.
            if self.control.is_running() && !self.has_room() {
                return;
            }
            match self.intake.pull() {
                Pulled::Job { place, job } => {
                    let arrival = self.intake.arrive(place, job, self.now);
                    self.tell(|| Event::JobQueued {
                        id: arrival.job.id.clone(),
                        task: arrival.job.task_name().into(),
                    });
                    let admitted = self.intake.admit(arrival);
                    self.go_on(admitted);
                }
                Pulled::Nothing | Pulled::Dry => return,
                Pulled::Panicked(reason) => {
                    return self.stop(Phase::Draining, Stopped::Source { reason });
                }
            }
        }
    }

    /// Whether another job may be taken in.
    fn has_room(&self) -> bool {
        let is_known = self.intake.total().is_some();
        let out = self.delivery.on_the_way_out(is_known);
        let out = OnTheWayOut {
            outcomes: out.outcomes + self.resolver.storing(),
            ..out
        };
        self.intake.has_room(out) && self.enough_until().is_none()
    }

    /// Until when there are jobs enough, if they end faster than more could be of use.
    fn enough_until(&self) -> Option<Instant> {
        let (ready, ahead) = (self.dispatcher.ready(), self.dispatcher.room_ahead());
        self.intake.enough_until(ready, ahead as usize, self.now)
    }

    /// Goes on with a job as its needs allow.
    fn go_on(&mut self, admitted: Admitted) {
        match admitted {
            Admitted::Clear(mut arrival) => {
                self.waited_for(&mut arrival, Blocker::Needs);
                self.proceed(arrival);
            }
            Admitted::Waits => {}
            Admitted::Refused(mut refused) => {
                self.waited_for(&mut refused.arrival, Blocker::Needs);
                self.refuse(refused);
            }
        }
    }

    /// A job has waited for this until now.
    fn waited_for(&self, arrival: &mut Arrival, blocker: Blocker) {
        let paused = self.dispatcher.queue().time_paused();
        arrival.times.waited_for(blocker, self.now, paused);
    }

    /// Goes on with a job that needs nobody any more.
    fn proceed(&mut self, arrival: Arrival) {
        if let Work::Ended(outcome) = &arrival.job.work {
            let leaving = self.delivery.pass_on(&arrival, Arc::clone(outcome));
            self.intake.concluded(&arrival.job);
            return self.leave(leaving);
        }
        if let Some(failure) = self.control.refusal() {
            return self.refuse(Refused::new(arrival, failure));
        }
        match self.resolver.resolve(arrival) {
            Resolution::Ready(arrival, kind) => self.enqueue(arrival, kind, None),
            Resolution::Later => {}
            Resolution::Refused(refused) => self.refuse(refused),
        }
    }

    /// The cache has answered.
    fn consulted(&mut self, consulted: Consulted) {
        let Consulted {
            mut arrival,
            kind,
            found,
        } = consulted;
        self.waited_for(&mut arrival, Blocker::Cache);
        match found {
            Found::Result(payload) => self.conclude(Done {
                cached: true,
                ..Done::unqueued(arrival, Ok(payload))
            }),
            Found::Share(share) => self.enqueue(arrival, kind, Some(share)),
            Found::Nothing => self.enqueue(arrival, kind, None),
            Found::Refused(failure) => self.refuse(Refused::new(arrival, failure)),
        }
    }

    fn enqueue(&mut self, arrival: Arrival, kind: Kind, share: Option<Box<Share>>) {
        if let Some(failure) = self.control.refusal() {
            return self.refuse(Refused::new(arrival, failure));
        }
        let (dispatcher, kinds) = (&mut self.dispatcher, self.resolver.kinds());
        if let Err(refused) = dispatcher.enqueue(arrival, kind, kinds, share, self.now) {
            self.refuse(*refused);
        }
    }

    /// A kind has introduced itself or is given up: some of those that waited for that can go on.
    fn resolve_again(&mut self) {
        for mut arrival in self.resolver.take_unresolved() {
            self.waited_for(&mut arrival, Blocker::Worker);
            self.proceed(arrival);
        }
    }

    /// Jobs that needed one that has ended can go on, or cannot.
    fn release_dependents(&mut self) {
        while let Some(released) = self.intake.release() {
            released.for_each(|admitted| self.go_on(admitted));
        }
    }

    // Attempts begin and end.

    fn start_jobs(&mut self, is_clogged: bool) {
        if !self.control.may_start() || is_clogged {
            return self.dispatcher.start_nothing();
        }
        let turn = Turn {
            now: self.now,
            observers: &self.observers,
        };
        for ticket in self.dispatcher.start_jobs(turn) {
            let failure = self
                .dispatcher
                .rejected(ticket, &mut self.retries, self.now);
            if let Some(failure) = failure {
                self.end_waiting(ticket, failure);
            }
        }
    }

    /// Whether what is asked back from a busy worker could begin on an idle one.
    fn may_recall(&self) -> bool {
        self.control.may_start() && self.dispatcher.has_free_slots()
    }

    /// Whoever works has something to say.
    fn hear(&mut self, report: Report) {
        match report {
            Report::Ended {
                ticket,
                result,
                worker,
                ran,
                next,
                provisional,
            } => {
                let attempted = Attempted {
                    result,
                    worker,
                    ran,
                    began: None,
                    slot: None,
                    provisional,
                };
                self.attempt_ended(ticket, attempted, next);
            }
            Report::Confirmed { ticket, in_doubt } => {
                if let Some((mut entry, attempted)) = self.provisional.confirm(ticket, in_doubt) {
                    entry.was_held(self.now);
                    self.end(entry, attempted);
                }
            }
            Report::Refuted { ticket, failure } => self.refuted(ticket, failure),
            Report::Cleared { worker } => self.provisional.cleared(&worker),
            Report::OutOfStep { worker, reason } => self.out_of_step(worker, reason),
            Report::Filter { kind, worker, news } => {
                self.dispatcher
                    .change_seats(kind, |seats| seats.filter_changed(worker, news));
            }
            Report::Returned {
                ticket,
                next,
                withdrawn,
            } => self.returned(ticket, next, withdrawn),
            Report::Step { ticket, step } => {
                // One that was given up may go on for a moment.
                if let Some(entry) = self.dispatcher.queue().find(ticket) {
                    self.tell(|| Event::AttemptProgress {
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
                let entry = ticket.and_then(|ticket| self.dispatcher.queue().find(ticket));
                let id = entry.map(|entry| entry.job.id.clone());
                self.tell(|| Event::Log {
                    id,
                    worker,
                    level,
                    message,
                });
            }
            Report::Offered { kind, offer } => {
                let now = self.now;
                self.dispatcher
                    .change_seats(kind, |seats| seats.offered(offer, now));
            }
            Report::Proven { kind, worker } => self.dispatcher.proven(kind, worker, self.now),
            Report::Withdrawn { kind, worker } => {
                self.dispatcher
                    .change_seats(kind, |seats| seats.withdrawn(worker));
            }
            Report::DemandWanted { kind } => {
                let (phase, comes) = (self.control.phase(), self.may_come());
                let unresolved = self.resolver.unresolved_for(kind);
                self.dispatcher
                    .tell_demand_again(kind, phase, comes, unresolved);
            }
            Report::Introduced {
                kind,
                version,
                tasks,
            } => self.kind_introduced(kind, version, tasks),
            Report::Broken { kind, failure } => self.kind_broke(kind, &failure),
            Report::Worker(news) => self.tell(|| Event::Worker(news)),
        }
    }

    fn attempt_ended(&mut self, ticket: Ticket, attempted: Attempted, next: Option<Ticket>) {
        let turn = Turn {
            now: self.now,
            observers: &self.observers,
        };
        let settled = self
            .dispatcher
            .ended(ticket, attempted, next, &mut self.retries, turn);
        match settled {
            Settled::Ended(entry, attempted) => self.end(entry, attempted),
            Settled::Provisional(mut entry, attempted) => {
                entry.since = self.now;
                self.provisional.hold(entry, attempted);
            }
            Settled::Returned => self.refuse_returned(ticket),
            Settled::Again | Settled::Unknown => {}
        }
    }

    /// An attempt comes back that never began. One that lay ahead may have begun in its place.
    fn returned(&mut self, ticket: Ticket, next: Option<Ticket>, withdrawn: bool) {
        let turn = Turn {
            now: self.now,
            observers: &self.observers,
        };
        if self.dispatcher.returned(ticket, next, withdrawn, turn) {
            self.refuse_returned(ticket);
        }
    }

    /// A job waits again that was given out already; it ends if nothing starts any more.
    fn refuse_returned(&mut self, ticket: Ticket) {
        if let Some(failure) = self.control.refusal() {
            self.end_waiting(ticket, failure);
        }
    }

    /// The answer to a job proved to be that to something else.
    fn refuted(&mut self, ticket: Ticket, mut failure: Box<Failure>) {
        let Some((mut entry, attempted)) = self.provisional.refute(ticket) else {
            return; // It was given up and has its outcome already.
        };
        entry.was_held(self.now);
        match self.retries.judge(&mut entry, &mut failure, self.now) {
            End::Over => {
                let result = Err(failure);
                self.end(
                    entry,
                    Attempted {
                        result,
                        ..attempted
                    },
                );
            }
            End::Again(when) => {
                let turn = Turn {
                    now: self.now,
                    observers: &self.observers,
                };
                tell_retry(&entry, &failure, when, turn);
                let end = AttemptEnd::Failed(failure.class);
                let detail = attempted.detail(entry.attempts, end, self.observers.wall());
                entry.times.push(detail);
                self.provisional.retry_at(when, entry, failure, self.now);
            }
        }
    }

    /// Jobs whose answers were refuted go into the queue again when their time has come.
    fn retry_refuted(&mut self) {
        while let Some(mut entry) = self.provisional.pop_retry(self.now) {
            let waited = self.now.saturating_duration_since(entry.since);
            entry.times.waits.add(Blocker::Retry, waited);
            entry.since = self.now;
            if let Err((entry, failure)) = self.enqueue_again(entry) {
                self.end_refuted(*entry, failure);
            }
        }
    }

    /// Takes a job into the queue again after its answer was refuted, or says why not.
    fn enqueue_again(&mut self, entry: Entry) -> Result<(), (Box<Entry>, Failure)> {
        let kinds = self.resolver.kinds();
        // Its worker may be gone for good by now.
        if let Err(failure) = kinds.check(&entry.job) {
            return Err((Box::new(entry), failure));
        }
        self.dispatcher.enqueue_again(entry, kinds, self.now)
    }

    /// A job that was to be tried again ends without that.
    fn end_refuted(&mut self, mut entry: Entry, failure: Failure) {
        let waited = self.now.saturating_duration_since(entry.since);
        entry.times.waits.add(Blocker::Retry, waited);
        // What it came to last says more than why it is not tried again.
        let failure = entry.failure.take().unwrap_or_else(|| Box::new(failure));
        self.end(entry, Attempted::none(failure));
    }

    /// What this worker has answered since it was last beyond doubt may be the answers to other jobs.
    fn out_of_step(&mut self, worker: WorkerName, reason: String) {
        let Some(suspects) = self.provisional.out_of_step(&worker) else {
            return;
        };
        let ids = suspects.ids;
        self.resolver.withdraw(suspects.cached);
        self.observers.show_suspects(&ids);
        self.delivery.suspect(&ids);
        self.tell(|| Event::JobsSuspect {
            ids,
            worker,
            reason,
        });
    }

    // Kinds of worker say what they do.

    /// A kind has introduced itself, or has shown that it does not.
    fn kind_introduced(
        &mut self,
        kind: Kind,
        version: Option<String>,
        tasks: Option<Vec<Introduction>>,
    ) {
        let unbound = self.unbound(kind);
        if self.resolver.introduced(kind, version, tasks) {
            let bound = |ticket: &&Ticket| {
                let entry = self.dispatcher.queue().find(**ticket);
                entry.is_some_and(|entry| !self.is_unbound(entry))
            };
            let too_late = unbound.iter().filter(bound).count();
            if too_late > 0 {
                tracing::warn!(
                    worker = self.resolver.kinds().name(kind),
                    jobs = too_late,
                    "a worker declared hints only after jobs had been given out, which run without \
                     them; `handshake: required` or a longer `handshake_wait` has jobs wait for its hello"
                );
            }
            self.queue_anew(kind);
        }
        self.resolve_again();
    }

    /// Jobs of a kind that are with its workers and that no hint binds, if its workers may still declare one.
    fn unbound(&self, kind: Kind) -> Vec<Ticket> {
        if !self.resolver.kinds().is_guessed(kind) {
            return Vec::new();
        }
        let queue = self.dispatcher.queue();
        queue.tickets(|entry| entry.kind == kind && !entry.is_at_start() && self.is_unbound(entry))
    }

    fn is_unbound(&self, entry: &Entry) -> bool {
        let hint = self.resolver.kinds().hint(&entry.job);
        hint.is_ok_and(|hint| *hint == ParallelizationHint::FullyParallel)
    }

    /// Takes the jobs of a kind that were never given to a worker out of the queue, and looks at them anew in the
    /// order in which they came: their hints, their tasks and the cache may mean something else by now.
    fn queue_anew(&mut self, kind: Kind) {
        let queue = self.dispatcher.queue();
        let mut waiting = queue.tickets(|entry| entry.kind == kind && entry.is_at_start());
        waiting.sort_unstable_by_key(|ticket| queue.get(*ticket).place);
        // All are out before the first is back, or it would be bound by what those behind it declared.
        let cancelled = waiting
            .into_iter()
            .map(|ticket| self.dispatcher.cancel(ticket, self.now));
        let taken: Vec<Entry> = cancelled.collect();
        let paused = self.dispatcher.queue().time_paused();
        for mut entry in taken {
            entry.times.go_on(self.now, paused);
            // Its right to store a result goes to whoever asked for the same.
            self.proceed(entry.into_arrival());
        }
    }

    /// A kind of worker is not to be had any more, so those that wait for it wait in vain.
    fn kind_broke(&mut self, kind: Kind, failure: &Failure) {
        self.resolver.broke(kind, failure.clone());
        let queue = self.dispatcher.queue();
        let waiting = queue.tickets(|entry| entry.kind == kind && entry.state == State::Waiting);
        for ticket in waiting {
            self.end_waiting(ticket, failure.clone());
        }
        self.resolve_again();
    }

    // Jobs end.

    /// A job that was never queued ends.
    fn refuse(&mut self, refused: Refused) {
        self.conclude(Done::refused(refused));
    }

    /// A job that has left the queue ends with what its last attempt came to.
    fn end(&mut self, mut entry: Entry, attempted: Attempted) {
        // Without a result the right to store one passes to whoever waits for it.
        if let (Some(share), Ok(payload)) = (entry.share.take(), &attempted.result) {
            self.resolver
                .store(*share, payload, attempted.worker.clone());
        }
        self.conclude(Done::attempted(entry, attempted));
    }

    /// A job that waits in the queue ends.
    fn end_waiting(&mut self, ticket: Ticket, failure: Failure) {
        let entry = self.dispatcher.cancel(ticket, self.now);
        self.conclude(Done::waited(entry, Box::new(failure)));
    }

    /// Every job comes here once: its outcome is made, and is on its way.
    fn conclude(&mut self, done: Done) {
        self.intake.concluded(&done.job);
        let awaited = self.intake.awaits(&done.job.id);
        let wall = self.observers.wall();
        if let Some(leaving) = self.delivery.conclude(done, awaited, self.now, wall) {
            self.leave(leaving);
        }
    }

    /// An outcome is final: it may be heard of, and who needed it may go on. Not before it is recorded, or a run that is
    /// taken up again would do a job once more upon which others have built already.
    fn leave(&mut self, leaving: Leaving) {
        let Leaving {
            place,
            outcome,
            nameless,
        } = leaving;
        if !nameless {
            self.intake.ended(&outcome.id, outcome.is_success());
        }
        self.tell(|| Event::JobEnded {
            outcome: Arc::clone(&outcome),
        });
        self.delivery.push(place, outcome);
    }

    /// What the ledger has taken note of may be heard of.
    fn take_recorded(&mut self) {
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
        if !self.control.judges(now) {
            return;
        }
        self.retry_refuted();
        while let Some(entry) = self.dispatcher.cancel_impatient(now) {
            let failure = Box::new(entry.impatience());
            self.conclude(Done::waited(entry, failure));
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
        let (tally, total) = (self.delivery.tally(), self.intake.total());
        if let Some((phase, why)) = self.control.broken_rule(tally, total) {
            self.stop(phase, why);
        }
    }

    fn obey(&mut self, order: RunOrder) {
        match order {
            RunOrder::Stop(phase) => self.stop(phase, Stopped::Asked),
            RunOrder::Hold(reason) => {
                self.dispatcher.set_held(reason.is_some());
                self.control.hold(reason);
                self.tell_admission();
            }
            RunOrder::Pause(is_paused) => {
                self.dispatcher.set_paused(is_paused);
                self.control.pause(is_paused);
                self.tell_admission();
            }
            RunOrder::Snapshot(answer) => {
                // Who asked need not wait for the answer.
                let _ = answer.send(self.snapshot());
            }
            RunOrder::SetSlots(slots, answer) => {
                // Who asked need not wait for the answer.
                let _ = answer.send(self.dispatcher.set_slots(slots));
            }
            RunOrder::SetLimit(name, limit, answer) => {
                let result = self.dispatcher.set_limit(&name, limit, self.now);
                if result.is_ok() {
                    let limit = limit.to_string();
                    self.tell(|| Event::LimitChanged { name, limit });
                }
                // Who asked need not wait for the answer.
                let _ = answer.send(result);
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        let kinds = self.resolver.kinds();
        let view = self.dispatcher.view(kinds, &self.control, self.now);
        view.snapshot(self.intake.waiting(), self.resolver.unresolved())
    }

    /// Goes over to a later phase; nothing happens in one that is as late.
    fn stop(&mut self, phase: Phase, why: Stopped) {
        if let Some(phase) = self.control.stop(phase, why, self.now) {
            self.enter_phase(phase);
        }
    }

    fn enter_phase(&mut self, phase: Phase) {
        let reason = self.control.reason();
        self.observers.show_phase(phase, reason, self.now);
        self.retries.end();
        self.intake.close();
        self.end_all_waiting();
        self.dispatcher.stop_all(self.control.stop_of_phase());
    }

    fn end_all_waiting(&mut self) {
        let Some(failure) = self.control.refusal() else {
            return;
        };
        for entry in self.provisional.give_up_retries() {
            self.end_refuted(entry, failure.clone());
        }
        let needy = self.intake.give_up();
        let needy = needy.into_iter().map(|arrival| (arrival, Blocker::Needs));
        let (unresolved, asking) = self.resolver.give_up();
        let unresolved = unresolved
            .into_iter()
            .map(|arrival| (arrival, Blocker::Worker));
        let asking = asking.into_iter().map(|arrival| (arrival, Blocker::Cache));
        for (mut arrival, blocker) in needy.chain(unresolved).chain(asking) {
            self.waited_for(&mut arrival, blocker);
            self.refuse(Refused::new(arrival, failure.clone()));
        }
        let queue = self.dispatcher.queue();
        for ticket in queue.tickets(|entry| entry.state == State::Waiting) {
            let mut entry = self.dispatcher.cancel(ticket, self.now);
            // One that was to be tried again has failed for good.
            let last = entry.failure.take();
            let failure = last.unwrap_or_else(|| Box::new(failure.clone()));
            self.conclude(Done::waited(entry, failure));
        }
    }

    /// The time for killing is over, and some would not die. They have their outcome all the same.
    fn give_up(&mut self) {
        for (mut entry, attempted) in self.provisional.give_up_held() {
            entry.was_held(self.now);
            let message =
                "it had answered, and nothing could confirm its answer before the run ended";
            let result = Err(Box::new(Failure::new(Class::Cancelled, message)));
            self.end(
                entry,
                Attempted {
                    result,
                    ..attempted
                },
            );
        }
        for ticket in self.dispatcher.queue().tickets(|_| true) {
            let slot = self.dispatcher.queue().scheduler().slot(ticket);
            let mut entry = self.dispatcher.give_up(ticket, self.now);
            let message = "it was killed, and had not ended when the run did";
            let failure = Box::new(Failure::new(Class::Cancelled, message));
            let mut attempted = Attempted::none(failure);
            if entry.state == State::Running {
                attempted.ran = self.now.saturating_duration_since(entry.since);
                attempted.began = Some(entry.since);
                attempted.slot = slot;
                entry.times.first_began.get_or_insert(entry.since);
            }
            self.conclude(Done::attempted(entry, attempted));
        }
    }

    // Others are told.

    fn tell(&self, event: impl FnOnce() -> Event) {
        self.observers.tell(self.now, event);
    }

    fn tell_admission(&self) {
        let held = self.control.held().map(str::to_owned);
        let held = held.or_else(|| self.control.is_paused().then(|| "paused".to_owned()));
        self.observers.show_admission(held, self.now);
    }

    /// Whether jobs of any kind may still come to the queue.
    fn may_come(&self) -> bool {
        let settled = self.dispatcher.queue().len() + self.provisional.held();
        !self.intake.is_dry() || self.intake.living() > settled
    }

    fn tell_demand(&mut self) {
        let (phase, comes) = (self.control.phase(), self.may_come());
        let resolver = &self.resolver;
        self.dispatcher
            .tell_demand(phase, comes, |kind| resolver.unresolved_for(kind));
    }

    fn tell_breakers(&mut self) {
        let changed = self.dispatcher.changed_breakers();
        if changed.is_empty() {
            return;
        }
        for report in changed {
            self.tell(|| Event::BreakerChanged(report));
        }
        self.observers
            .show_breakers(self.dispatcher.breakers(self.now));
    }
}
