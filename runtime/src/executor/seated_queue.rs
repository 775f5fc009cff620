//! The queue together with the seats of those who perform its jobs.

use std::sync::Arc;
use std::time::Instant;

use ratchet_ipc::HostName;

use super::arrival::{Arrival, Refused};
use super::attempted::Attempted;
use super::entry::{Entry, State};
use super::kinds::Kinds;
use super::observers::Turn;
use super::performers::Performers;
use super::queue::{Capacity, Freed, Queue};
use super::reuse::Share;
use crate::dispatch::{Assignment, Demand, ReplyTo, Reporter, StopRequest, WorkerNumber};
use crate::ids::{Ticket, WorkerName};
use crate::outcome::Failure;
use crate::process::Seats;
use crate::scheduling::{Decision, End, Kind};

/// Where an attempt is performed that was started.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Started {
    /// This process performs the attempt.
    Here,
    /// The attempt is on its way to this worker of a pool.
    On(WorkerName),
    /// The connection of the worker has ended, so the attempt could not be sent. It still holds its claims and its
    /// seat.
    Unsent,
}

/// The queue of a run and the performers of its jobs.
///
/// The scheduler counts the free seats of each kind, since it lets no job start for which there is none. Queue and seats
/// are therefore changed together, by the methods of this type, and the scheduler is told in the same step.
pub(super) struct SeatedQueue {
    queue: Queue,
    performers: Performers,
    reporter: Reporter,
}

impl SeatedQueue {
    /// Puts a queue and the performers of its jobs together. Performers send their reports by `reporter`.
    pub(super) fn new(queue: Queue, performers: Performers, reporter: Reporter) -> Self {
        Self {
            queue,
            performers,
            reporter,
        }
    }

    /// Returns the jobs that wait, lie ahead or run.
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Returns those who perform the jobs.
    pub(super) fn performers(&self) -> &Performers {
        &self.performers
    }

    /// Returns the entry of a job, to change what concerns only the job.
    pub(super) fn entry_mut(&mut self, ticket: Ticket) -> &mut Entry {
        self.queue.get_mut(ticket)
    }

    /// Charges the time until `now` to what kept jobs waiting, so this comes before any change of a turn.
    pub(super) fn pass_time(&mut self, now: Instant) {
        self.queue.pass_time(now);
    }

    // Jobs come and go.

    /// Takes a job into the queue.
    pub(super) fn push(
        &mut self,
        arrival: Arrival,
        kind: Kind,
        kinds: &Kinds,
        share: Option<Box<Share>>,
        now: Instant,
    ) -> Result<Ticket, Box<Refused>> {
        let had_rates = self.queue.has_rates();
        let ticket = self.queue.push(arrival, kind, kinds, share, now)?;
        self.count_for_first_rate(had_rates);
        Ok(ticket)
    }

    /// Takes a job into the queue again, with what is known of its attempts.
    pub(super) fn push_again(
        &mut self,
        entry: Entry,
        kinds: &Kinds,
        now: Instant,
    ) -> Result<Ticket, (Box<Entry>, Failure)> {
        let had_rates = self.queue.has_rates();
        let ticket = self.queue.push_again(entry, kinds, now)?;
        self.count_for_first_rate(had_rates);
        Ok(ticket)
    }

    /// Counts the seats for jobs that take tokens, which are not counted before the first such job has come.
    fn count_for_first_rate(&mut self, had_rates: bool) {
        if self.queue.has_rates() && !had_rates {
            self.count_all_seats();
        }
    }

    /// Takes out a job that waits.
    pub(super) fn cancel(&mut self, ticket: Ticket) -> Entry {
        self.queue.cancel(ticket)
    }

    /// Takes out a job whose last attempt was [freed](Self::free).
    pub(super) fn take(&mut self, ticket: Ticket) -> Entry {
        self.queue.take(ticket)
    }

    /// Takes a job out in whatever state it is. Its seat stays taken, for its worker may still be busy with the
    /// attempt.
    pub(super) fn give_up(&mut self, ticket: Ticket) -> Entry {
        self.queue.give_up(ticket)
    }

    // Attempts begin.

