//! The supervisor's record of a worker.

use std::time::{Duration, Instant};

use ratchet_ipc::{Capability, Profile};

use crate::dispatch::{FilterState, Offer, Order, WorkerLink, WorkerNumber};
use crate::ids::WorkerName;
use crate::os::ProcessId;
use crate::worker::state::{Transition, WorkerState};

/// The supervisor's record of a worker.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the flags are independent of each other"
)]
pub(super) struct SupervisedWorker {
    /// The number of the worker over all pools.
    pub(super) number: WorkerNumber,
    /// The name of the worker.
    pub(super) name: WorkerName,
    /// The link to the worker's connection.
    pub(super) link: WorkerLink,
    /// The state of the worker.
    pub(super) state: WorkerState,
    /// The worker has been ready to take work.
    pub(super) was_ready: bool,
    /// How many attempts the worker works on at once.
    pub(super) concurrency: u32,
    /// Whether the worker can return attempts that were sent ahead.
    gives_back: bool,
    /// Whether the worker has shown that it reads its requests.
    is_proven: bool,
    /// When the worker was started.
    pub(super) started_at: Instant,
    /// The id of the process within its manager, once the process is started.
    pub(super) process: Option<ProcessId>,
    /// How many attempts the worker has ended.
    pub(super) jobs_done: u64,
    /// How long the worker has been busy in total.
    pub(super) busy: Duration,
    /// How many jobs the worker may be given in total; `None` for no limit.
    pub(super) max_jobs: Option<u64>,
    /// The number of ended jobs after which a successor is started; `None` for no limit.
    pub(super) replace_after: Option<u64>,
    /// The worker uses more memory than the soft limit of its pool.
    pub(super) is_over_memory: bool,
    /// How many bytes of memory the worker and its children use, by the last measurement.
    pub(super) rss: u64,
    /// The connection takes no more attempts: the process has ended, or is about to.
    pub(super) is_withdrawn: bool,
    /// The worker has no attempt of a former user of the pool left, so it can be offered.
    pub(super) is_vacant: bool,
    /// The worker that this one is to replace once it is ready.
    pub(super) replaces: Option<WorkerNumber>,
    /// A successor was started for the worker.
    pub(super) has_successor: bool,
    /// What is known of the worker if it is a filter.
    pub(super) filter: FilterState,
}

impl SupervisedWorker {
    /// Makes a worker that is being started.
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
            was_ready: false,
            concurrency: 1,
            gives_back: false,
            is_proven: false,
            started_at: now,
            process: None,
            jobs_done: 0,
            busy: Duration::ZERO,
            max_jobs: None,
            replace_after: None,
            is_over_memory: false,
            rss: 0,
            is_withdrawn: false,
            is_vacant: true,
            replaces: None,
            has_successor: false,
            filter: FilterState::default(),
        }
    }

    /// Changes the state of the worker. A transition that is not legal is a bug in the supervisor or in a connection.
    #[expect(
        clippy::panic,
        reason = "the supervisor and its connections make only legal transitions"
    )]
    pub(super) fn apply(&mut self, to: Transition, now: Instant) {
        self.was_ready |= to == Transition::Readied;
        match self.state.after(to, now) {
            Ok(state) => self.state = state,
            Err(error) => panic!("worker {}: {error}", self.name),
        }
    }

    /// Records the profile of the worker, which it has declared or which is the default for a worker that sends no
    /// hello.
    pub(super) fn introduce(&mut self, profile: &Profile, introduced: bool, concurrency: u32) {
        self.concurrency = concurrency;
        self.gives_back = profile.capabilities.has(&Capability::Cancel);
        self.is_proven |= introduced;
    }

    /// Records that the worker has read a request.
    pub(super) fn prove(&mut self) {
        self.is_proven = true;
    }

    /// Whether the worker can be given attempts.
    pub(super) fn takes_work(&self) -> bool {
        self.state.takes_work() && !self.is_withdrawn
    }

    /// Makes the offer of this worker to the user of its pool.
    pub(super) fn offer(&self) -> Offer {
        Offer {
            number: self.number,
            name: self.name.clone(),
            link: self.link.clone(),
            concurrency: self.concurrency,
            gives_back: self.gives_back,
            is_proven: self.is_proven,
            max_jobs: self.max_jobs,
            filter: self.filter,
        }
    }

    /// Whether the worker counts towards the size of its pool. Workers that leave do not.
    pub(super) fn counts_towards_size(&self) -> bool {
        match self.state {
            WorkerState::Starting { .. } | WorkerState::Idle { .. } | WorkerState::Busy { .. } => {
                true
            }
            WorkerState::Draining { .. } | WorkerState::Stopping { .. } | WorkerState::Dead => {
                false
            }
        }
    }

    /// Whether the worker has not become ready yet.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.state, WorkerState::Starting { .. })
    }

    /// Returns the time since which the worker has been idle; `None` if it is not idle.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        match self.state {
            WorkerState::Idle { since } => Some(since),
            _ => None,
        }
    }

    /// Sends an order to the worker's connection. It has no effect if the connection has ended.
    pub(super) fn order(&self, order: Order) {
        self.link.order(order);
    }

    /// Whether the worker has to be replaced because of its jobs, its age or its memory.
    pub(super) fn is_due_for_replacement(&self, ttl: Option<Duration>, now: Instant) -> bool {
        self.is_over_memory
            || self
                .replace_after
                .is_some_and(|most| self.jobs_done >= most)
            || ttl.is_some_and(|ttl| now.saturating_duration_since(self.started_at) >= ttl)
    }
}
