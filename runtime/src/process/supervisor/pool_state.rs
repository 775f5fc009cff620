//! The state of one pool: which workers are started, to which user they are offered, and which of them have to end.
//!
//! It is a plain value: it is informed of events with their times, and [`PoolState::plan_starts`] returns which workers
//! to start. It sends attempts to workers only while callers use the pool directly. Otherwise the run that uses the
//! pool does.

mod callers;
mod filters;
mod sizing;
mod user;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_ipc::Profile;

pub(in crate::process) use user::PoolUser;
pub(super) use user::supervisor_ended_report;

use super::metrics::{PoolCounts, PoolMetrics};
use super::worker::SupervisedWorker;
use super::{LeaseRequest, PoolId};
use crate::dispatch::{Assignment, DeclaredTask, Demand, Order, Report, Retirement, WorkerNumber};
use crate::event::WorkerNews;
use crate::outcome::{Class, Failure};
use crate::process::pool::Seats;
use crate::process::restart_limiter::{RestartDecision, RestartLimiter};
use crate::worker::EndCause;
use crate::worker::config::{PoolConfig, WorkerProtocol};
use crate::worker::event::{WorkUpdate, WorkerEnd};
use crate::worker::state::Transition;

/// What the workers of a pool have declared in their hellos.
#[derive(Clone)]
struct Declarations {
    /// The version that the workers declare, if they declare one.
    version: Option<String>,
    /// The tasks that the workers know, if they list them.
    tasks: Option<Vec<DeclaredTask>>,
}

/// The state of one pool, with the decisions about its workers.
pub(super) struct PoolState {
    /// The number of the pool.
    pub(super) id: PoolId,
    /// The settings of the pool.
    pub(super) config: Arc<PoolConfig>,
    /// The workers that have not ended.
    pub(super) workers: Vec<SupervisedWorker>,
    /// The least number of workers that the pool keeps; `scale_to` changes it.
    min: u32,
    /// The greatest number of workers of the pool; `scale_to` changes it.
    max: u32,
    /// The user of the pool, which sends attempts to its workers.
    user: PoolUser,
    /// How much work is left in the run that uses the pool, or used it last.
    demand: Demand,
    /// The run has been asked for its demand and has not answered. Until then no worker is started, because the attempt
    /// that has just ended may have been the last.
    awaits_demand: bool,
    /// A caller has used the pool directly, and may do so again at any time.
    is_called: bool,
    /// The seats of the workers that are offered to callers.
    seats: Seats,
    /// Callers' attempts for which no seat is free.
    pending: VecDeque<Assignment>,
    /// The requests for a lease that wait for an idle worker.
    lease_requests: VecDeque<LeaseRequest>,
    /// Decides when a worker that failed may be replaced, and when the pool is given up.
    restarts: RestartLimiter,
    /// The failure for which the pool was given up.
    pub(super) broken: Option<Box<Failure>>,
    /// The time since which there has been more work than the workers can take.
    short_since: Option<Instant>,
    /// The last order that was sent to filters, and whether a warning was logged for them.
    filter_notices: filters::FilterNotices,
    /// The worker of which a warning says that it prints something else than an answer. There is only one such warning.
    warned_of: Option<WorkerNumber>,
    /// The workers of the pool send no hello, as far as is known.
    pub(super) is_silent: bool,
    /// What the workers have declared, once one has sent its hello or has shown that it sends none.
    introduced: Option<Declarations>,
    /// The counters for the metrics.
    pub(super) counts: PoolCounts,
    /// The number of the next worker in this pool, which is part of its name.
    next_number: u64,
}

impl PoolState {
    /// Makes a pool without workers.
    pub(super) fn new(id: PoolId, config: PoolConfig) -> Self {
        let config = Arc::new(config);
        Self {
            id,
            min: config.size.min,
            max: config.size.max,
            workers: Vec::new(),
            user: PoolUser::Callers,
            demand: Demand::default(),
            awaits_demand: false,
            is_called: false,
            seats: Seats::new(Arc::clone(&config)),
            pending: VecDeque::new(),
            lease_requests: VecDeque::new(),
            restarts: RestartLimiter::new(config.restart),
            broken: None,
            short_since: None,
            filter_notices: filters::FilterNotices::default(),
            warned_of: None,
            is_silent: false,
            introduced: None,
            counts: PoolCounts::default(),
            next_number: 1,
            config,
        }
    }