    /// Decides which job starts now, and asks before it takes its claims whether it may. A job that is to start has to
    /// be [started](Self::start).
    pub(super) fn pop_if(
        &mut self,
        now: Instant,
        admit: impl FnMut(&Entry) -> Result<(), Instant>,
    ) -> Decision {
        self.queue.pop_if(now, admit)
    }

    /// Keeps a job that waits from starting before this moment.
    pub(super) fn postpone(&mut self, ticket: Ticket, not_before: Instant) {
        self.queue.postpone(ticket, not_before);
    }

    /// Starts an attempt at a job that was popped, and sends it to a performer.
    pub(super) fn start(&mut self, ticket: Ticket, now: Instant) -> Started {
        self.queue.start(ticket, now);
        let entry = self.queue.get(ticket);
        let (kind, is_rated) = (entry.kind, entry.is_rated);
        let assignment = self.assignment(entry, entry.attempts, false);
        let Some(pool) = self.performers.pool(kind) else {
            self.performers.perform_here(ticket, assignment);
            return Started::Here;
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
            return Started::Unsent;
        }
        if is_uncertain {
            self.queue.begins_later(ticket);
            self.count_all_seats();
        } else if self.queue.has_rates() {
            // The scheduler has counted the seat down for the number of the job alone, and both numbers of a kind stand
            // for the same seats, see `uncertain.rs`.
            self.count_seats(kind);
        }
        Started::On(worker)
    }

