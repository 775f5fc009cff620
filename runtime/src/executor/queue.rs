//! The jobs that wait, lie ahead or run, and the scheduler that decides which starts next.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ratchet_ipc::HostName;

use super::arrival::{Arrival, Refused};
use super::attempted::Attempted;
use super::entry::{Entry, State};
use super::kinds::Kinds;
use super::observers::Turn;
use super::reuse::Share;
use super::uncertain::UncertainStart;
use crate::Error;
use crate::ids::{Ticket, WorkerName};
use crate::job::{Job, Work};
use crate::outcome::{AttemptDetail, AttemptEnd, Class, Failure};
use crate::process::{SeatId, Seats};
use crate::scheduling::{
    Blocker, Cancelled, Decision, End, Kind, Limit, LimitId, Load, ParallelizationHint, Request,
    Scheduler, Workers,
};

/// How many jobs there are for a kind of worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KindCounts {
    pub(super) running: u32,
    pub(super) ahead: u32,
    pub(super) waiting: usize,
}

impl KindCounts {
    pub(super) fn jobs(&self) -> usize {
        self.waiting + self.running as usize + self.ahead as usize
    }
}

/// What an attempt held, and what has begun in its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Freed {
    pub(super) kind: Kind,
    pub(super) seat: Option<SeatId>,
    /// The attempt that lay ahead and has begun.
    pub(super) next: Option<Ticket>,
}

/// Owns the scheduler and an entry for each job that the scheduler knows.
///
/// Both change state in the same step, by the methods of this type: an entry waits, lies ahead or runs exactly when the
/// scheduler says so of its ticket, and the counts by kind are those of the entries.
pub(super) struct Queue {
    scheduler: Scheduler,
    /// By the index of the ticket.
    entries: Vec<Option<Entry>>,
    /// By kind.
    counts: Vec<KindCounts>,
    patience: BTreeSet<(Instant, Ticket)>,
    uncertain: UncertainStart,
    /// The limits of the job that is pushed, kept for its memory.
    limits: Vec<LimitId>,
}

impl Queue {
    /// An empty queue for so many kinds of worker.
    pub(super) fn new(mut scheduler: Scheduler, kinds: u16) -> Self {
        scheduler.keep_waits();
        Self {
            scheduler,
            entries: Vec::new(),
            counts: vec![KindCounts::default(); kinds.into()],
            patience: BTreeSet::new(),
            uncertain: UncertainStart::new(kinds),
            limits: Vec::new(),
        }
    }

    /// Time has passed. It is charged to what kept jobs waiting until now, so this comes before any change of a turn.
    pub(super) fn pass_time(&mut self, now: Instant) {
        self.scheduler.pass_time(now);
    }

    /// How long the run has been paused in all.
    pub(super) fn time_paused(&self) -> Duration {
        self.scheduler.time_paused()
    }

    /// From now on the run is paused, or no longer.
    pub(super) fn set_paused(&mut self, is_paused: bool) {
        self.scheduler.set_paused(is_paused);
    }

    /// From now on new jobs are held back, or no longer.
    pub(super) fn set_held(&mut self, is_held: bool) {
        self.scheduler.set_held(is_held);
    }

    /// Takes a job in, which waits from now on.
    pub(super) fn push(
        &mut self,
        arrival: Arrival,
        kind: Kind,
        kinds: &Kinds,
        share: Option<Box<Share>>,
        now: Instant,
    ) -> Result<Ticket, Box<Refused>> {
        let (ticket, is_rated) = match self.schedule(&arrival.job, kind, kinds, now) {
            Ok(scheduled) => scheduled,
            Err(failure) => return Err(Box::new(Refused::new(arrival, failure))),
        };
        let patience = arrival.job.terms.timeouts.queue;
        let patience = patience.and_then(|limit| arrival.since.checked_add(limit));
        if let Some(when) = patience {
            self.patience.insert((when, ticket));
        }
        self.insert(Entry {
            ticket,
            job: arrival.job,
            place: arrival.place,
            kind,
            state: State::Waiting,
            seat: None,
            attempts: 0,
            crashes: 0,
            since: arrival.since,
            times: arrival.times,
            history: None,
            failure: None,
            first_start: None,
            patience,
            is_rated,
            rejected: false,
            share,
        });
        Ok(ticket)
    }

