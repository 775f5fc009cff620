//! How attempts begin: by their turn, or sent ahead of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_resilience::shutdown::Phase;

use super::breakers::Verdict;
use super::crew::{Assignment, Prospect};
use super::orchestrator::{Entry, Orchestrator, Staff, State};
use crate::event::Event;
use crate::scheduling::{Decision, Kind, Ticket};
use crate::worker::WorkerName;

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
        for number in 0..self.staff.len() {
            let kind = Kind(u16::try_from(number).unwrap_or(u16::MAX));
            loop {
                let staff = &mut self.staff[number];
                let wanted = staff.places.map_or(0, |(_, ahead)| ahead);
                if staff.running == 0 || staff.ahead >= wanted || staff.waiting == 0 {
                    break;
                }
                let Some(ticket) = self.scheduler.pop_ahead(kind, self.now) else {
                    break;
                };
                let Some(Some(entry)) = self.entries.get_mut(ticket.index()) else {
                    break; // Every ticket has its entry until its end.
                };
                staff.ahead += 1;
                staff.waiting -= 1;
                entry.state = State::Ahead;
                let assignment = Assignment {
                    ticket,
                    job: Arc::clone(&entry.job),
                    number: entry.attempts + 1,
                    kind,
                    ahead: true,
                    edition: staff.edition,
                };
                self.router.start(assignment);
            }
        }
    }

    /// Pools grow by how many jobs wait for them, and replace no worker for which nothing is left.
    pub(super) fn tell_crews(&mut self) {
        let silent = self.unresolved.len();
        let phase = self.phases.phase();
        let queued: usize = self.staff.iter().map(Staff::jobs).sum();
        // Any kind may be the one of a job that is still on its way to the queue.
        let comes = !self.source.is_dry() || self.living > queued + self.provisional.held();
        for (number, staff) in (0..).zip(&mut self.staff) {
            let kind = Kind(number);
            let unresolved = if silent > 0 && self.kinds.silent().contains(&kind) {
                silent
            } else {
                0
            };
            let waiting = staff.waiting + unresolved;
            let prospect = match phase {
                Phase::Running if comes || waiting > 0 => Prospect::Open { waiting },
                Phase::Running if staff.jobs() > 0 => Prospect::Last,
                Phase::Running | Phase::Draining | Phase::Cancelling => Prospect::Over,
                Phase::Killing => Prospect::Killed,
            };
            if prospect != staff.prospect {
                staff.prospect = prospect;
                self.router.expect(kind, prospect);
            }
        }
    }

    /// The scheduler lets a job start.
    fn start(&mut self, ticket: Ticket) {
        let now = self.now;
        let Some(Some(entry)) = self.entries.get_mut(ticket.index()) else {
            return; // Every ticket has its entry until its end.
        };
        let staff = &mut self.staff[usize::from(entry.kind.0)];
        let name = self.kinds.name(entry.kind);
        let verdict = self.breakers.admit(&entry.job, entry.kind, name, now);
        match verdict {
            Verdict::Free => {}
            Verdict::Admitted(admission) => entry.admission = Some(Box::new(admission)),
            Verdict::Rejected { until } => {
                entry.rejected = true;
                let kind = entry.kind;
                if let Err(error) = self.scheduler.retry(ticket, until) {
                    tracing::error!(%error, "the scheduler does not know a job that it has started");
                }
                self.count_workers(kind);
                return;
            }
        }
        staff.waiting -= 1;
        staff.running += 1;
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
            ticket,
            job: Arc::clone(&entry.job),
            number: entry.attempts,
            kind: entry.kind,
            ahead: false,
            edition: staff.edition,
        };
        let is_here = staff.places.is_none();
        self.router.start(assignment);
        if is_here {
            self.tell_start(ticket, None);
        }
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

    /// One that was sent ahead has begun.
    pub(super) fn begin(&mut self, ticket: Ticket) {
        let now = self.now;
        let Some(Some(entry)) = self.entries.get_mut(ticket.index()) else {
            return;
        };
        let staff = &mut self.staff[usize::from(entry.kind.0)];
        staff.ahead -= 1;
        staff.running += 1;
        entry.start(now);
        let kind = entry.kind;
        if let Some(when) = entry.patience.take() {
            self.patience.remove(&(when, ticket));
        }
        self.stop_late(kind, ticket);
    }
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
