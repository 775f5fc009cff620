//! One worker, as its supervisor knows it.

use std::time::{Duration, Instant};

use ratchet_ipc::{Capability, Profile};
use tokio::sync::mpsc;

use crate::worker::WorkerName;
use crate::worker::orders::{Order, Work};
use crate::worker::state::{Move, WorkerState};

/// One worker, as its supervisor knows it.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that have nothing to do with each other"
)]
pub(super) struct Member {
    pub(super) number: u64,
    pub(super) name: WorkerName,
    pub(super) orders: mpsc::UnboundedSender<Order>,
    pub(super) state: WorkerState,
    /// How many of its jobs only lie in its pipe.
    pub(super) staged: u32,
    /// The executor whose all is that it was given since it last had nothing to do.
    pub(super) executor: Option<u64>,
    pub(super) concurrency: u32,
    pub(super) gives_back: bool,
    pub(super) born: Instant,
    pub(super) system_id: Option<u32>,
    pub(super) jobs_done: u64,
    pub(super) busy: Duration,
    /// After how many jobs it is replaced.
    pub(super) max_jobs: Option<u64>,
    /// It uses more memory than it should.
    pub(super) swollen: bool,
    pub(super) rss: u64,
    /// Somebody has it for themselves.
    pub(super) leased: bool,
    /// Its connection takes no more work: it has ended, or is about to.
    pub(super) gone: bool,
    /// The worker that it is to replace.
    pub(super) replaces: Option<u64>,
    /// A successor was started.
    pub(super) succeeded: bool,
    /// What was sent ahead was asked back, and has not all come back.
    pub(super) recalled: bool,
    /// What is known of it as a filter; of other workers nothing is.
    pub(super) filter: FilterState,
}

/// What is known of a worker as a filter.
#[derive(Debug, Default)]
pub(super) struct FilterState {
    /// Its count of lines has matched, so that it may be sent items ahead.
    pub(super) is_proven: bool,
    /// How many items it may be sent ahead because it answers nothing.
    pub(super) silent_ahead: u32,
}

impl Member {
    pub(super) fn new(
        number: u64,
        name: WorkerName,
        orders: mpsc::UnboundedSender<Order>,
        now: Instant,
    ) -> Self {
        Self {
            number,
            name,
            orders,
            state: WorkerState::Starting { since: now },
            staged: 0,
            executor: None,
            concurrency: 1,
            gives_back: false,
            born: now,
            system_id: None,
            jobs_done: 0,
            busy: Duration::ZERO,
            max_jobs: None,
            swollen: false,
            rss: 0,
            leased: false,
            gone: false,
            replaces: None,
            succeeded: false,
            recalled: false,
            filter: FilterState::default(),
        }
    }

    /// Makes a move, or says that it makes no sense and stays where it is: no worker is worth the lives
    /// of all others.
    pub(super) fn make(&mut self, to: Move, now: Instant) {
        match self.state.after(to, now) {
            Ok(state) => self.state = state,
            Err(error) => tracing::error!(worker = %self.name, %error, "a bug in ratchet"),
        }
    }

    pub(super) fn introduce(&mut self, profile: &Profile, concurrency: u32) {
        self.concurrency = concurrency;
        self.gives_back = profile.capabilities.has(&Capability::Cancel);
    }

    /// How many jobs it works on.
    pub(super) fn running(&self) -> u32 {
        self.state.jobs().saturating_sub(self.staged)
    }

    /// Whether it can be given work.
    pub(super) fn takes_work(&self) -> bool {
        self.state.takes_work() && !self.gone
    }

    /// How many more jobs it would turn to at once.
    pub(super) fn room(&self) -> u32 {
        if self.takes_work() && !self.leased {
            self.concurrency.saturating_sub(self.running())
        } else {
            0
        }
    }

    /// Whether all that it has is this executor's: what is sent ahead inherits its slot from what was there before,
    /// and nobody's slot can pass to somebody else.
    pub(super) fn is_all_of(&self, executor: Option<u64>) -> bool {
        executor.is_some() && (self.state.jobs() == 0 || self.executor == executor)
    }

    /// Whether it is, or will be, of use to its pool.
    pub(super) fn stays(&self) -> bool {
        match self.state {
            WorkerState::Starting { .. } | WorkerState::Ready { .. } | WorkerState::Busy { .. } => {
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
            WorkerState::Ready { since } if !self.leased => Some(since),
            _ => None,
        }
    }

    /// Hands it an attempt, which comes back if it is too late for that.
    pub(super) fn give(&mut self, work: Work, now: Instant) -> Result<(), Work> {
        let (ahead, executor) = (work.ahead, work.executor());
        match self.orders.send(Order::Work(work)) {
            Ok(()) => {
                self.staged += u32::from(ahead);
                if self.state.jobs() == 0 {
                    self.executor = executor;
                } else if self.executor != executor {
                    self.executor = None;
                }
                self.make(Move::Took, now);
                Ok(())
            }
            Err(mpsc::error::SendError(order)) => {
                self.gone = true;
                match order {
                    Order::Work(work) => Err(work),
                    // What was sent is what comes back.
                    _ => Ok(()),
                }
            }
        }
    }

    pub(super) fn order(&self, order: Order) {
        // A connection that is gone has ended its worker.
        let _ = self.orders.send(order);
    }

    /// Whether it has done its share, by jobs, age or size.
    pub(super) fn is_worn(&self, ttl: Option<Duration>, now: Instant) -> bool {
        self.swollen
            || self.max_jobs.is_some_and(|most| self.jobs_done >= most)
            || ttl.is_some_and(|ttl| now.saturating_duration_since(self.born) >= ttl)
    }
}