    /// Sends one job of a kind ahead. Returns whether there was one, and a place in a pipe for it.
    pub(super) fn send_one_ahead(&mut self, kind: Kind, now: Instant) -> bool {
        let counts = self.queue.count(kind);
        if counts.running == 0 || counts.waiting == 0 {
            return false;
        }
        let Some(pool) = self.performers.pool(kind) else {
            return false; // What runs in this process is never sent ahead.
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

    // Attempts end.

    /// Notes that an attempt has ended. It still holds what it held, until it is [freed](Self::free).
    pub(super) fn note_end(&mut self, ticket: Ticket, attempted: &mut Attempted, now: Instant) {
        self.queue.note_end(ticket, attempted, now);
        let kind = self.queue.get(ticket).kind;
        self.performers.note_ran(kind, attempted.ran);
        if self.queue.began_by_now(ticket, now) {
            self.count_all_seats();
        }
    }

    /// Takes back what an attempt held. Returns the attempt that lay ahead and has begun in its place, if there is one,
    /// with its worker: it got the slot and the seat in the same step.
    ///
    /// The job has to be dealt with as [`Queue::free`] says.
    pub(super) fn free(
        &mut self,
        ticket: Ticket,
        end: End,
        next: Option<Ticket>,
        now: Instant,
    ) -> Option<(Ticket, Option<WorkerName>)> {
        let Freed { kind, seat, next } = self.queue.free(ticket, end, next, now);
        let mut worker = None;
        if let (Some(pool), Some(seat)) = (self.performers.pool(kind), seat) {
            worker = next.map(|_| pool.seats.name(seat).clone());
            pool.seats.ended(seat, next.is_some(), now);
        }
        self.count_seats(kind);
        next.map(|next| (next, worker))
    }

    /// Has a job wait for another attempt, since the one that was freed has failed.
    pub(super) fn wait_again(&mut self, ticket: Ticket, failure: Box<Failure>, now: Instant) {
        self.queue.wait_again(ticket, failure, now);
    }

    /// Takes back an attempt that runs for the scheduler and never began, and has its job wait as if it had not started.
    /// Returns what [`free`](Self::free) does.
    pub(super) fn take_back(
        &mut self,
        ticket: Ticket,
        next: Option<Ticket>,
        withdrawn: bool,
        turn: Turn<'_>,
    ) -> Option<(Ticket, Option<WorkerName>)> {
        self.withdraw(ticket, withdrawn);
        if self.queue.never_began(ticket) {
            self.count_all_seats();
        }
        let entry = self.queue.get(ticket);
        let seats = entry.seat.zip(self.performers.seats(entry.kind));
        let worker = seats.map(|(seat, seats)| seats.name(seat).clone());
        self.queue.note_return(ticket, worker, turn);
        let begun = self.free(ticket, End::Again(turn.now), next, turn.now);
        self.queue.uncharge(ticket, turn.now);
        begun
    }

    /// Takes back an attempt that lay ahead, and has its job wait in its old place.
    pub(super) fn put_back(&mut self, ticket: Ticket, withdrawn: bool, now: Instant) {
        self.withdraw(ticket, withdrawn);
        let entry = self.queue.get(ticket);
        let (kind, seat) = (entry.kind, entry.seat);
        self.queue.put_back(ticket);
        if let (Some(pool), Some(seat)) = (self.performers.pool(kind), seat) {
            pool.seats.unstaged(seat, now);
        }
        self.count_seats(kind);
    }

    /// Gives the worker that has an attempt no further ones, if it takes none any more.
    fn withdraw(&mut self, ticket: Ticket, withdrawn: bool) {
        let entry = self.queue.get(ticket);
        if let (Some(pool), Some(seat), true) =
            (self.performers.pool(entry.kind), entry.seat, withdrawn)
        {
            pool.seats.withdraw(seat);
        }
    }

    // Attempts are stopped.

    /// Returns the next job that waits and has not started by its deadline in the queue. One that lies ahead is recalled
    /// instead, and its deadline is due again when it comes back.
    pub(super) fn pop_past_deadline(&mut self, now: Instant) -> Option<Ticket> {
        loop {
            let entry = self.queue.pop_past_deadline(now)?;
            let ticket = entry.ticket;
            match entry.state() {
                State::Waiting => return Some(ticket),
                State::Ahead => self.stop(ticket, StopRequest::Recall),
                // It started in this turn.
                State::Running => {}
            }
        }
    }

    /// Stops an attempt that runs or lies ahead.
    pub(super) fn stop(&mut self, ticket: Ticket, mode: StopRequest) {
        let entry = self.queue.get(ticket);
        (self.performers).stop(entry.kind, entry.seat, ticket, mode);
    }

    /// Stops what runs in this way, if it is to stop, and recalls what lies ahead.
    pub(super) fn stop_all(&mut self, mode: Option<StopRequest>) {
        for entry in self.queue.entries() {
            let mode = match (entry.state(), mode) {
                (State::Running, Some(mode)) => mode,
                (State::Ahead, _) => StopRequest::Recall,
                (State::Running, None) | (State::Waiting, _) => continue,
            };
            (self.performers).stop(entry.kind, entry.seat, entry.ticket, mode);
        }
    }

    /// Asks back what lies in the pipes of busy workers while other workers of the same pool are idle.
    pub(super) fn recall(&mut self, now: Instant) {
        self.performers.recall(now);
    }

    // Seats come and go.

    /// Changes which seats a pool has.
    pub(super) fn change_seats(&mut self, kind: Kind, change: impl FnOnce(&mut Seats)) {
        if let Some(pool) = self.performers.pool(kind) {
            change(&mut pool.seats);
        }
        self.count_seats(kind);
    }

    /// Notes that a worker has read what it was given. If it has the attempt of which it was in doubt whether it has begun,
    /// this attempt has begun by now.
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

    /// Has pools learn how long attempts took, by which they send more or fewer ahead.
    pub(super) fn learn(&mut self) {
        self.performers.learn();
    }

    /// Tells a pool how much work is left for it, if that has changed.
    pub(super) fn demand(&mut self, kind: Kind, demand: Demand) {
        self.performers.demand(kind, demand);
    }

    /// Tells a pool again how much work is left for it.
    pub(super) fn demand_again(&mut self, kind: Kind, demand: Demand) {
        self.performers.demand_again(kind, demand);
    }

    /// Tells the scheduler how many attempts of a kind can begin.
    fn count_seats(&mut self, kind: Kind) {
        let seats = self.performers.seats(kind);
        self.queue.set_seats(kind, seats);
    }

    fn count_all_seats(&mut self) {
        for kind in self.performers.kinds() {
            self.count_seats(kind);
        }
    }

    /// Lends out what may be changed of how much runs at once.
    pub(super) fn capacity(&mut self) -> Capacity<'_> {
        self.queue.capacity()
    }
}
