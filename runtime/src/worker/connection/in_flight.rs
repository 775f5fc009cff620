//! The attempts that a worker has: which of them have begun, and when their timeouts are due.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use ratchet_ipc::Payload;

use crate::dispatch::{Assignment, AttemptKey, StopAction, StopClock, StopMethod, StopReason};
use crate::ids::{SlotNumber, Ticket};
use crate::job::Work;
use crate::outcome::Failure;

/// All attempts of one worker that are not answered, in the order in which they were sent.
///
/// The worker works on the oldest of them, up to its concurrency. The others wait in its pipe. The timeouts of an
/// attempt start when it becomes one of the oldest.
#[derive(Debug)]
pub(super) struct InFlight {
    entries: VecDeque<InFlightAttempt>,
    /// The id of the next request. Ids are not used twice.
    next_id: u64,
    /// How many of the oldest entries the worker works on.
    begun: usize,
    /// How many requests the worker works on at once, according to its hello.
    concurrency: usize,
    /// How many entries have an early answer.
    early: usize,
}

/// An attempt that was sent to a worker and is not answered.
#[derive(Debug)]
pub(super) struct InFlightAttempt {
    /// The id of its request.
    pub(super) id: u64,
    /// The attempt.
    pub(super) assignment: Assignment,
    /// The number of bytes that the worker reads before its request. `None` if they are not counted.
    pub(super) starts_at: Option<u64>,
    /// The clock of the attempt once it has begun.
    pub(super) begun: Option<StopClock>,
    /// The worker has said that it has started it.
    pub(super) said_started: bool,
    /// The worker was asked to give it back.
    pub(super) recalled: bool,
    /// The worker has answered it, and its files are being pulled.
    pub(super) is_pulling: bool,
    /// The answer that came before the attempt has begun. It counts when the attempt begins: until then the attempt holds
    /// no slot that the run could free, and the run would send a job that came back to the same worker at once.
    early: Option<EarlyAnswer>,
}

/// The answer to an attempt that has not begun.
pub(super) type EarlyAnswer = Result<Payload, Box<Failure>>;

