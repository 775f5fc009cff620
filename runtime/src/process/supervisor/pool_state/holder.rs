//! Who gives attempts to the workers of a pool: a run, or callers.

use std::time::Instant;

use ratchet_ipc::Profile;

use super::super::{RunId, call};
use super::{Introduced, PoolState};
use crate::dispatch::{Demand, Introduction, Order, Report, Reporter, WorkerNumber};
use crate::outcome::{Class, Failure};
use crate::scheduling::{Kind, ParallelizationHint};

/// Who gives attempts to the workers of a pool.
#[derive(Debug, Clone)]
pub(in crate::process) enum Holder {
    /// Those who call the pool directly.
    Callers,
    /// A run, which hears of the pool as `kind`.
    Run {
        run: RunId,
        reporter: Reporter,
        kind: Kind,
    },
}

/// Says that a pool's supervisor has ended.
pub(in crate::process::supervisor) fn ended(kind: Kind) -> Report {
    let failure = Box::new(call::supervisor_ended());
    Report::Broken { kind, failure }
}

impl PoolState {
    /// A run has the pool from now on. Callers who wait are told so; what they have under way goes on.
    pub(in crate::process::supervisor) fn attach(&mut self, holder: Holder, now: Instant) {
        let message = format!(
            "a run has the pool `{}`: its workers take no calls until it has ended",
            self.config.name
        );
        self.refuse_callers(&Failure::new(Class::Spawn, message));
        self.holder = holder;
        self.demand = Demand::default();
        self.awaits_demand = false;
        self.tell_filters();
        if let Some(introduced) = self.introduced.clone() {
            self.tell(|kind| introduced.report(kind));
        }
        if let Some(failure) = self.broken.clone() {
            self.tell(|kind| Report::Broken { kind, failure });
        }
        let numbers: Vec<_> = self.workers.iter().map(|worker| worker.number).collect();
        for number in numbers {
            let is_vacant = !self.seats.has_attempts(number) && !self.seats.is_leased(number);
            if let Some(worker) = self.worker(number) {
                worker.is_vacant &= is_vacant;
            }
            self.offer(number, now);
        }
    }

    /// A run has ended or was dropped, and nobody wants its attempts any more.
    pub(in crate::process::supervisor) fn detach(&mut self, run: RunId) {
        if !self.is_held_by(run) {
            return;
        }
        self.holder = Holder::Callers;
        self.awaits_demand = false;
        // What was killed stays so until somebody else comes.
        if self.demand != Demand::Killed {
            self.demand = Demand::Over;
        }
        for worker in &mut self.workers {
            // Its connection may have attempts of the run on their way to it, and says when it has none.
            worker.is_vacant = false;
            worker.order(Order::Abandon);
        }
        self.tell_filters();
    }

    /// The run that has the pool says how much work is left.
    pub(in crate::process::supervisor) fn demanded(&mut self, run: RunId, demand: Demand) {
        if self.is_held_by(run) {
            self.demand = demand;
            self.awaits_demand = false;
            self.tell_filters();
        }
    }

    fn is_held_by(&self, other: RunId) -> bool {
        matches!(self.holder, Holder::Run { run, .. } if run == other)
    }

    pub(super) fn is_held_by_run(&self) -> bool {
        matches!(self.holder, Holder::Run { .. })
    }

    /// Asks the run whether anything is left, before a worker is started in the place of another one.
    pub(super) fn ask_for_demand(&mut self) {
        if self.is_held_by_run() && !self.is_called {
            self.awaits_demand = true;
            self.tell(|kind| Report::DemandWanted { kind });
        }
    }

    /// Whether nobody needs a worker: only runs did, and the last has nothing left.
    pub(super) fn rests(&self) -> bool {
        !self.is_called && !matches!(self.demand, Demand::Open { .. })
    }

    /// Whoever had a worker is gone, with all that the worker had for them.
    pub(in crate::process::supervisor) fn vacated(&mut self, number: WorkerNumber, now: Instant) {
        if let Some(worker) = self.worker(number) {
            worker.is_vacant = true;
        }
        self.offer(number, now);
    }

    /// Offers a worker to whoever has the pool, if the worker takes attempts.
    pub(super) fn offer(&mut self, number: WorkerNumber, now: Instant) {
        let Some(worker) = self.worker(number) else {
            return;
        };
        if !worker.takes_work() || !worker.is_vacant {
            return;
        }
        let offer = worker.offer();
        match &self.holder {
            Holder::Run { reporter, kind, .. } => {
                reporter.tell(Report::Offered { kind: *kind, offer });
            }
            Holder::Callers => {
                self.seats.offered(offer, now);
                self.hand_out(now);
            }
        }
    }

    /// A worker takes no more attempts.
    pub(in crate::process::supervisor) fn withdraw(&mut self, number: WorkerNumber) {
        let Some(worker) = self.worker(number) else {
            return;
        };
        if !std::mem::replace(&mut worker.is_withdrawn, true) {
            self.seats.withdrawn(number);
            self.tell(|kind| Report::Withdrawn {
                kind,
                worker: number,
            });
        }
    }

    /// Tells the run that has the pool, if one has.
    pub(in crate::process::supervisor) fn tell(&self, report: impl FnOnce(Kind) -> Report) {
        if let Holder::Run { reporter, kind, .. } = &self.holder {
            reporter.tell(report(*kind));
        }
    }
}

impl Drop for PoolState {
    /// A run must not wait for workers that nobody starts any more.
    fn drop(&mut self) {
        if self.broken.is_none() {
            self.tell(ended);
        }
    }
}

impl Introduced {
    pub(super) fn report(self, kind: Kind) -> Report {
        let Self { version, tasks } = self;
        Report::Introduced {
            kind,
            version,
            tasks,
        }
    }

    pub(super) fn by(profile: &Profile) -> Self {
        let introductions = profile.tasks.iter().flatten();
        let introductions = introductions.map(|(task, declaration)| Introduction {
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
