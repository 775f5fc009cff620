//! The attempts that a worker has: which of them it works on, and how much time they have left.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use crate::executor::reporter::Reporter;
use crate::job::Timeouts;
use crate::outcome::{Class, Failure};
use crate::worker::orders::{Key, Work};

/// All attempts of one worker, in the order they were sent.
///
/// The oldest that are unanswered are what it works on, as many as it works on at once; the others lie
/// in its pipe. The clocks of an attempt start when the worker turns to it.
#[derive(Debug)]
pub(super) struct InFlight {
    entries: VecDeque<Entry>,
    next_id: u64,
    begun: usize,
    concurrency: usize,
}

/// One attempt.
#[derive(Debug)]
pub(super) struct Entry {
    /// What it is called on the wire.
    pub(super) id: u64,
    pub(super) work: Work,
    pub(super) begun: Option<Begun>,
    /// It was asked back.
    pub(super) recalled: bool,
}

/// An attempt that the worker has turned to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) at: Instant,
    /// When it last told of progress.
    sign: Instant,
    pub(super) asked: Option<Asked>,
}

/// An attempt that was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) why: Why,
    kill_at: Option<Instant>,
}

/// Why an attempt is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It ran this long.
    Time(Duration),
    /// It told nothing for this long.
    Silence(Duration),
    /// Nobody wants it any more.
    Unwanted,
}

/// What is to be done now that time has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Ask this attempt to stop.
    Ask(u64, Why),
    /// Kill the worker, for this attempt's sake.
    Kill(u64, Why),
}

impl InFlight {
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            next_id: 1,
            begun: 0,
            concurrency: 1,
        }
    }

    /// How many attempts the worker works on at once.
    pub(super) fn set_concurrency(&mut self, concurrency: NonZeroU32) {
        self.concurrency = usize::try_from(concurrency.get()).unwrap_or(usize::MAX);
    }

    pub(super) fn is_serial(&self) -> bool {
        self.concurrency == 1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the worker turns at once to what it is sent next.
    pub(super) fn has_room(&self) -> bool {
        self.begun < self.concurrency
    }

    /// What the next attempt is called on the wire.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id
    }

    /// An attempt was sent. Says whether the worker turns to it at once.
    pub(super) fn push(&mut self, work: Work, now: Instant) -> bool {
        let begins = self.has_room();
        self.begun += usize::from(begins);
        self.entries.push_back(Entry {
            id: self.next_id,
            work,
            begun: begins.then(|| Begun::new(now)),
            recalled: false,
        });
        self.next_id += 1;
        begins
    }

    /// The oldest attempt that the worker works on: what is meant where no id is given.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.id)
    }

    fn place(&self, id: u64) -> Option<usize> {
        // Answers come in order, as a rule.
        if self.entries.front()?.id == id {
            return Some(0);
        }
        self.entries
            .binary_search_by_key(&id, |entry| entry.id)
            .ok()
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Entry> {
        let place = self.place(id)?;
        self.entries.get_mut(place)
    }

    pub(super) fn find(&mut self, key: Key) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .find(|entry| entry.work.key() == key)
    }

    /// The attempts of an executor, each with whether it has begun.
    pub(super) fn of(&self, executor: &Reporter) -> Vec<(u64, bool)> {
        let theirs = self
            .entries
            .iter()
            .filter(|entry| entry.work.is_of(executor));
        theirs
            .map(|entry| (entry.id, entry.begun.is_some()))
            .collect()
    }

    /// Takes out an attempt that was answered.
    pub(super) fn remove(&mut self, id: u64) -> Option<Entry> {
        let place = self.place(id)?;
        let entry = self.entries.remove(place)?;
        self.begun -= usize::from(entry.begun.is_some());
        Some(entry)
    }

    /// The worker turns to the next attempt, if it has one and room for it.
    pub(super) fn begin_next(&mut self, now: Instant) -> Option<&Entry> {
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
        entry.begun = Some(Begun::new(now));
        self.begun += 1;
        self.entries.get(next)
    }

    /// Those that were sent ahead and have neither begun nor been asked back yet.
    pub(super) fn waiting(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries
            .iter_mut()
            .filter(|entry| entry.begun.is_none() && !entry.recalled)
    }

    /// When to look at [`due`](Self::due) again.
    pub(super) fn deadline(&self, can_ask: bool) -> Option<Instant> {
        self.running()
            .filter_map(|(entry, begun)| entry.deadline(begun, can_ask).map(|(at, _)| at))
            .min()
    }

    /// What is to be done by now.
    pub(super) fn due(&self, can_ask: bool, now: Instant) -> Option<Due> {
        self.running().find_map(|(entry, begun)| {
            let (at, due) = entry.deadline(begun, can_ask)?;
            (at <= now).then_some(due)
        })
    }

    fn running(&self) -> impl Iterator<Item = (&Entry, Begun)> {
        let running = self
            .entries
            .iter()
            .take_while(|entry| entry.begun.is_some() || !self.is_serial());
        running.filter_map(|entry| Some((entry, entry.begun?)))
    }

    /// Takes out everything that is left, the worker being no more.
    pub(super) fn take_all(&mut self) -> VecDeque<Entry> {
        self.begun = 0;
        std::mem::take(&mut self.entries)
    }
}