impl InFlight {
    /// Makes the list of a worker that has no attempts and works on one at a time.
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            next_id: 1,
            begun: 0,
            concurrency: 1,
            early: 0,
        }
    }

    /// Sets how many attempts the worker works on at once.
    #[expect(clippy::expect_used, reason = "a usize has at least 32 bits here")]
    pub(super) fn set_concurrency(&mut self, concurrency: NonZeroU32) {
        self.concurrency = usize::try_from(concurrency.get()).expect("a u32 fits into a usize");
    }

    /// Whether the worker works on one attempt at a time.
    pub(super) fn is_serial(&self) -> bool {
        self.concurrency == 1
    }

    /// Whether no attempt is unanswered.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the next attempt that is sent begins at once.
    pub(super) fn has_room(&self) -> bool {
        self.begun < self.concurrency
    }

    /// Returns the attempt of which a message must be that names no attempt: the oldest of a worker that works on one
    /// at a time, or the only one.
    pub(super) fn only_candidate(&self) -> Option<u64> {
        (self.is_serial() || self.entries.len() == 1)
            .then(|| self.oldest())
            .flatten()
    }

    /// Whether an attempt with this id is unanswered.
    pub(super) fn has(&self, id: u64) -> bool {
        self.place(id).is_some()
    }

    /// Whether an attempt with this id waits for its answer.
    pub(super) fn is_open(&mut self, id: u64) -> bool {
        let entry = self.get_mut(id);
        entry.is_some_and(|entry| !entry.is_pulling && entry.early.is_none())
    }

    /// Returns the id of the next request.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Returns the slot in which an attempt will begin if it is sent now. One that is sent ahead gets the slot of the
    /// attempt that it replaces, which is not known where the worker works on several at once.
    pub(super) fn slot_of(&self, assignment: &Assignment) -> Option<SlotNumber> {
        if assignment.ahead && self.is_serial() {
            self.entries.back()?.assignment.slot
        } else {
            assignment.slot
        }
    }

    /// Adds an attempt that was sent. Returns whether it begins at once.
    pub(super) fn push(
        &mut self,
        assignment: Assignment,
        starts_at: Option<u64>,
        now: Instant,
    ) -> bool {
        let begins = self.has_room();
        self.begun += usize::from(begins);
        self.entries.push_back(InFlightAttempt {
            id: self.next_id,
            assignment,
            starts_at,
            begun: begins.then(|| StopClock::new(now)),
            said_started: false,
            recalled: false,
            is_pulling: false,
            early: None,
        });
        self.next_id += 1;
        begins
    }

    /// Returns the id of the oldest attempt. A message without an id is about this attempt.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.id)
    }

    /// Returns the index of the attempt with this id.
    fn place(&self, id: u64) -> Option<usize> {
        // Answers mostly come in order. Ids only grow, so a binary search finds the others.
        if self.entries.front()?.id == id {
            return Some(0);
        }
        self.entries
            .binary_search_by_key(&id, |entry| entry.id)
            .ok()
    }

    /// Finds an attempt by the id of its request.
    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut InFlightAttempt> {
        let place = self.place(id)?;
        self.entries.get_mut(place)
    }

    /// Finds an attempt by its key.
    pub(super) fn find(&mut self, key: AttemptKey) -> Option<&mut InFlightAttempt> {
        self.entries
            .iter_mut()
            .find(|entry| entry.assignment.key() == key)
    }

    /// Returns the attempts of runs, each with whether it has begun.
    pub(super) fn of_run(&self) -> Vec<(u64, bool)> {
        let of_run = self
            .entries
            .iter()
            .filter(|entry| entry.assignment.is_of_run());
        of_run
            .map(|entry| (entry.id, entry.begun.is_some()))
            .collect()
    }

    /// Returns how many attempts the worker may have seen if it has read this many bytes. Attempts whose bytes are not
    /// counted are among them.
    #[expect(
        clippy::expect_used,
        reason = "so many attempts do not fit into memory"
    )]
    pub(super) fn sent_before(&self, read: u64) -> u32 {
        let entries = self.entries.iter();
        let seen = entries.filter(|entry| entry.starts_at < Some(read)).count();
        u32::try_from(seen).expect("a worker has fewer than four thousand million attempts")
    }

    /// Returns how many attempts the worker has.
    #[expect(
        clippy::expect_used,
        reason = "so many attempts do not fit into memory"
    )]
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.entries.len())
            .expect("a worker has fewer than four thousand million attempts")
    }

    /// Removes an attempt that was answered.
    pub(super) fn remove(&mut self, id: u64) -> Option<InFlightAttempt> {
        let place = self.place(id)?;
        let entry = self.entries.remove(place)?;
        self.begun -= usize::from(entry.begun.is_some());
        self.early -= usize::from(entry.early.is_some());
        Some(entry)
    }

    /// Keeps an answer until its attempt begins.
    pub(super) fn answer_early(&mut self, id: u64, answer: EarlyAnswer) {
        if let Some(entry) = self.get_mut(id) {
            let is_first = entry.early.replace(answer).is_none();
            self.early += usize::from(is_first);
        }
    }

    /// Takes the answer of an attempt that has begun after it was answered, with the id of the attempt.
    pub(super) fn take_early(&mut self) -> Option<(u64, EarlyAnswer)> {
        if self.early == 0 {
            return None;
        }
        let mut begun = self.entries.iter_mut().filter(|one| one.begun.is_some());
        let taken = begun.find_map(|entry| Some((entry.id, entry.early.take()?)));
        self.early -= usize::from(taken.is_some());
        taken
    }

    /// Begins the oldest attempt that has not begun, if there is one and the worker has room for it.
    pub(super) fn begin_next(&mut self, now: Instant) -> Option<&InFlightAttempt> {
        if !self.has_room() || self.begun >= self.entries.len() {
            return None;
        }
        let next = match self.entries.front() {
            Some(first) if first.begun.is_none() => 0,
            _ => self
                .entries
                .iter()
                .position(|entry| entry.begun.is_none())?,
        };
        let entry = self.entries.get_mut(next)?;
        entry.begun = Some(StopClock::new(now));
        self.begun += 1;
        self.entries.get(next)
    }

    /// Returns the attempts that were sent ahead, have not begun, are not answered, and were not recalled yet.
    pub(super) fn waiting(&mut self) -> impl Iterator<Item = &mut InFlightAttempt> {
        self.entries
            .iter_mut()
            .filter(|entry| entry.begun.is_none() && entry.early.is_none() && !entry.recalled)
    }

    /// Returns the earliest time at which [`due`](Self::due) returns something.
    pub(super) fn deadline(&self, can_ask: bool) -> Option<Instant> {
        self.running()
            .filter_map(|(entry, clock)| entry.next(clock, can_ask).map(|(at, _)| at))
            .min()
    }

    /// Returns the first step that is due for a timeout now, with the id of its attempt.
    pub(super) fn due(&self, can_ask: bool, now: Instant) -> Option<(u64, StopAction)> {
        self.running().find_map(|(entry, clock)| {
            let (at, due) = entry.next(clock, can_ask)?;
            (at <= now).then_some((entry.id, due))
        })
    }

    /// Returns the attempts that have begun, with their clocks.
    fn running(&self) -> impl Iterator<Item = (&InFlightAttempt, &StopClock)> {
        let running = self
            .entries
            .iter()
            .take_while(|entry| entry.begun.is_some() || !self.is_serial());
        running.filter_map(|entry| Some((entry, entry.begun.as_ref()?)))
    }

    /// Removes all attempts, because the worker has ended.
    pub(super) fn take_all(&mut self) -> VecDeque<InFlightAttempt> {
        (self.begun, self.early) = (0, 0);
        std::mem::take(&mut self.entries)
    }
}