    /// Takes a job in again that had been taken out, with what is known of its attempts.
    pub(super) fn push_again(
        &mut self,
        mut entry: Entry,
        kinds: &Kinds,
        now: Instant,
    ) -> Result<Ticket, (Box<Entry>, Failure)> {
        let (ticket, is_rated) = match self.schedule(&entry.job, entry.kind, kinds, now) {
            Ok(scheduled) => scheduled,
            Err(failure) => return Err((Box::new(entry), failure)),
        };
        entry.ticket = ticket;
        entry.is_rated = is_rated;
        entry.seat = None;
        entry.state = State::Waiting;
        entry.patience = None;
        self.insert(entry);
        Ok(ticket)
    }

    fn schedule(
        &mut self,
        job: &Job,
        kind: Kind,
        kinds: &Kinds,
        now: Instant,
    ) -> Result<(Ticket, bool), Failure> {
        let terms = &job.terms;
        let wrong = |error: Error| Failure::new(Class::Input, error.to_string());
        self.limits.clear();
        for name in &terms.limits {
            self.limits.push(self.scheduler.limit(name).map_err(wrong)?);
        }
        let hint = kinds.hint(job)?;
        let task = match &job.work {
            Work::Task { task, .. } => task.as_str(),
            Work::Command(_) | Work::Closure(_) | Work::Refused { .. } | Work::Ended(_) => {
                job.task_name()
            }
        };
        let names_rate = self.limits.iter().any(|id| self.scheduler.is_rate(*id));
        let is_rated = names_rate || matches!(hint, ParallelizationHint::RateLimited { .. });
        let kind = if is_rated {
            self.uncertain.rated(kind)
        } else {
            kind
        };
        let request = Request {
            task,
            kind,
            priority: terms.priority,
            slots: terms.slots,
            hint,
            host: job.host.as_ref().map(HostName::as_str),
            limits: &self.limits,
        };
        let ticket = self.scheduler.push(request, now).map_err(wrong)?;
        Ok((ticket, is_rated))
    }

    fn insert(&mut self, entry: Entry) {
        if entry.is_rated {
            self.uncertain.note_rate();
        }
        self.counts[usize::from(entry.kind.0)].waiting += 1;
        let index = entry.ticket.index();
        if self.entries.len() <= index {
            self.entries.resize_with(index + 1, || None);
        }
        self.entries[index] = Some(entry);
    }

    /// The job of a ticket, unless it has ended.
    pub(super) fn find(&self, ticket: Ticket) -> Option<&Entry> {
        let entry = self.entries.get(ticket.index())?.as_ref()?;
        (entry.ticket == ticket).then_some(entry)
    }