    /// Warns once that a worker of this pool prints something else than an answer. They all run the same program.
    pub(super) fn tell_no_answer(&mut self, number: WorkerNumber, attempt: u64, printed: &str) {
        if self.warned_of.is_some() {
            return;
        }
        self.warned_of = Some(number);
        let language = self.config.language;
        let worker = &self.known_worker(number).name;
        let what = if printed.is_empty() {
            "an empty line".to_owned()
        } else {
            format!("a line that is no answer ({printed})")
        };
        let answer = match language {
            WorkerProtocol::Mcp => {
                format!("{{\"jsonrpc\":\"2.0\",\"id\":{attempt},\"result\":..}}")
            }
            WorkerProtocol::BazelJson { .. } => {
                "a WorkResponse with the requestId of its request".to_owned()
            }
            WorkerProtocol::Native | WorkerProtocol::Lines { .. } => {
                format!("{{\"type\":\"response\",\"id\":\"{attempt}\",\"result\":..}}")
            }
        };
        tracing::warn!(
            "worker {worker} printed {what} while it had request {attempt}, and has not answered since. It is \
             waited for; if the line was meant as the answer, print {answer} instead, and if it was not, print such \
             lines to stderr"
        );
    }

    /// Finds a worker; `None` if it has ended in the meantime.
    pub(super) fn worker(&mut self, number: WorkerNumber) -> Option<&mut SupervisedWorker> {
        self.workers
            .iter_mut()
            .find(|worker| worker.number == number)
    }

