//! The users of a pool, which send attempts to its workers: one run, or callers.

use std::time::Instant;

use ratchet_ipc::Profile;

use super::super::{AttachmentId, call};
use super::{Declarations, PoolState};
use crate::dispatch::{DeclaredTask, Demand, Order, PoolKey, Report, Reporter, WorkerNumber};
use crate::ids::KindId;
use crate::scheduling::ParallelizationHint;

/// The user of a pool, which sends attempts to its workers.
#[derive(Debug, Clone)]
pub(in crate::process) enum PoolUser {
    /// Callers use the pool directly, by [`ProcessPool::run`](crate::process::ProcessPool::run) and leases.
    Callers,
    /// A run uses the pool, which it identifies by this key.
    Run {
        run: AttachmentId,
        reporter: Reporter,
        pool: PoolKey,
    },
}

/// Makes the report that the supervisor of a pool has ended.
pub(in crate::process::supervisor) fn supervisor_ended_report(pool: PoolKey) -> Report {
    let failure = Box::new(call::supervisor_ended());
    Report::Broken { pool, failure }
}

impl PoolState {
    /// Gives the pool to a run. Callers that wait are refused; their attempts that have begun continue.
    pub(in crate::process::supervisor) fn attach(&mut self, user: PoolUser, now: Instant) {
        self.refuse_callers(&self.used_by_run());
        self.user = user;
        self.demand = Demand::default();
        self.awaits_demand = false;
        self.announce_last_items();
        if let Some(introduced) = self.introduced.clone() {
            self.report(|pool| introduced.report(pool.kind));
        }
        if let Some(failure) = self.broken.clone() {
            self.report(|pool| Report::Broken { pool, failure });
        }
        let numbers: Vec<_> = self.workers.iter().map(|worker| worker.number).collect();
        for number in numbers {
            let is_vacant = !self.seats.has_attempts(number) && !self.seats.is_leased(number);
            self.known_worker(number).is_vacant &= is_vacant;
            self.offer(number, now);
        }
    }

    /// Takes the pool from a run that has ended or was dropped, and stops the attempts of that run.
    pub(in crate::process::supervisor) fn detach(&mut self, run: AttachmentId) {
        if !self.is_used_by(run) {
            return;
        }
        self.user = PoolUser::Callers;
        self.awaits_demand = false;
        // `Killed` stays until another user comes, or workers that are being killed would be given time to finish.
        if self.demand != Demand::Killed {
            self.demand = Demand::Over;
        }
        for worker in &mut self.workers {
            // Attempts of the run may still be on their way to the connection, which reports when it has none.
            worker.is_vacant = false;
            worker.order(Order::Abandon);
        }
        self.announce_last_items();
    }

    /// Records how much work the run that uses the pool has left.
    pub(in crate::process::supervisor) fn demanded(&mut self, run: AttachmentId, demand: Demand) {
        if self.is_used_by(run) {
            self.demand = demand;
            self.awaits_demand = false;
            self.announce_last_items();
        }
    }

    fn is_used_by(&self, other: AttachmentId) -> bool {
        matches!(self.user, PoolUser::Run { run, .. } if run == other)
    }

    /// Whether a run sends the attempts to this pool.
    pub(super) fn is_used_by_run(&self) -> bool {
        matches!(self.user, PoolUser::Run { .. })
    }

    /// Asks the run whether any work is left before a worker that has ended is replaced.
    pub(super) fn ask_for_demand(&mut self) {
        if self.is_used_by_run() && !self.is_called {
            self.awaits_demand = true;
            self.report(|pool| Report::DemandWanted { pool });
        }
    }

    /// Whether no worker is needed: only runs have used the pool, and the last of them has no work left.
    pub(super) fn needs_no_worker(&self) -> bool {
        !self.is_called && !matches!(self.demand, Demand::Open { .. })
    }

    /// Offers a worker again after the last attempt of its former user has ended.
    pub(in crate::process::supervisor) fn offer_again(
        &mut self,
        number: WorkerNumber,
        now: Instant,
    ) {
        self.known_worker(number).is_vacant = true;
        self.offer(number, now);
    }

    /// Offers a worker to the user of the pool if the worker takes attempts.
    pub(super) fn offer(&mut self, number: WorkerNumber, now: Instant) {
        let worker = self.known_worker(number);
        if !worker.takes_work() || !worker.is_vacant {
            return;
        }
        let offer = worker.offer();
        match &self.user {
            PoolUser::Run { reporter, pool, .. } => {
                reporter.send(Report::Offered { pool: *pool, offer });
            }
            PoolUser::Callers => {
                self.seats.offered(offer, now);
                self.assign_waiting(now);
            }
        }
    }

    /// Notifies the user of the pool, once, that a worker takes no more attempts.
    pub(in crate::process::supervisor) fn withdraw(&mut self, number: WorkerNumber) {
        let worker = self.known_worker(number);
        if !std::mem::replace(&mut worker.is_withdrawn, true) {
            self.seats.withdrawn(number);
            self.report(|pool| Report::Withdrawn {
                pool,
                worker: number,
            });
        }
    }

    /// Sends a report to the run that uses the pool, if one does.
    pub(in crate::process::supervisor) fn report(&self, report: impl FnOnce(PoolKey) -> Report) {
        if let PoolUser::Run { reporter, pool, .. } = &self.user {
            reporter.send(report(*pool));
        }
    }
}

impl Drop for PoolState {
    /// Reports to the run that the pool is gone, or it would wait forever for workers that are never started.
    fn drop(&mut self) {
        if self.broken.is_none() {
            self.report(supervisor_ended_report);
        }
    }
}

impl Declarations {
    /// Makes the report about these declarations for a run.
    pub(super) fn report(self, kind: KindId) -> Report {
        let Self { version, tasks } = self;
        Report::Introduced {
            kind,
            version,
            tasks,
        }
    }

    /// Collects what a worker with this profile has declared.
    pub(super) fn by(profile: &Profile) -> Self {
        let introductions = profile.tasks.iter().flatten();
        let introductions = introductions.map(|(task, declaration)| DeclaredTask {
            task: task.clone(),
            hint: declaration.hint.as_ref().map(|hint| {
                hint.read::<ParallelizationHint>()
                    .map_err(|error| error.to_string())
            }),
            cacheable: declaration.cacheable,
        });
        Self {
            version: profile.worker_version.clone(),
            tasks: profile.tasks.is_some().then(|| introductions.collect()),
        }
    }
}