impl InFlightAttempt {
    /// Records that the attempt has reported progress.
    pub(super) fn note_activity(&mut self, now: Instant) {
        if let Some(clock) = &mut self.begun {
            clock.note_activity(now);
        }
    }

    /// Starts the grace until the kill. It runs whether the worker understands `cancel` or not.
    pub(super) fn ask(&mut self, why: StopReason, grace: Duration, now: Instant) {
        let timeouts = self.assignment.job.terms.timeouts;
        if let Some(clock) = &mut self.begun {
            clock.ask(why, &timeouts, StopMethod::Asked, grace, now);
        }
    }

    /// Returns the next step that the timeouts of the attempt require.
    fn next(&self, clock: &StopClock, can_ask: bool) -> Option<(Instant, StopAction)> {
        let method = if can_ask {
            StopMethod::Asked
        } else {
            StopMethod::Killed
        };
        clock.next(&self.assignment.job.terms.timeouts, method)
    }

    /// Returns how long the attempt has run, or zero if it has not begun.
    pub(super) fn ran(&self, now: Instant) -> Duration {
        self.begun.map_or(Duration::ZERO, |clock| clock.ran(now))
    }

    /// Takes the answer that came before the attempt has begun, if it counts without the worker: files of the worker cannot be
    /// brought back any more.
    pub(super) fn take_final_early(&mut self) -> Option<EarlyAnswer> {
        let has_files = matches!(&self.assignment.job.work, Work::Task { pull: Some(_), .. });
        self.early.take_if(|answer| answer.is_err() || !has_files)
    }

    /// Returns the ticket of the attempt, if it belongs to a run.
    pub(super) fn ticket(&self) -> Option<Ticket> {
        self.assignment.key().ticket()
    }

    /// Returns the reason for which the attempt was asked to stop, if it was.
    pub(super) fn asked(&self) -> Option<StopReason> {
        self.begun?.asked()
    }
}

#[cfg(test)]
mod tests;
