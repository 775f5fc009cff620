//! The workers of one pool: who is started, who is offered to whom, and who has to go.
//!
//! A plain value: it is told what happens and when, and says by [`PoolState::plan_starts`] how many workers to start. It
//! gives attempts to workers only while callers use the pool directly; otherwise the run that has the pool does.

mod callers;
mod filters;
mod holder;
mod sizing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_ipc::Profile;

pub(in crate::process) use holder::Holder;
pub(super) use holder::ended;

use super::metrics::Counts;
use super::worker::SupervisedWorker;
use super::{Acquirer, PoolId};
use crate::dispatch::{Assignment, Demand, Introduction, Order, Report, Retirement, WorkerNumber};
use crate::event::WorkerNews;
use crate::outcome::{Class, Failure};
use crate::process::health::{Health, Restart};
use crate::process::pool::Seats;
use crate::worker::Cause;
use crate::worker::config::PoolConfig;
use crate::worker::news::{Death, Load};
use crate::worker::state::Move;

/// What workers say of themselves.
#[derive(Clone)]
struct Introduced {
    version: Option<String>,
    /// The tasks that they know.
    tasks: Option<Vec<Introduction>>,
}

/// The workers of one pool.
pub(super) struct PoolState {
    pub(super) id: PoolId,
    pub(super) config: Arc<PoolConfig>,
    pub(super) workers: Vec<SupervisedWorker>,
    /// Bounds of the size that hold now; `scale_to` moves them.
    min: u32,
    max: u32,
    /// Who gives attempts to the workers.
    holder: Holder,
    /// How much work the run has left that has the pool, or had it last.
    demand: Demand,
    /// The run has been asked for its demand and has not answered. Until then no worker is started: what has just
    /// ended may have been the last.
    awaits_demand: bool,
    /// Somebody uses the pool directly, and may do so at any time.
    is_called: bool,
    /// The seats, as far as callers have them.
    seats: Seats,
    /// Callers' attempts for which no seat is free.
    pending: VecDeque<Assignment>,
    /// Those who want a worker for themselves.
    acquirers: VecDeque<Acquirer>,
    health: Health,
    /// Why the pool was given up.
    pub(super) broken: Option<Box<Failure>>,
    /// Since when there has been more to do than workers for it.
    short_since: Option<Instant>,
    /// What was said to its filters, and of them.
    told_filters: filters::ToldFilters,
    /// Its workers say no hello.
    pub(super) is_silent: bool,
    /// What its workers can do, once one has said it or has shown that it says nothing.
    introduced: Option<Introduced>,
    pub(super) counts: Counts,
    next_number: u64,
}

impl PoolState {
    pub(super) fn new(id: PoolId, config: PoolConfig) -> Self {
        let config = Arc::new(config);
        Self {
            id,
            min: config.size.min,
            max: config.size.max,
            workers: Vec::new(),
            holder: Holder::Callers,
            demand: Demand::default(),
            awaits_demand: false,
            is_called: false,
            seats: Seats::new(Arc::clone(&config)),
            pending: VecDeque::new(),
            acquirers: VecDeque::new(),
            health: Health::new(config.restart),
            broken: None,
            short_since: None,
            told_filters: filters::ToldFilters::default(),
            is_silent: false,
            introduced: None,
            counts: Counts::default(),
            next_number: 1,
            config,
        }
    }

    pub(super) fn worker(&mut self, number: WorkerNumber) -> Option<&mut SupervisedWorker> {
        self.workers
            .iter_mut()
            .find(|worker| worker.number == number)
    }

    pub(super) fn next_number(&mut self) -> WorkerNumber {
        let number = self.next_number;
        self.next_number += 1;
        WorkerNumber(number)
    }

    /// How many workers there are that stay.
    pub(super) fn size(&self) -> u32 {
        count(self.workers.iter().filter(|worker| {
            worker.stays() && worker.replaces.is_none_or(|old| !self.is_staying(old))
        }))
    }

    fn is_staying(&self, number: WorkerNumber) -> bool {
        self.workers
            .iter()
            .any(|worker| worker.number == number && worker.stays())
    }

    pub(super) fn scale_to(&mut self, size: u32) {
        (self.min, self.max) = (size, size);
        self.is_called = true;
    }

    /// A worker takes attempts from now on, or has said more of itself.
    pub(super) fn ready(
        &mut self,
        number: WorkerNumber,
        profile: &Profile,
        introduced: bool,
        now: Instant,
    ) {
        let concurrency = self.config.concurrency.unwrap_or(profile.concurrency).get();
        // Filters have no hello; they are proven by what they read.
        self.is_silent = !introduced;
        let Some(worker) = self.worker(number) else {
            return;
        };
        worker.introduce(profile, introduced, concurrency);
        let replaced = if worker.is_starting() {
            worker.make(Move::Readied, now);
            let after = now.saturating_duration_since(worker.born);
            let news = WorkerNews::Ready {
                worker: worker.name.clone(),
                after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            };
            let replaced = worker.replaces.take();
            self.tell(|_| Report::Worker(news));
            replaced
        } else {
            None
        };
        if self.told_filters.last
            && let Some(worker) = self.worker(number)
        {
            worker.order(Order::Last(true));
        }
        let says_more = profile.tasks.is_some() || profile.worker_version.is_some();
        if self.introduced.is_none() || says_more {
            let introduced = Introduced::by(profile);
            // Before the worker is offered: its hints hold for whatever begins on it.
            self.tell(|kind| introduced.clone().report(kind));
            self.introduced = Some(introduced);
        }
        self.offer(number, now);
        if let Some(old) = replaced {
            self.retire_worn(old, now);
        }
    }