    /// The job of a ticket that the scheduler has just given out, or that has not ended.
    pub(super) fn get(&self, ticket: Ticket) -> &Entry {
        #[expect(
            clippy::expect_used,
            reason = "the scheduler knows exactly the tickets that have an entry"
        )]
        self.find(ticket)
            .expect("a ticket that the scheduler knows has its entry")
    }

    /// As [`get`](Self::get), to tell the entry what only concerns its job.
    pub(super) fn get_mut(&mut self, ticket: Ticket) -> &mut Entry {
        entry_of(&mut self.entries, ticket)
    }

    /// All jobs that wait, lie ahead or run.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    /// The tickets of those jobs for which this is so.
    pub(super) fn tickets(&self, is_wanted: impl Fn(&Entry) -> bool) -> Vec<Ticket> {
        let wanted = self.entries().filter(|entry| is_wanted(entry));
        wanted.map(|entry| entry.ticket).collect()
    }

    /// How many jobs there are for a kind of worker.
    pub(super) fn count(&self, kind: Kind) -> KindCounts {
        self.counts[usize::from(kind.0)]
    }

    /// How many jobs wait, lie ahead or run.
    pub(super) fn len(&self) -> usize {
        self.counts.iter().map(KindCounts::jobs).sum()
    }

    /// What waits and what is free, for those who show it.
    pub(super) fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    pub(super) fn load(&self) -> Load {
        self.scheduler.load()
    }

    /// Decides which job starts now, and asks before it takes its claims whether it may. One that starts has to be
    /// [started](Self::start) here, too.
    pub(super) fn pop_if(
        &mut self,
        now: Instant,
        mut admit: impl FnMut(&Entry) -> Result<(), Instant>,
    ) -> Decision {
        let entries = &mut self.entries;
        self.scheduler.pop_if(now, |ticket| {
            let entry = entry_of(entries, ticket);
            let admitted = admit(entry);
            entry.rejected = admitted.is_err();
            admitted
        })
    }

    /// A job that waits starts not before this moment.
    pub(super) fn postpone(&mut self, ticket: Ticket, not_before: Instant) {
        expect_known(self.scheduler.postpone(ticket, not_before));
    }

    /// A job that was popped starts.
    pub(super) fn start(&mut self, ticket: Ticket, now: Instant) {
        let entry = entry_of(&mut self.entries, ticket);
        let counts = &mut self.counts[usize::from(entry.kind.0)];
        counts.waiting -= 1;
        counts.running += 1;
        self.begin(ticket, now);
    }

    /// An attempt at a job begins.
    fn begin(&mut self, ticket: Ticket, now: Instant) {
        let entry = entry_of(&mut self.entries, ticket);
        expect_known(self.scheduler.take_waits(ticket, &mut entry.times.waits));
        entry.state = State::Running;
        entry.since = now;
        entry.first_start.get_or_insert(now);
        entry.attempts += 1;
        if let Some(when) = entry.patience.take() {
            self.patience.remove(&(when, ticket));
        }
    }

    /// Notes of an attempt that has ended when it began, and in which slot. This comes before the slot is
    /// [freed](Self::free).
    pub(super) fn note_end(&mut self, ticket: Ticket, attempted: &mut Attempted, now: Instant) {
        attempted.slot = self.scheduler.slot(ticket);
        let entry = entry_of(&mut self.entries, ticket);
        let (started, way) = (entry.since, way(entry));
        let began = entry.times.attempt_ended(started, attempted.ran, way, now);
        attempted.began = Some(began);
    }

    /// Notes of an attempt that comes back from this worker and has not begun there. This comes before its slot is
    /// [freed](Self::free).
    pub(super) fn note_return(
        &mut self,
        ticket: Ticket,
        worker: Option<WorkerName>,
        turn: Turn<'_>,
    ) {
        let slot = self.scheduler.slot(ticket);
        let entry = entry_of(&mut self.entries, ticket);
        let started = entry.since;
        let lost = turn.now.saturating_duration_since(started);
        entry.times.waits.add(way(entry), lost);
        entry.times.push(AttemptDetail {
            number: entry.attempts,
            slot,
            worker,
            started: turn.observers.at(started),
            duration: Duration::ZERO,
            end: AttemptEnd::Returned,
        });
    }

    /// A job that has started runs on this seat.
    pub(super) fn take_seat(&mut self, ticket: Ticket, seat: SeatId) {
        entry_of(&mut self.entries, ticket).seat = Some(seat);
    }

    /// Takes the next job of a kind that may lie ahead of its turn, on this seat.
    pub(super) fn pop_ahead(&mut self, kind: Kind, seat: SeatId, now: Instant) -> Option<Ticket> {
        let ticket = self.scheduler.pop_ahead(kind, now)?;
        let entry = entry_of(&mut self.entries, ticket);
        entry.state = State::Ahead;
        entry.seat = Some(seat);
        let counts = &mut self.counts[usize::from(kind.0)];
        counts.waiting -= 1;
        counts.ahead += 1;
        Some(ticket)
    }

    /// An attempt gives back what it held. One that lay ahead and began in its place gets the slot in the same step, so
    /// that nobody comes between.
    ///
    /// The job is still there afterwards, and either [waits again](Self::wait_again) or is [taken out](Self::take).
    pub(super) fn free(
        &mut self,
        ticket: Ticket,
        end: End,
        next: Option<Ticket>,
        now: Instant,
    ) -> Freed {
        // One that was given up meanwhile has its outcome already.
        let is_ahead = |entry: &Entry| entry.state == State::Ahead;
        let next = next.filter(|next| self.find(*next).is_some_and(is_ahead));
        match next {
            Some(next) => expect_known(self.scheduler.begin_after(ticket, end, next)),
            None => expect_known(self.scheduler.end(ticket, end)),
        }
        let entry = entry_of(&mut self.entries, ticket);
        let freed = Freed {
            kind: entry.kind,
            seat: entry.seat.take(),
            next,
        };
        self.counts[usize::from(freed.kind.0)].running -= 1;
        if let Some(next) = next {
            let entry = entry_of(&mut self.entries, next);
            let counts = &mut self.counts[usize::from(entry.kind.0)];
            counts.ahead -= 1;
            counts.running += 1;
            self.begin(next, now);
        }
        freed
    }

    /// A job whose attempt has failed waits for another one.
    pub(super) fn wait_again(&mut self, ticket: Ticket, failure: Box<Failure>, now: Instant) {
        let entry = entry_of(&mut self.entries, ticket);
        self.counts[usize::from(entry.kind.0)].waiting += 1;
        entry.state = State::Waiting;
        entry.since = now;
        entry.failure = Some(failure);
    }

    /// A job whose attempt has not begun, though it had started for the scheduler, waits as if nothing had been.
    pub(super) fn uncharge(&mut self, ticket: Ticket, now: Instant) {
        let entry = entry_of(&mut self.entries, ticket);
        self.counts[usize::from(entry.kind.0)].waiting += 1;
        entry.state = State::Waiting;
        entry.attempts -= 1;
        entry.since = now;
        self.be_patient_again(ticket, now);
    }

    /// A job that lay ahead waits in its old place.
    pub(super) fn put_back(&mut self, ticket: Ticket, now: Instant) {
        expect_known(self.scheduler.put_back(ticket));
        let entry = entry_of(&mut self.entries, ticket);
        let counts = &mut self.counts[usize::from(entry.kind.0)];
        counts.ahead -= 1;
        counts.waiting += 1;
        entry.state = State::Waiting;
        entry.seat = None;
        self.be_patient_again(ticket, now);
    }

    /// A job waits for its first start once more, for as long as it has patience left.
    fn be_patient_again(&mut self, ticket: Ticket, now: Instant) {
        let entry = entry_of(&mut self.entries, ticket);
        if entry.attempts > 0 {
            return;
        }
        entry.first_start = None;
        let waited = now.saturating_duration_since(entry.times.arrived);
        let limit = entry.job.terms.timeouts.queue;
        let left = limit.map(|limit| limit.saturating_sub(waited));
        let patience = left.and_then(|left| now.checked_add(left));
        // One that lay ahead has kept its patience.
        if let Some(before) = std::mem::replace(&mut entry.patience, patience) {
            self.patience.remove(&(before, ticket));
        }
        if let Some(when) = patience {
            self.patience.insert((when, ticket));
        }
    }

    /// The next job that has waited for its first start for as long as it may. Each is named once.
    pub(super) fn pop_impatient(&mut self, now: Instant) -> Option<&Entry> {
        let &(when, ticket) = self.patience.first()?;
        if when > now {
            return None;
        }
        self.patience.remove(&(when, ticket));
        let entry = entry_of(&mut self.entries, ticket);
        entry.patience = None;
        Some(entry)
    }

    /// When the next job has waited for as long as it may.
    pub(super) fn next_impatience(&self) -> Option<Instant> {
        self.patience.first().map(|(when, _)| *when)
    }

    /// Takes out a job whose last attempt was [freed](Self::free).
    pub(super) fn take(&mut self, ticket: Ticket) -> Entry {
        debug_assert!(
            self.uncertain.attempt() != Some(ticket),
            "a job that ends has begun by then"
        );
        #[expect(
            clippy::expect_used,
            reason = "a job is taken out once, by whoever ends it"
        )]
        let entry = self.entries[ticket.index()]
            .take()
            .expect("a job that ends has its entry");
        if let Some(when) = entry.patience {
            self.patience.remove(&(when, ticket));
        }
        entry
    }

    /// Takes out a job that waits.
    pub(super) fn cancel(&mut self, ticket: Ticket) -> Entry {
        let waits = &mut entry_of(&mut self.entries, ticket).times.waits;
        expect_known(self.scheduler.take_waits(ticket, waits));
        let cancelled = expect_known(self.scheduler.cancel(ticket));
        assert!(
            matches!(cancelled, Cancelled::Removed),
            "only a job that waits is cancelled"
        );
        let entry = self.take(ticket);
        self.counts[usize::from(entry.kind.0)].waiting -= 1;
        entry
    }

    /// Takes out a job whatever it does: nobody waits for its attempt any longer.
    pub(super) fn give_up(&mut self, ticket: Ticket) -> Entry {
        self.uncertain.settle(ticket);
        let entry = self.get(ticket);
        let (kind, state) = (entry.kind, entry.state);
        match state {
            State::Waiting => return self.cancel(ticket),
            State::Ahead => {
                let waits = &mut entry_of(&mut self.entries, ticket).times.waits;
                expect_known(self.scheduler.take_waits(ticket, waits));
                expect_known(self.scheduler.put_back(ticket));
                expect_known(self.scheduler.cancel(ticket));
                self.counts[usize::from(kind.0)].ahead -= 1;
            }
            State::Running => {
                expect_known(self.scheduler.finish(ticket));
                self.counts[usize::from(kind.0)].running -= 1;
            }
        }
        self.take(ticket)
    }

    /// Says how many attempts of a kind can begin. This process has no seats, and performs any number.
    pub(super) fn set_seats(&mut self, kind: Kind, seats: Option<&Seats>) {
        if let Some(seats) = seats {
            self.scheduler
                .set_workers(kind, Workers::Free(seats.free()));
        }
        if self.uncertain.has_rates() {
            let workers = self.uncertain.workers(seats);
            self.scheduler
                .set_workers(self.uncertain.rated(kind), workers);
        }
    }

    /// Whether jobs have come that take tokens, so that their seats are counted, too.
    pub(super) fn has_rates(&self) -> bool {
        self.uncertain.has_rates()
    }

    /// The attempt that has taken tokens and of which it is not known whether it has begun.
    pub(super) fn uncertain(&self) -> Option<Ticket> {
        self.uncertain.attempt()
    }

    /// An attempt that takes tokens was given to a worker that may not read it at once.
    pub(super) fn begins_later(&mut self, ticket: Ticket) {
        self.uncertain.begins_later(ticket);
    }

    /// An attempt has begun, now at the latest. Says whether that was in doubt.
    pub(super) fn began_by_now(&mut self, ticket: Ticket, now: Instant) -> bool {
        let was_uncertain = self.uncertain.settle(ticket);
        if was_uncertain {
            expect_known(self.scheduler.began_late(ticket, now));
        }
        was_uncertain
    }

    /// An attempt has not begun and will not, so that its tokens were not used. Says whether that was in doubt.
    pub(super) fn never_began(&mut self, ticket: Ticket) -> bool {
        self.uncertain.settle(ticket)
    }

    pub(super) fn set_slots(&mut self, slots: u32) -> Result<(), Error> {
        if slots == 0 {
            return Err(Error::ImpossibleSlots { asked: 1, total: 0 });
        }
        self.scheduler.set_slots(slots)
    }

    pub(super) fn set_limit(
        &mut self,
        name: &str,
        limit: Limit,
        now: Instant,
    ) -> Result<(), Error> {
        let id = self.scheduler.limit(name)?;
        self.scheduler.set_limit(id, limit, now)
    }
}

/// What the way of an attempt to whoever performs it, and back, is charged to.
fn way(entry: &Entry) -> Blocker {
    match entry.seat {
        Some(_) => Blocker::Worker,
        None => Blocker::Slot,
    }
}

fn entry_of(entries: &mut [Option<Entry>], ticket: Ticket) -> &mut Entry {
    #[expect(
        clippy::expect_used,
        reason = "the scheduler knows exactly the tickets that have an entry"
    )]
    entries[ticket.index()]
        .as_mut()
        .filter(|entry| entry.ticket == ticket)
        .expect("a ticket that the scheduler knows has its entry")
}

/// What the scheduler says of a ticket whose entry is in the state that the call needs.
fn expect_known<T>(said: Result<T, Error>) -> T {
    #[expect(
        clippy::expect_used,
        reason = "entries and scheduler change state in the same step"
    )]
    said.expect("the scheduler knows each job in the state that its entry has")
}
