//! How attempts begin, by their turn or sent ahead of it, and what happens when they end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_ipc::HostName;
use ratchet_resilience::shutdown::Phase;

use super::arrival::{Arrival, Refused};
use super::attempted::Attempted;
use super::breakers::Breakers;
use super::control::RunControl;
use super::entry::{Entry, State};
use super::kinds::Kinds;
use super::observers::Turn;
use super::performers::Performers;
use super::queue::{Freed, KindCounts, Queue};
use super::retries::Retries;
use super::reuse::Share;
use super::snapshot::View;
use crate::Error;
use crate::breaker::BreakerReport;
use crate::dispatch::{Assignment, Demand, ReplyTo, Reporter, Stop, WorkerNumber};
use crate::event::Event;
use crate::ids::{Ticket, WorkerName};
use crate::outcome::{AttemptEnd, Class, Failure};
use crate::process::Seats;
use crate::scheduling::{Decision, End, Kind, Limit, Load};

/// How many jobs that wait for a seat a pool hears of at most.
const MOST_UNSEATED: usize = 1024;

/// What follows the end of an attempt. Its jobs are in no box: that would be an allocation a job.
pub(super) enum Settled {
    /// The job ends with it. It has left the queue.
    Ended(Entry, Attempted),
    /// The job has left the queue, and ends with this result if it is confirmed.
    Provisional(Entry, Attempted),
    /// Another attempt follows.
    Again,
    /// The attempt was sent ahead and never began, so the job waits as before.
    Returned,
    /// The job was given up before.
    Unknown,
}

/// Owns the queue and those who perform its jobs: gives attempts to performers, and takes back what they held.
///
/// A job starts only where the scheduler has taken all that it needs in one step, so queue and seats are changed together
/// here and nowhere else.
pub(super) struct Dispatcher {
    queue: Queue,
    performers: Performers,
    breakers: Breakers,
    reporter: Reporter,
    /// When the run began.
    began: Instant,
    /// How what runs is to stop by now, if it is.
    stopping: Option<Stop>,
    /// When the scheduler wants to be asked again.
    wake: Option<Instant>,
}

impl Dispatcher {
    pub(super) fn new(
        queue: Queue,
        performers: Performers,
        breakers: Breakers,
        reporter: Reporter,
        began: Instant,
    ) -> Self {
        Self {
            queue,
            performers,
            breakers,
            reporter,
            began,
            stopping: None,
            wake: None,
        }
    }

    /// The jobs that wait, lie ahead or run.
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The seats of a kind; none where this process performs the attempts itself.
    pub(super) fn seats(&self, kind: Kind) -> Option<&Seats> {
        self.performers.seats(kind)
    }