    /// A worker has read a request.
    pub(super) fn proven(&mut self, number: WorkerNumber) {
        if let Some(worker) = self.worker(number) {
            worker.prove();
        }
        self.seats.proven(number);
        self.tell(|kind| Report::Proven {
            kind,
            worker: number,
        });
    }

    fn retire_worn(&mut self, number: WorkerNumber, now: Instant) {
        let ttl = self.config.recycling.ttl;
        if let Some(worker) = self.worker(number) {
            let why = if worker.is_over_memory {
                Retirement::Memory
            } else if ttl.is_some_and(|ttl| now.saturating_duration_since(worker.born) >= ttl) {
                Retirement::Age
            } else {
                Retirement::MaxJobs
            };
            self.retire(number, why, now);
        }
    }

    /// Asks a worker to end once it has finished what it has.
    fn retire(&mut self, number: WorkerNumber, why: Retirement, now: Instant) {
        if let Some(worker) = self.worker(number) {
            worker.make(Move::Retire(why), now);
            worker.order(Order::Retire(why));
            self.withdraw(number);
        }
    }

    /// A worker has done something, or has something to do.
    pub(super) fn loaded(&mut self, number: WorkerNumber, load: Load, now: Instant) {
        let Some(worker) = self.worker(number) else {
            return;
        };
        worker.make(
            if load.in_hand > 0 {
                Move::Began
            } else {
                Move::Emptied
            },
            now,
        );
        worker.jobs_done += u64::from(load.ended);
        worker.busy += load.busy;
        let is_worn = !worker.has_successor && worker.is_worn(None, now);
        if load.ended > 0 && is_worn {
            self.ask_for_demand();
        }
        self.counts.jobs += u64::from(load.ended);
        if load.ended > 0 {
            self.health.did_well();
        }
        self.calls_loaded(number, load, now);
    }

    /// The process of a worker has ended. Gives the worker back, which the pool has forgotten.
    pub(super) fn died(
        &mut self,
        number: WorkerNumber,
        death: &Death,
        now: Instant,
    ) -> Option<SupervisedWorker> {
        let place = self
            .workers
            .iter()
            .position(|worker| worker.number == number)?;
        self.withdraw(number);
        let mut worker = self.workers.remove(place);
        // If it died with nothing to do, or before it was ready, its pool is to blame and not a job.
        let blames_pool = death.charged == 0 || death.cause.blames_kind();
        worker.make(Move::Died, now);
        let unexpected = death.cause.is_unexpected();
        self.counts.ended(death.cause.name(), unexpected);
        if death.charged > 0 {
            self.ask_for_demand();
        }
        let news = WorkerNews::Ended {
            worker: worker.name.clone(),
            cause: death.cause.to_string(),
            unexpected,
        };
        self.tell(|_| Report::Worker(news));
        if let Some(old) = worker.replaces.and_then(|old| self.worker(old)) {
            // The old one stays until another successor is there.
            old.has_successor = false;
        }
        if unexpected && blames_pool {
            self.failed(&worker, death, now);
        }
        Some(worker)
    }

    fn failed(&mut self, worker: &SupervisedWorker, death: &Death, now: Instant) {
        let restart = if death.cause.is_final() {
            Restart::GiveUp
        } else {
            self.health.failed(now)
        };
        match restart {
            Restart::After(delay) => {
                tracing::warn!(worker = %worker.name, cause = %death.cause, ?delay, "a worker failed");
                let kind = self.config.name.clone();
                self.tell(|_| Report::Worker(WorkerNews::Waiting { kind, delay }));
            }
            Restart::GiveUp => self.give_up(worker, death),
        }
    }

    /// The pool has no workers any more: whoever waits for it is told why.
    fn give_up(&mut self, worker: &SupervisedWorker, death: &Death) {
        let policy = self.config.restart;
        let reason = match &death.cause {
            cause if cause.is_final() => format!("worker {} {cause}", worker.name),
            cause => format!(
                "worker `{}` is given up: {} of its workers failed within {:?}; the last, {}, {cause}",
                self.config.name, policy.intensity, policy.period, worker.name
            ),
        };
        tracing::error!(kind = %self.config.name, %reason, "a kind of worker is given up");
        let class = match death.cause {
            Cause::Refused(_) | Cause::Surplus { .. } => Class::Protocol,
            _ => Class::Spawn,
        };
        let failure = Failure::new(class, reason.clone())
            .retryable(false)
            .stderr(death.stderr.clone());
        self.broken = Some(Box::new(failure.clone()));
        self.refuse_callers(&failure);
        let news = WorkerNews::Broken {
            kind: self.config.name.clone(),
            reason,
        };
        self.tell(|_| Report::Worker(news));
        self.tell(|kind| Report::Broken {
            kind,
            failure: Box::new(failure),
        });
    }

    /// All workers are to end; who waits is told so.
    pub(super) fn close(&mut self, now: Instant) {
        (self.min, self.max) = (0, 0);
        let failure = Failure::new(Class::Cancelled, "the workers are shutting down");
        self.broken.get_or_insert_with(|| Box::new(failure.clone()));
        self.refuse_callers(&failure);
        self.tell(|kind| Report::Broken {
            kind,
            failure: Box::new(failure),
        });
        let numbers: Vec<_> = self.workers.iter().map(|worker| worker.number).collect();
        for number in numbers {
            self.retire(number, Retirement::Shutdown, now);
        }
    }

    /// How long there has been more to do than workers for it.
    pub(super) fn queue_age(&self, now: Instant) -> Duration {
        self.short_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

fn count<'a>(workers: impl Iterator<Item = &'a SupervisedWorker>) -> u32 {
    u32::try_from(workers.count()).unwrap_or(u32::MAX)
}
