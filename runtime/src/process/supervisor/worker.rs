//! A worker, as its supervisor knows it.

use std::time::{Duration, Instant};

use ratchet_ipc::{Capability, Profile};

use crate::dispatch::{FilterState, Offer, Order, WorkerLink, WorkerNumber};
use crate::ids::WorkerName;
use crate::worker::state::{Move, WorkerState};

/// A worker, as its supervisor knows it.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, any of which may hold"
)]
pub(super) struct SupervisedWorker {
    pub(super) number: WorkerNumber,
    pub(super) name: WorkerName,
    pub(super) link: WorkerLink,
    pub(super) state: WorkerState,
    pub(super) concurrency: u32,
    gives_back: bool,
    is_proven: bool,
    pub(super) born: Instant,
    pub(super) system_id: Option<u32>,
    pub(super) jobs_done: u64,
    pub(super) busy: Duration,
    /// The number of jobs after which it is replaced.
    pub(super) max_jobs: Option<u64>,
    /// It uses more memory than it should.
    pub(super) is_over_memory: bool,
    pub(super) rss: u64,
    /// Its connection takes no more attempts: its process has ended, or is about to.
    pub(super) is_withdrawn: bool,
    /// It has nothing left of whoever had it before, so it can be offered.
    pub(super) is_vacant: bool,
    /// The worker that it is to replace.
    pub(super) replaces: Option<WorkerNumber>,
    /// A successor was started for it.
    pub(super) has_successor: bool,
    /// What is known of it as a filter.
    pub(super) filter: FilterState,
}

impl SupervisedWorker {
    pub(super) fn new(
        number: WorkerNumber,
        name: WorkerName,
        link: WorkerLink,
        now: Instant,
    ) -> Self {
        Self {
            number,
            name,
            link,
            state: WorkerState::Starting { since: now },
            concurrency: 1,
            gives_back: false,
            is_proven: false,
            born: now,
            system_id: None,
            jobs_done: 0,
            busy: Duration::ZERO,
            max_jobs: None,
            is_over_memory: false,
            rss: 0,
            is_withdrawn: false,
            is_vacant: true,
            replaces: None,
            has_successor: false,
            filter: FilterState::default(),
        }
    }

    /// Makes a move. One that is not legal is a bug in the supervisor or in a connection.
    #[expect(
        clippy::panic,
        reason = "the supervisor and its connections make only legal moves"
    )]
    pub(super) fn make(&mut self, to: Move, now: Instant) {
        match self.state.after(to, now) {
            Ok(state) => self.state = state,
            Err(error) => panic!("worker {}: {error}", self.name),
        }
    }

    /// It has introduced itself, or has shown that it does not.
    pub(super) fn introduce(&mut self, profile: &Profile, introduced: bool, concurrency: u32) {
        self.concurrency = concurrency;
        self.gives_back = profile.capabilities.has(&Capability::Cancel);
        self.is_proven |= introduced;
    }

    pub(super) fn prove(&mut self) {
        self.is_proven = true;
    }

    /// Whether it can be given attempts.
    pub(super) fn takes_work(&self) -> bool {
        self.state.takes_work() && !self.is_withdrawn
    }

    /// What it is to whoever gives it attempts.
    pub(super) fn offer(&self) -> Offer {
        Offer {
            number: self.number,
            name: self.name.clone(),
            link: self.link.clone(),
            concurrency: self.concurrency,
            gives_back: self.gives_back,
            is_proven: self.is_proven,
            filter: self.filter,
        }
    }

    /// Whether it is, or will be, of use to its pool.
    pub(super) fn stays(&self) -> bool {
        match self.state {
            WorkerState::Starting { .. } | WorkerState::Idle { .. } | WorkerState::Busy { .. } => {
                true
            }
            WorkerState::Draining { .. } | WorkerState::Stopping { .. } | WorkerState::Dead => {
                false
            }
        }
    }

    pub(super) fn is_starting(&self) -> bool {
        matches!(self.state, WorkerState::Starting { .. })
    }

    /// Since when it has had nothing to do.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        match self.state {
            WorkerState::Idle { since } => Some(since),
            _ => None,
        }
    }

    pub(super) fn order(&self, order: Order) {
        self.link.order(order);
    }

    /// Whether it has done its share, by jobs, age or memory.
    pub(super) fn is_worn(&self, ttl: Option<Duration>, now: Instant) -> bool {
        self.is_over_memory
            || self.max_jobs.is_some_and(|most| self.jobs_done >= most)
            || ttl.is_some_and(|ttl| now.saturating_duration_since(self.born) >= ttl)
    }
}