impl Begun {
    fn new(now: Instant) -> Self {
        Self {
            at: now,
            sign: now,
            asked: None,
        }
    }
}

impl Entry {
    /// It told of progress.
    pub(super) fn show_life(&mut self, now: Instant) {
        if let Some(begun) = &mut self.begun {
            begun.sign = now;
        }
    }

    /// It was asked to stop; the first reason stays, the nearer end counts.
    pub(super) fn ask(&mut self, why: Why, grace: Duration, now: Instant) {
        let hard = self.work.job.terms.timeouts.hard;
        let Some(begun) = &mut self.begun else { return };
        let mut kill_at = now.checked_add(grace);
        if why != Why::Unwanted
            && let Some(hard) = hard
        {
            let hard_at = begun.at.checked_add(hard);
            kill_at = hard_at.max(now.checked_add(Timeouts::LAST_MOMENT));
        }
        let before = begun.asked.unwrap_or(Asked { why, kill_at });
        begun.asked = Some(Asked {
            why: before.why,
            kill_at: earlier(before.kill_at, kill_at),
        });
    }

    /// What is to be done with it next, and when.
    fn deadline(&self, begun: Begun, can_ask: bool) -> Option<(Instant, Due)> {
        if let Some(Asked { why, kill_at }) = begun.asked {
            return Some((kill_at?, Due::Kill(self.id, why)));
        }
        let timeouts = self.work.job.terms.timeouts;
        let after = |since: Instant, limit: Option<Duration>, why: fn(Duration) -> Why| {
            Some((since.checked_add(limit?)?, why(limit?)))
        };
        let soft = after(begun.at, timeouts.soft, Why::Time);
        let hard = after(begun.at, timeouts.hard, Why::Time);
        let idle = after(begun.sign, timeouts.idle, Why::Silence);
        let first = |one: Option<(Instant, Why)>, other: Option<(Instant, Why)>| match (one, other)
        {
            (Some(one), Some(other)) => Some(if other.0 < one.0 { other } else { one }),
            (one, other) => one.or(other),
        };
        if can_ask {
            let ask = first(soft, idle);
            return match (ask, hard) {
                (Some((ask, _)), Some((kill, why))) if kill < ask => {
                    Some((kill, Due::Kill(self.id, why)))
                }
                (Some((at, why)), _) => Some((at, Due::Ask(self.id, why))),
                (None, Some((at, why))) => Some((at, Due::Kill(self.id, why))),
                (None, None) => None,
            };
        }
        // Who cannot be asked is only ever killed, and then as late as its terms allow.
        let (at, why) = first(hard.or(soft), idle)?;
        Some((at, Due::Kill(self.id, why)))
    }

    /// How long it has run.
    pub(super) fn ran(&self, now: Instant) -> Duration {
        self.begun.map_or(Duration::ZERO, |begun| {
            now.saturating_duration_since(begun.at)
        })
    }

    /// Why it was asked to stop, if it was.
    pub(super) fn asked(&self) -> Option<Why> {
        Some(self.begun?.asked?.why)
    }
}

impl Why {
    /// What an attempt comes to that stops for it.
    pub(super) fn failure(self) -> Failure {
        match self {
            Self::Time(limit) => Failure::new(Class::Timeout, format!("timed out after {limit:?}")),
            Self::Silence(limit) => Failure::new(
                Class::Timeout,
                format!("timed out: no progress for {limit:?}"),
            ),
            Self::Unwanted => Failure::new(Class::Cancelled, "cancelled while it ran"),
        }
    }

    /// What the worker is told.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Time(_) | Self::Silence(_) => "timeout",
            Self::Unwanted => "cancelled",
        }
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