    /// What is known of the queue and of performers, to make a snapshot of.
    pub(super) fn view<'a>(
        &'a self,
        kinds: &'a Kinds,
        control: &'a RunControl,
        now: Instant,
    ) -> View<'a> {
        View {
            now,
            queue: &self.queue,
            performers: &self.performers,
            kinds,
            control,
        }
    }

    pub(super) fn load(&self) -> Load {
        self.queue.load()
    }

    /// How many jobs could start but for slots and workers.
    pub(super) fn ready(&self) -> usize {
        self.queue.scheduler().unclaimed()
    }

    /// How many attempts could lie ahead at most.
    pub(super) fn room_ahead(&self) -> u32 {
        let pools = self.performers.pools();
        // What workers say of themselves can be any number.
        pools.fold(0, |sum: u32, (_, pool)| {
            sum.saturating_add(pool.seats.room_ahead())
        })
    }

    /// When the scheduler wants to be asked again.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.wake
    }

    /// When [`recall`](Self::recall) has something to do.
    pub(super) fn recall_at(&self) -> Option<Instant> {
        self.performers.recall_at()
    }

    /// Asks back what lies in pipes while other workers of the same pool are idle.
    pub(super) fn recall(&mut self, now: Instant) {
        if self.has_free_slots() {
            self.performers.recall(now);
        }
    }

    /// Whether what comes back from a worker's pipe could begin elsewhere.
    pub(super) fn has_free_slots(&self) -> bool {
        let load = self.queue.load();
        load.slots_used < load.slots
    }

    /// Takes a job into the queue.
    pub(super) fn enqueue(
        &mut self,
        arrival: Arrival,
        kind: Kind,
        kinds: &Kinds,
        share: Option<Box<Share>>,
        now: Instant,
    ) -> Result<(), Box<Refused>> {
        let had_rates = self.queue.has_rates();
        let ticket = self.queue.push(arrival, kind, kinds, share, now)?;
        self.entered(ticket, had_rates);
        Ok(())
    }

    /// Takes a job into the queue again, with what is known of its attempts.
    pub(super) fn enqueue_again(
        &mut self,
        entry: Entry,
        kinds: &Kinds,
        now: Instant,
    ) -> Result<(), (Box<Entry>, Failure)> {
        let had_rates = self.queue.has_rates();
        let ticket = self.queue.push_again(entry, kinds, now)?;
        self.entered(ticket, had_rates);
        Ok(())
    }

    fn entered(&mut self, ticket: Ticket, had_rates: bool) {
        if self.queue.has_rates() && !had_rates {
            self.count_all_seats();
        }
        let entry = self.queue.get(ticket);
        self.breakers.arrived(entry.kind, entry.job.host.as_ref());
    }

    /// Time has passed. It is charged to what kept jobs waiting until now.
    pub(super) fn pass_time(&mut self, now: Instant) {
        self.queue.pass_time(now);
    }

    /// From now on the run is paused, or no longer.
    pub(super) fn set_paused(&mut self, is_paused: bool) {
        self.queue.set_paused(is_paused);
    }

    /// From now on new jobs are held back, or no longer.
    pub(super) fn set_held(&mut self, is_held: bool) {
        self.queue.set_held(is_held);
    }

    /// Nothing starts in this turn.
    pub(super) fn start_nothing(&mut self) {
        self.wake = None;
    }

    /// Starts what may start. Gives the jobs that breakers have rejected and that do not wait for them.
    #[must_use = "a job that was rejected has failed"]
    pub(super) fn start_jobs(&mut self, turn: Turn<'_>) -> Vec<Ticket> {
        self.wake = None;
        let mut rejected = Vec::new();
        loop {
            self.ask_again(turn.now);
            match self.pop(turn.now, &mut rejected) {
                Decision::Start(ticket) => self.start(ticket, turn),
                // A breaker that has changed meanwhile may admit those that it refused.
                Decision::WaitUntil(_) | Decision::Idle if self.breakers.has_released() => {}
                Decision::WaitUntil(when) => {
                    self.wake = Some(when);
                    break;
                }
                Decision::Idle => break,
            }
        }
        self.send_ahead(turn.now);
        rejected
    }

    /// Has the scheduler start a job, if its breaker admits it.
    fn pop(&mut self, now: Instant, rejected: &mut Vec<Ticket>) -> Decision {
        let breakers = &mut self.breakers;
        self.queue.pop_if(now, |entry| {
            let host = entry.job.host.as_ref();
            let admitted = breakers.admit(entry.ticket, entry.kind, host, now);
            admitted.map_err(|refusal| {
                if refusal.fails {
                    rejected.push(entry.ticket);
                }
                refusal.retry_at
            })
        })
    }

    /// Puts the jobs into the queue again whose breaker may admit them now.
    fn ask_again(&mut self, now: Instant) {
        for ticket in self.breakers.take_released() {
            // One that has started or waits for its retry by now need not ask.
            let is_refused = |entry: &Entry| entry.state == State::Waiting && entry.rejected;
            if self.queue.find(ticket).is_some_and(is_refused) {
                self.queue.postpone(ticket, now);
            }
        }
    }

    /// A breaker has rejected a job that does not wait for it. Gives the failure with which it ends, unless it is tried
    /// again.
    pub(super) fn rejected(
        &mut self,
        ticket: Ticket,
        retries: &mut Retries,
        now: Instant,
    ) -> Option<Failure> {
        let entry = self.queue.get_mut(ticket);
        let why = self
            .breakers
            .why_refused(entry.kind, entry.job.host.as_ref());
        let mut failure = Box::new(Failure::new(Class::Breaker, why));
        match retries.judge_rejection(entry, &mut failure, now) {
            End::Again(when) => {
                entry.failure = Some(failure);
                self.queue.postpone(ticket, when);
                // The queue may have been asked already when the next job starts.
                self.wake = Some(self.wake.map_or(when, |wake| wake.min(when)));
                None
            }
            End::Over => Some(*failure),
        }
    }

    /// The scheduler lets a job start.
    fn start(&mut self, ticket: Ticket, turn: Turn<'_>) {
        let now = turn.now;
        let entry = self.queue.get(ticket);
        let (kind, is_rated) = (entry.kind, entry.is_rated);
        self.queue.start(ticket, now);
        let entry = self.queue.get(ticket);
        tracing::trace!(
            target: "ratchet_runtime::grants",
            job = entry.job.id.as_str(),
            attempt = entry.attempts,
            after_ns = nanos(now.saturating_duration_since(self.began)),
            "an attempt may begin"
        );
        let assignment = self.assignment(entry, entry.attempts, false);
        let Some(pool) = self.performers.pool(kind) else {
            self.performers.perform_here(ticket, assignment);
            return self.tell_start(ticket, None, turn);
        };
        let host = assignment.job.host.as_ref().map(HostName::as_str);
        #[expect(
            clippy::expect_used,
            reason = "the scheduler was told of each change of the number of free seats"
        )]
        let seat = (pool.seats.take(host))
            .expect("the scheduler starts no more attempts of a kind than it has free seats");
        let (link, worker) = (pool.seats.link(seat).clone(), pool.seats.name(seat).clone());
        let is_uncertain = is_rated && !pool.seats.is_proven(seat);
        self.queue.take_seat(ticket, seat);
        if link.perform(assignment).is_err() {
            self.returned(ticket, None, true, turn);
            return;
        }
        if is_uncertain {
            self.queue.begins_later(ticket);
            self.count_all_seats();
        } else if self.queue.has_rates() {
            // Both kinds of the worker have a seat less.
            self.count_seats(kind);
        }
        self.tell_start(ticket, Some(worker), turn);
    }

    fn assignment(&self, entry: &Entry, attempt: u32, ahead: bool) -> Assignment {
        Assignment {
            job: Arc::clone(&entry.job),
            attempt,
            ahead,
            reply: ReplyTo::Loop {
                ticket: entry.ticket,
                reporter: self.reporter.clone(),
            },
        }
    }

    fn tell_start(&self, ticket: Ticket, worker: Option<WorkerName>, turn: Turn<'_>) {
        // One that could not be given to its worker has come back already.
        if let Some(entry) = self.queue.find(ticket) {
            turn.tell(|| Event::AttemptStarted {
                id: entry.job.id.clone(),
                item: entry.job.item.as_ref().map(|item| item.name.clone()),
                attempt: entry.attempts,
                slot: self.queue.scheduler().slot(ticket),
                worker,
            });
        }
    }

    /// Sends fully parallel jobs to workers that are busy, so that these need not wait for the next one.
    fn send_ahead(&mut self, now: Instant) {
        for kind in self.performers.pool_kinds() {
            // A breaker is asked when an attempt begins, and one that is sent ahead begins elsewhere.
            if self.breakers.guards(kind) {
                continue;
            }
            loop {
                let counts = self.queue.count(kind);
                let is_wanted = counts.running > 0 && counts.waiting > 0;
                if !is_wanted || !self.send_one_ahead(kind, now) {
                    break;
                }
            }
        }
    }

    /// Sends one job ahead. Says whether there was one, and a place in a pipe for it.
    fn send_one_ahead(&mut self, kind: Kind, now: Instant) -> bool {
        let Some(pool) = self.performers.pool(kind) else {
            return false; // What runs here is never sent ahead.
        };
        let Some(seat) = pool.seats.take_ahead() else {
            return false;
        };
        let Some(ticket) = self.queue.pop_ahead(kind, seat, now) else {
            pool.seats.unstaged(seat, now);
            return false;
        };
        let link = pool.seats.link(seat).clone();
        let entry = self.queue.get(ticket);
        let assignment = self.assignment(entry, entry.attempts + 1, true);
        if link.perform(assignment).is_err() {
            self.put_back(ticket, true, now);
        }
        true
    }

    /// An attempt has ended, and `next` of those that lay ahead has begun in its place.
    pub(super) fn ended(
        &mut self,
        ticket: Ticket,
        mut attempted: Attempted,
        next: Option<Ticket>,
        retries: &mut Retries,
        turn: Turn<'_>,
    ) -> Settled {
        let now = turn.now;
        match self.queue.find(ticket) {
            // It was given up, and ended after all.
            None => return Settled::Unknown,
            Some(entry) if entry.state != State::Running => {
                // Sent ahead, and nobody said that its turn had come: nothing is charged to it.
                self.returned(ticket, None, false, turn);
                return Settled::Returned;
            }
            Some(_) => {}
        }
        let failure = attempted.result.as_ref().err().map(AsRef::as_ref);
        self.breakers.ended(ticket, failure, now);
        self.queue.note_end(ticket, &mut attempted, now);
        let entry = self.queue.get_mut(ticket);
        retries.count_attempt(entry, now);
        let end = match &mut attempted.result {
            Ok(_) => End::Over,
            Err(failure) => retries.judge(entry, failure, now),
        };
        self.performers.note_ran(entry.kind, attempted.ran);
        if self.queue.began_by_now(ticket, now) {
            self.count_all_seats();
        }
        self.free(ticket, end, next, turn);
        let entry = self.queue.get_mut(ticket);
        if let (End::Again(_), Err(failure)) = (end, &attempted.result) {
            let end = AttemptEnd::Failed(failure.class);
            let detail = attempted.detail(entry.attempts, end, turn.observers.wall());
            entry.times.push(detail);
        }
        match (end, attempted.result) {
            (End::Again(when), Err(failure)) => {
                tell_retry(self.queue.get(ticket), &failure, when, turn);
                self.queue.wait_again(ticket, failure, now);
                Settled::Again
            }
            (_, result) => {
                attempted.result = result;
                let entry = self.take(ticket, now);
                if attempted.provisional && attempted.result.is_ok() {
                    Settled::Provisional(entry, attempted)
                } else {
                    Settled::Ended(entry, attempted)
                }
            }
        }
    }

    /// Gives back what an attempt held. An attempt that has begun in its place gets its slot and its seat in the same step.
    fn free(&mut self, ticket: Ticket, end: End, next: Option<Ticket>, turn: Turn<'_>) {
        let Freed { kind, seat, next } = self.queue.free(ticket, end, next, turn.now);
        let mut worker = None;
        if let (Some(pool), Some(seat)) = (self.performers.pool(kind), seat) {
            worker = next.map(|_| pool.seats.name(seat).clone());
            pool.seats.ended(seat, next.is_some(), turn.now);
        }
        if let Some(next) = next {
            // It had begun before it could be recalled.
            if let Some(stop) = self.stopping {
                self.stop(next, stop);
            }
            self.tell_start(next, worker, turn);
        }
        self.count_seats(kind);
    }

    /// An attempt comes back that never began, and its job waits again. One that lay ahead may have begun in its place.
    /// Says whether the job is still there.
    pub(super) fn returned(
        &mut self,
        ticket: Ticket,
        next: Option<Ticket>,
        withdrawn: bool,
        turn: Turn<'_>,
    ) -> bool {
        let Some(entry) = self.queue.find(ticket) else {
            return false; // It was given up.
        };
        match entry.state {
            // Its worker was gone when it was given to it, and both sides found out.
            State::Waiting => return false,
            State::Ahead => self.put_back(ticket, withdrawn, turn.now),
            State::Running => {
                self.withdraw(ticket, withdrawn);
                if self.queue.never_began(ticket) {
                    self.count_all_seats();
                }
                let entry = self.queue.get(ticket);
                let kind = entry.kind;
                let seats = self.performers.seats(kind);
                let worker = entry
                    .seat
                    .zip(seats)
                    .map(|(seat, seats)| seats.name(seat).clone());
                self.queue.note_return(ticket, worker, turn);
                self.free(ticket, End::Again(turn.now), next, turn);
                self.queue.uncharge(ticket, turn.now);
                self.breakers.returned(ticket, turn.now);
                self.count_seats(kind);
            }
        }
        true
    }

    /// A job that lay ahead waits in its old place.
    fn put_back(&mut self, ticket: Ticket, withdrawn: bool, now: Instant) {
        self.withdraw(ticket, withdrawn);
        let entry = self.queue.get(ticket);
        let (kind, seat) = (entry.kind, entry.seat);
        self.queue.put_back(ticket, now);
        if let (Some(pool), Some(seat)) = (self.performers.pool(kind), seat) {
            pool.seats.unstaged(seat, now);
        }
        self.count_seats(kind);
    }

    /// The worker that has an attempt takes no more, if it is so.
    fn withdraw(&mut self, ticket: Ticket, withdrawn: bool) {
        let entry = self.queue.get(ticket);
        if let (Some(pool), Some(seat), true) =
            (self.performers.pool(entry.kind), entry.seat, withdrawn)
        {
            pool.seats.withdraw(seat);
        }
    }

    fn take(&mut self, ticket: Ticket, now: Instant) -> Entry {
        let entry = self.queue.take(ticket);
        self.left(entry, now)
    }

    /// Takes a job that waits out of the queue.
    pub(super) fn cancel(&mut self, ticket: Ticket, now: Instant) -> Entry {
        let entry = self.queue.cancel(ticket);
        self.left(entry, now)
    }

    /// Takes a job out of the queue whatever it does: nobody waits for its attempt any longer.
    pub(super) fn give_up(&mut self, ticket: Ticket, now: Instant) -> Entry {
        let entry = self.queue.give_up(ticket);
        self.left(entry, now)
    }

    fn left(&mut self, entry: Entry, now: Instant) -> Entry {
        let host = entry.job.host.as_ref();
        self.breakers.left(entry.ticket, entry.kind, host, now);
        entry
    }

    /// Gives the next job that has waited for its first start for as long as it may. One that lies ahead is recalled
    /// instead, and has no patience left when it comes back.
    pub(super) fn cancel_impatient(&mut self, now: Instant) -> Option<Entry> {
        loop {
            let entry = self.queue.pop_impatient(now)?;
            let ticket = entry.ticket;
            match entry.state {
                State::Running => {}
                State::Ahead => self.stop(ticket, Stop::Recall),
                State::Waiting => return Some(self.cancel(ticket, now)),
            }
        }
    }

    /// When the next job has waited for as long as it may.
    pub(super) fn next_impatience(&self) -> Option<Instant> {
        self.queue.next_impatience()
    }

    /// Stops what runs in this way from now on, if at all, and recalls what lies ahead, for it may not begin any more.
    pub(super) fn stop_all(&mut self, stop: Option<Stop>) {
        self.stopping = stop;
        for entry in self.queue.entries() {
            let stop = match (entry.state, stop) {
                (State::Running, Some(stop)) => stop,
                (State::Ahead, _) => Stop::Recall,
                (State::Running, None) | (State::Waiting, _) => continue,
            };
            self.performers
                .stop(entry.kind, entry.seat, entry.ticket, stop);
        }
    }

    fn stop(&mut self, ticket: Ticket, stop: Stop) {
        let entry = self.queue.get(ticket);
        self.performers.stop(entry.kind, entry.seat, ticket, stop);
    }

    /// Changes which seats a pool has, and tells the scheduler how many are free.
    pub(super) fn change_seats(&mut self, kind: Kind, change: impl FnOnce(&mut Seats)) {
        if let Some(pool) = self.performers.pool(kind) {
            change(&mut pool.seats);
        }
        self.count_seats(kind);
    }

    /// A worker has read what it was given, so that this has begun by now.
    pub(super) fn proven(&mut self, kind: Kind, worker: WorkerNumber, now: Instant) {
        self.change_seats(kind, |seats| seats.proven(worker));
        let Some(ticket) = self.queue.uncertain() else {
            return;
        };
        let entry = self.queue.get(ticket);
        let seat = entry.seat.filter(|_| entry.kind == kind);
        if let (Some(seats), Some(seat)) = (self.performers.seats(kind), seat)
            && seats.number(seat) == worker
            && self.queue.began_by_now(ticket, now)
        {
            self.count_all_seats();
        }
    }

    fn count_seats(&mut self, kind: Kind) {
        let seats = self.performers.seats(kind);
        self.queue.set_seats(kind, seats);
    }

    fn count_all_seats(&mut self) {
        for kind in self.performers.kinds() {
            self.count_seats(kind);
        }
    }

    /// Pools learn how long attempts take, by which they send more or fewer ahead.
    pub(super) fn learn(&mut self) {
        self.performers.learn();
    }

    /// Tells pools how much work is left for them, by which they grow, and replace no worker for which nothing is left.
    ///
    /// `comes` says whether jobs of any kind may still come, and `unresolved` how many wait for the hello of a kind.
    pub(super) fn tell_demand(
        &mut self,
        phase: Phase,
        comes: bool,
        unresolved: impl Fn(Kind) -> usize,
    ) {
        for kind in self.performers.pool_kinds() {
            let demand = self.demand(kind, phase, comes, unresolved(kind));
            self.performers.demand(kind, demand);
        }
    }

    /// Tells a pool again how much work is left for it, because it has asked.
    pub(super) fn tell_demand_again(
        &mut self,
        kind: Kind,
        phase: Phase,
        comes: bool,
        unresolved: usize,
    ) {
        let demand = self.demand(kind, phase, comes, unresolved);
        self.performers.demand_again(kind, demand);
    }

    /// How much work is left for a kind.
    pub(super) fn demand(
        &self,
        kind: Kind,
        phase: Phase,
        comes: bool,
        unresolved: usize,
    ) -> Demand {
        let counts: KindCounts = self.queue.count(kind);
        let waiting = counts.waiting + unresolved;
        let free = self.seats(kind).map_or(0, |seats| seats.free() as usize);
        match phase {
            Phase::Running if comes || waiting > 0 => Demand::Open {
                // Pools start no more workers than they may have, and the figure changes with every job.
                unseated: waiting.saturating_sub(free).min(MOST_UNSEATED),
            },
            Phase::Running if counts.jobs() > 0 => Demand::Last,
            Phase::Running | Phase::Draining | Phase::Cancelling => Demand::Over,
            Phase::Killing => Demand::Killed,
        }
    }

    /// The breakers whose state has changed since this was asked last.
    pub(super) fn changed_breakers(&mut self) -> Vec<BreakerReport> {
        self.breakers.take_changed()
    }

    /// What the breakers did that have opened.
    pub(super) fn breakers(&self, now: Instant) -> Vec<BreakerReport> {
        self.breakers.reports(now)
    }

    pub(super) fn set_slots(&mut self, slots: u32) -> Result<(), Error> {
        self.queue.set_slots(slots)
    }

    pub(super) fn set_limit(
        &mut self,
        name: &str,
        limit: Limit,
        now: Instant,
    ) -> Result<(), Error> {
        self.queue.set_limit(name, limit, now)
    }
}

/// Tells that another attempt follows a failed one.
pub(super) fn tell_retry(entry: &Entry, failure: &Failure, when: Instant, turn: Turn<'_>) {
    turn.tell(|| {
        let wait = when.saturating_duration_since(turn.now).as_millis();
        Event::AttemptFailed {
            id: entry.job.id.clone(),
            attempt: entry.attempts,
            class: failure.class,
            message: failure.message.clone(),
            retry_in_ms: u64::try_from(wait).unwrap_or(u64::MAX),
        }
    });
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
