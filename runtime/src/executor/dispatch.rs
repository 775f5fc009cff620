//! How attempts begin: by their turn, or sent ahead of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_ipc::HostName;
use ratchet_resilience::shutdown::Phase;

use super::breakers::Verdict;
use super::orchestrator::{Entry, KindCounts, Orchestrator, State, entry_of, expect_known};
use super::performers::reply;
use crate::dispatch::{Assignment, Demand};
use crate::event::Event;
use crate::ids::Ticket;
use crate::ids::WorkerName;
use crate::scheduling::{Decision, Kind};

impl Orchestrator {
    /// Starts what may start.
    pub(super) fn dispatch(&mut self) {
        self.wake = None;
        if !self.is_running() || self.held.is_some() || self.paused || self.is_clogged() {
            return;
        }
        loop {
            match self.scheduler.pop(self.now) {
                Decision::Start(ticket) => self.start(ticket),
                Decision::WaitUntil(when) => {
                    self.wake = Some(when);
                    break;
                }
                Decision::Idle => break,
            }
        }
        // A breaker has to be asked when an attempt begins, and one that is sent ahead begins elsewhere.
        if self.breakers.is_empty() {
            self.send_ahead();
        }
    }

    /// Sends fully parallel jobs to workers that are busy, so that these need not wait for the next one.
    fn send_ahead(&mut self) {
        for number in 0..self.counts.len() {
            let kind = kind(number);
            while self.counts[number].running > 0
                && self.counts[number].waiting > 0
                && self.send_one_ahead(kind)
            {}
        }
    }

    /// Sends one job ahead. Says whether there was one, and a place in a pipe for it.
    fn send_one_ahead(&mut self, kind: Kind) -> bool {
        let Some(pool) = self.performers.pool(kind) else {
            return false; // What runs here is never sent ahead.
        };
        let Some(seat) = pool.seats.take_ahead() else {
            return false;
        };
        let Some(ticket) = self.scheduler.pop_ahead(kind, self.now) else {
            pool.seats.unstaged(seat, self.now);
            return false;
        };
        let link = pool.seats.link(seat).clone();
        let counts = &mut self.counts[usize::from(kind.0)];
        counts.ahead += 1;
        counts.waiting -= 1;
        let entry = entry_of(&mut self.entries, ticket);
        entry.state = State::Ahead;
        entry.seat = Some(seat);
        let assignment = Assignment {
            job: Arc::clone(&entry.job),
            attempt: entry.attempts + 1,
            ahead: true,
            reply: reply(ticket, &self.reporter),
        };
        if link.perform(assignment).is_err() {
            self.returned(ticket, None, true);
        }
        true
    }

    /// Pools grow by how many jobs wait for a seat, and replace no worker for which nothing is left.
    pub(super) fn tell_demand(&mut self) {
        for number in 0..self.counts.len() {
            let kind = kind(number);
            if self.performers.pool(kind).is_some() {
                let demand = self.demand(kind);
                self.performers.demand(kind, demand);
            }
        }
    }

    /// How much work is left for a kind.
    pub(super) fn demand(&mut self, kind: Kind) -> Demand {
        let queued: usize = self.counts.iter().map(KindCounts::jobs).sum();
        // Any kind may be the one of a job that is still on its way to the queue.
        let comes = !self.source.is_dry() || self.living > queued + self.provisional.held();
        let counts = self.counts[usize::from(kind.0)];
        let unresolved = if self.kinds.silent().contains(&kind) {
            self.unresolved.len()
        } else {
            0
        };
        let free = self
            .performers
            .pool(kind)
            .map_or(0, |pool| pool.seats.free() as usize);
        let unseated = (counts.waiting + unresolved).saturating_sub(free);
        match self.phases.phase() {
            Phase::Running if comes || counts.waiting + unresolved > 0 => Demand::Open {
                // Pools start no more workers than they may have, and the figure changes with every job.
                unseated: unseated.min(MOST_UNSEATED),
            },
            Phase::Running if counts.jobs() > 0 => Demand::Last,
            Phase::Running | Phase::Draining | Phase::Cancelling => Demand::Over,
            Phase::Killing => Demand::Killed,
        }
    }