    /// Returns a worker that is in the list: it has reported an event, and leaves the list only with its last one.
    #[expect(
        clippy::expect_used,
        reason = "a worker leaves the list with the event of its end, which is its last one"
    )]
    fn known_worker(&mut self, number: WorkerNumber) -> &mut SupervisedWorker {
        self.worker(number)
            .expect("a worker that has not ended is in the list of its pool")
    }

    /// Returns the number for a new worker.
    pub(super) fn next_number(&mut self) -> WorkerNumber {
        let number = self.next_number;
        self.next_number += 1;
        WorkerNumber(number)
    }

    /// Returns how many workers there are, without those that leave and those that are to replace a worker that stays.
    pub(super) fn size(&self) -> u32 {
        count(self.workers.iter().filter(|worker| {
            worker.counts_towards_size() && worker.replaces.is_none_or(|old| !self.is_staying(old))
        }))
    }

    fn is_staying(&self, number: WorkerNumber) -> bool {
        self.workers
            .iter()
            .any(|worker| worker.number == number && worker.counts_towards_size())
    }

    /// Keeps the pool at this size from now on.
    pub(super) fn scale_to(&mut self, size: u32) {
        (self.min, self.max) = (size, size);
        self.is_called = true;
    }

    /// Handles the event that a worker takes attempts from now on, or has declared more about itself.
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
        let worker = self.known_worker(number);
        worker.introduce(profile, introduced, concurrency);
        let replaced = if worker.is_starting() {
            worker.apply(Transition::Readied, now);
            let after = now.saturating_duration_since(worker.started_at);
            let news = WorkerNews::Ready {
                worker: worker.name.clone(),
                after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            };
            let replaced = worker.replaces.take();
            self.report(|_| Report::Worker(news));
            replaced
        } else {
            None
        };
        if self.filter_notices.last {
            self.known_worker(number).order(Order::Last(true));
        }
        let says_more = profile.tasks.is_some() || profile.worker_version.is_some();
        if self.introduced.is_none() || says_more {
            let introduced = Declarations::by(profile);
            // Reported before the worker is offered, so that its hints apply to every attempt on it.
            self.report(|pool| introduced.clone().report(pool.kind));
            self.introduced = Some(introduced);
        }
        self.offer(number, now);
        if let Some(old) = replaced {
            self.retire_if_due(old, now);
        }
    }

    /// Handles the event that a worker has read a request.
    pub(super) fn proven(&mut self, number: WorkerNumber) {
        self.known_worker(number).prove();
        self.seats.proven(number);
        self.report(|pool| Report::Proven {
            pool,
            worker: number,
        });
    }

    /// Retires a worker whose successor is ready.
    fn retire_if_due(&mut self, number: WorkerNumber, now: Instant) {
        let ttl = self.config.recycling.ttl;
        if let Some(worker) = self.worker(number) {
            let why = if worker.is_over_memory {
                Retirement::Memory
            } else if ttl.is_some_and(|ttl| now.saturating_duration_since(worker.started_at) >= ttl)
            {
                Retirement::Age
            } else {
                Retirement::MaxJobs
            };
            self.retire(number, why, now);
        }
    }

    /// Asks a worker to end once it has finished its attempts.
    fn retire(&mut self, number: WorkerNumber, why: Retirement, now: Instant) {
        let worker = self.known_worker(number);
        worker.apply(Transition::Retire(why), now);
        worker.order(Order::Retire(why));
        self.withdraw(number);
    }

    /// Handles the event that a worker has begun or ended attempts.
    pub(super) fn worker_updated(
        &mut self,
        number: WorkerNumber,
        update: WorkUpdate,
        now: Instant,
    ) {
        let worker = self.known_worker(number);
        worker.apply(
            if update.in_hand > 0 {
                Transition::Began
            } else {
                Transition::Emptied
            },
            now,
        );
        worker.jobs_done += u64::from(update.ended);
        worker.busy += update.busy;
        let is_due_for_replacement =
            !worker.has_successor && worker.is_due_for_replacement(None, now);
        if update.ended > 0 && is_due_for_replacement {
            self.ask_for_demand();
        }
        self.counts.jobs += u64::from(update.ended);
        if update.ended > 0 {
            self.restarts.record_success();
        }
        self.calls_updated(number, update, now);
    }

    /// Handles the event that the process of a worker has ended. Removes the worker from the pool and returns it.
    pub(super) fn ended(
        &mut self,
        number: WorkerNumber,
        end: &WorkerEnd,
        now: Instant,
    ) -> SupervisedWorker {
        #[expect(clippy::expect_used, reason = "the end is the last event of a worker")]
        let place = self
            .workers
            .iter()
            .position(|worker| worker.number == number)
            .expect("a worker is in the list of its pool until it has ended");
        self.withdraw(number);
        let mut worker = self.workers.remove(place);
        // If no attempt is charged, the worker ended idle or before it was ready, so the pool is to blame and not a
        // job.
        let blames_pool = end.charged == 0 || end.cause.is_fault_of_pool();
        worker.apply(Transition::Died, now);
        let unexpected = end.cause.is_unexpected();
        self.counts.ended(end.cause.name(), unexpected);
        if end.charged > 0 {
            self.ask_for_demand();
        }
        let news = WorkerNews::Ended {
            worker: worker.name.clone(),
            cause: end.cause.to_string(),
            unexpected,
        };
        self.report(|_| Report::Worker(news));
        if let Some(old) = worker.replaces.and_then(|old| self.worker(old)) {
            // The worker that was to be replaced stays until another successor is ready.
            old.has_successor = false;
        }
        if unexpected && blames_pool {
            self.failed(&worker, end, now);
        }
        worker
    }

    /// Records a failure that the pool is to blame for, and gives up the pool if there were too many.
    fn failed(&mut self, worker: &SupervisedWorker, end: &WorkerEnd, now: Instant) {
        if self.broken.is_some() {
            return; // The worker was being started when the pool was given up, or closed.
        }
        let restart = if end.cause.is_final() {
            RestartDecision::GiveUp
        } else {
            let started = if worker.was_ready {
                now
            } else {
                worker.started_at
            };
            self.restarts.record_failure(started, now)
        };
        match restart {
            RestartDecision::After(delay) => {
                tracing::warn!(worker = %worker.name, cause = %end.cause, ?delay, "a worker failed");
                let kind = self.config.name.clone();
                self.report(|_| Report::Worker(WorkerNews::Waiting { kind, delay }));
            }
            RestartDecision::GiveUp => self.give_up(worker, end, now),
        }
    }

    /// Gives up the pool: it starts no more workers, and all that wait for one get the reason.
    fn give_up(&mut self, worker: &SupervisedWorker, end: &WorkerEnd, now: Instant) {
        let policy = self.config.restart;
        let reason = match &end.cause {
            cause if cause.is_final() => format!("worker {} {cause}", worker.name),
            cause => {
                let span = if self.restarts.failed_within_period(now) {
                    format!(" within {:?}", policy.period)
                } else {
                    ", one after another".to_owned()
                };
                format!(
                    "worker `{}` is given up: {} of its workers failed{span}; the last, {}, {cause}",
                    self.config.name, policy.intensity, worker.name
                )
            }
        };
        tracing::error!(kind = %self.config.name, %reason, "a kind of worker is given up");
        let class = match end.cause {
            EndCause::HandshakeFailed(_) | EndCause::SurplusLine { .. } => Class::Protocol,
            _ => Class::Spawn,
        };
        let failure = Failure::new(class, reason.clone())
            .retryable(false)
            .stderr(end.stderr.clone());
        self.broken = Some(Box::new(failure.clone()));
        self.refuse_callers(&failure);
        let news = WorkerNews::Broken {
            kind: self.config.name.clone(),
            reason,
        };
        self.report(|_| Report::Worker(news));
        self.report(|pool| Report::Broken {
            pool,
            failure: Box::new(failure),
        });
    }

    /// Ends all workers, and refuses all that wait for one.
    pub(super) fn close(&mut self, now: Instant) {
        (self.min, self.max) = (0, 0);
        let failure = Failure::new(Class::Cancelled, "the workers are shutting down");
        self.broken.get_or_insert_with(|| Box::new(failure.clone()));
        self.refuse_callers(&failure);
        self.report(|pool| Report::Broken {
            pool,
            failure: Box::new(failure),
        });
        let numbers: Vec<_> = self.workers.iter().map(|worker| worker.number).collect();
        for number in numbers {
            self.retire(number, Retirement::Shutdown, now);
        }
    }

    /// Returns what the pool has done so far, and what it has now.
    pub(super) fn metrics(&self, now: Instant) -> PoolMetrics {
        let busy = self.workers.iter().filter(|worker| worker.state.is_busy());
        let age = |worker: &SupervisedWorker| now.saturating_duration_since(worker.started_at);
        let lives: Duration = self.workers.iter().map(age).sum();
        let worked: Duration = self.workers.iter().map(|worker| worker.busy).sum();
        PoolMetrics {
            spawned: self.counts.spawned,
            size: self.size(),
            busy: count(busy),
            failures: self.counts.failures.clone(),
            retired: self.counts.retired.clone(),
            jobs: self.counts.jobs,
            jobs_by_worker: self
                .workers
                .iter()
                .map(|worker| (worker.name.clone(), worker.jobs_done))
                .collect(),
            busy_share: if lives.is_zero() {
                0.0
            } else {
                (worked.as_secs_f64() / lives.as_secs_f64()).min(1.0)
            },
            queue_age: self.queue_age(now),
            rss: self.workers.iter().map(|worker| worker.rss).sum(),
        }
    }

    /// Returns how long there has been more work than the workers can take.
    fn queue_age(&self, now: Instant) -> Duration {
        self.short_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[expect(
    clippy::expect_used,
    reason = "so many processes do not fit on a machine"
)]
fn count<'a>(workers: impl Iterator<Item = &'a SupervisedWorker>) -> u32 {
    u32::try_from(workers.count()).expect("a pool has fewer than four thousand million workers")
}
