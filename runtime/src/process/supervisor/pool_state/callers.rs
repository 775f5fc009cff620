//! Callers' attempts on their way to workers, and back.

use std::time::{Duration, Instant};

use super::super::Acquirer;
use super::super::call::without_worker;
use super::PoolState;
use crate::dispatch::{Assignment, AttemptKey, Order, Stop, WorkerNumber};
use crate::outcome::{Class, Failure};
use crate::process::Lease;
use crate::worker::news::Load;

impl PoolState {
    /// Somebody calls the pool, or a worker of it that they have leased.
    pub(in crate::process::supervisor) fn call(
        &mut self,
        to: Option<WorkerNumber>,
        assignment: Assignment,
        now: Instant,
    ) {
        if let Some(number) = to {
            return match self.seats.take_leased(number) {
                Some(seat) => {
                    if let Err(assignment) = self.seats.link(seat).perform(assignment) {
                        self.seats.ended(seat, false, now);
                        without_worker(assignment);
                    }
                }
                None => without_worker(assignment),
            };
        }
        if let Some(failure) = self.refusal() {
            return assignment.answer(Err(failure), None, Duration::ZERO, None);
        }
        self.is_called = true;
        self.pending.push_back(assignment);
        self.hand_out(now);
    }

    /// Why callers cannot use the pool, if they cannot.
    fn refusal(&self) -> Option<Box<Failure>> {
        if let Some(failure) = &self.broken {
            return Some(failure.clone());
        }
        self.is_held_by_run().then(|| {
            let message = format!(
                "a run has the pool `{}`: its workers take no calls until it has ended",
                self.config.name
            );
            Box::new(Failure::new(Class::Spawn, message))
        })
    }

    /// Somebody wants a worker for themselves.
    pub(in crate::process::supervisor) fn acquire(&mut self, acquirer: Acquirer, now: Instant) {
        if let Some(failure) = self.refusal() {
            // Who asked may be gone.
            return drop(acquirer.answer.send(Err(failure)));
        }
        self.is_called = true;
        self.acquirers.push_back(acquirer);
        self.hand_out(now);
    }

    /// A lease has ended.
    pub(in crate::process::supervisor) fn release(&mut self, number: WorkerNumber, now: Instant) {
        self.seats.release(number);
        self.vacate_if_empty(number, now);
        self.hand_out(now);
    }

    /// Tells all who wait that they wait in vain.
    pub(super) fn refuse_callers(&mut self, failure: &Failure) {
        for assignment in self.pending.drain(..) {
            assignment.answer(Err(Box::new(failure.clone())), None, Duration::ZERO, None);
        }
        for acquirer in self.acquirers.drain(..) {
            // Who asked may be gone.
            drop(acquirer.answer.send(Err(Box::new(failure.clone()))));
        }
    }

    /// Calls have begun or ended on a worker.
    pub(super) fn calls_loaded(&mut self, number: WorkerNumber, load: Load, now: Instant) {
        self.seats
            .calls_changed(number, load.calls_begun, load.calls_ended, now);
        if load.calls_ended > 0 {
            self.seats.learn(load.ended, load.busy);
            self.vacate_if_empty(number, now);
            self.hand_out(now);
        }
    }

    /// A worker on which calls had gone on when a run took the pool is offered to the run when they have ended.
    fn vacate_if_empty(&mut self, number: WorkerNumber, now: Instant) {
        let is_free = !self.seats.has_attempts(number) && !self.seats.is_leased(number);
        if is_free && self.is_held_by_run() && self.worker(number).is_some_and(|one| !one.is_vacant)
        {
            self.vacated(number, now);
        }
    }

    /// A call comes back with which nobody is charged.
    pub(in crate::process::supervisor) fn call_returned(
        &mut self,
        number: WorkerNumber,
        assignment: Assignment,
        begun: bool,
        now: Instant,
    ) {
        let was_leased = self.seats.is_leased(number);
        self.seats.call_returned(number, begun, now);
        self.vacate_if_empty(number, now);
        if !assignment.is_wanted() {
            // Its cancellation may have missed it on the way.
            self.hand_out(now);
        } else if was_leased {
            // It was meant for this worker and no other.
            without_worker(assignment);
        } else {
            let ahead = false;
            self.call(
                None,
                Assignment {
                    ahead,
                    ..assignment
                },
                now,
            );
        }
    }

    /// Gives what waits to whoever has room.
    pub(super) fn hand_out(&mut self, now: Instant) {
        if self.is_held_by_run() {
            return;
        }
        self.lease_out();
        while let Some(assignment) = self.pending.pop_front() {
            let host = assignment.job.host.clone();
            let host = host.as_ref().map(ratchet_ipc::HostName::as_str);
            // A caller's attempt holds no slot, so it can lie in a pipe as well.
            let (seat, ahead) = match self.seats.take(host) {
                Some(seat) => (seat, false),
                None => match self.seats.take_ahead() {
                    Some(seat) => (seat, true),
                    None => return self.pending.push_front(assignment),
                },
            };
            let assignment = Assignment {
                ahead,
                ..assignment
            };
            if let Err(assignment) = self.seats.link(seat).perform(assignment) {
                // Its connection has ended, and will say so.
                self.seats.withdraw(seat);
                if ahead {
                    self.seats.unstaged(seat, now);
                } else {
                    self.seats.ended(seat, false, now);
                }
                self.pending.push_front(assignment);
            }
        }
    }

    fn lease_out(&mut self) {
        while let Some(acquirer) = self.acquirers.pop_front() {
            if acquirer.answer.is_closed() {
                continue;
            }
            // One whose successor is on the way would leave during its lease.
            let workers = &self.workers;
            let may_leave = |number| {
                let mut workers = workers.iter();
                workers.any(|worker| worker.number == number && worker.has_successor)
            };
            let Some(offer) = self.seats.lease(may_leave) else {
                self.acquirers.push_front(acquirer);
                break;
            };
            let Acquirer { answer, supervisor } = acquirer;
            let lease = Lease::new(self.id, offer.number, offer.name, supervisor);
            if let Err(Ok(unwanted)) = answer.send(Ok(lease)) {
                unwanted.forget();
                self.seats.release(offer.number);
            }
        }
    }

    /// A caller has gone away.
    pub(in crate::process::supervisor) fn stop_call(&mut self, key: AttemptKey, stop: Stop) {
        let place = self.pending.iter().position(|one| one.key() == key);
        if let Some(assignment) = place.and_then(|place| self.pending.remove(place)) {
            let failure = Failure::new(Class::Cancelled, "cancelled before it began");
            return assignment.answer(Err(Box::new(failure)), None, Duration::ZERO, None);
        }
        for worker in &self.workers {
            worker.order(Order::Stop(key, stop));
        }
    }
}