    /// The scheduler lets a job start.
    fn start(&mut self, ticket: Ticket) {
        let now = self.now;
        let entry = entry_of(&mut self.entries, ticket);
        let kind = entry.kind;
        let name = self.kinds.name(kind);
        let verdict = self.breakers.admit(&entry.job, kind, name, now);
        match verdict {
            Verdict::Free => {}
            Verdict::Admitted(admission) => entry.admission = Some(Box::new(admission)),
            Verdict::Rejected { until } => {
                entry.rejected = true;
                expect_known(self.scheduler.retry(ticket, until));
                self.count_workers(kind);
                return;
            }
        }
        let counts = &mut self.counts[usize::from(kind.0)];
        counts.waiting -= 1;
        counts.running += 1;
        entry.start(now);
        if let Some(when) = entry.patience.take() {
            self.patience.remove(&(when, ticket));
        }
        tracing::trace!(
            target: "ratchet_runtime::grants",
            job = entry.job.id.as_str(),
            attempt = entry.attempts,
            after_ns = nanos(now.saturating_duration_since(self.rules.began)),
            "an attempt may begin"
        );
        let assignment = Assignment {
            job: Arc::clone(&entry.job),
            attempt: entry.attempts,
            ahead: false,
            reply: reply(ticket, &self.reporter),
        };
        let Some(pool) = self.performers.pool(kind) else {
            self.performers.perform_here(ticket, assignment);
            return self.tell_start(ticket, None);
        };
        let host = entry.job.host.as_ref().map(HostName::as_str);
        let seat = pool.seats.take(host);
        assert!(
            seat.is_some(),
            "the scheduler starts no more attempts of a kind than it has free seats"
        );
        entry.seat = seat;
        let Some(seat) = seat else { return };
        let (link, worker) = (pool.seats.link(seat).clone(), pool.seats.name(seat).clone());
        let is_uncertain = entry.is_rated && !pool.seats.is_proven(seat);
        if link.perform(assignment).is_err() {
            return self.returned(ticket, None, true);
        }
        if is_uncertain {
            self.note_uncertain(ticket);
        } else if self.has_rates {
            // Both kinds of the worker have a seat less.
            self.count_workers(kind);
        }
        self.tell_start(ticket, Some(worker));
    }

    pub(super) fn tell_start(&self, ticket: Ticket, worker: Option<WorkerName>) {
        if let Some(entry) = self.entry(ticket) {
            self.tell(|| Event::AttemptStarted {
                id: entry.job.id.clone(),
                item: entry.job.item.as_ref().map(|item| item.name.clone()),
                attempt: entry.attempts,
                worker,
            });
        }
    }

    /// An attempt that was sent ahead has begun.
    pub(super) fn begin(&mut self, ticket: Ticket) {
        let now = self.now;
        let entry = entry_of(&mut self.entries, ticket);
        let kind = entry.kind;
        let counts = &mut self.counts[usize::from(kind.0)];
        counts.ahead -= 1;
        counts.running += 1;
        entry.start(now);
        if let Some(when) = entry.patience.take() {
            self.patience.remove(&(when, ticket));
        }
        self.stop_late(ticket);
    }
}

/// How many jobs that wait for a seat a pool hears of at most.
const MOST_UNSEATED: usize = 1024;

/// There are at most 65,536 kinds, which is checked when the run is put together.
#[expect(clippy::cast_possible_truncation, reason = "checked in wiring.rs")]
pub(super) fn kind(number: usize) -> Kind {
    Kind(number as u16)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Entry {
    /// It has begun.
    fn start(&mut self, now: Instant) {
        self.state = State::Running;
        self.queued += now.saturating_duration_since(self.since);
        self.since = now;
        self.first_start.get_or_insert(now);
        self.attempts += 1;
    }
}
