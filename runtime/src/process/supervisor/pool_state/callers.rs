//! The part of a pool that serves callers: it sends their attempts to workers, and leases workers to them.

use std::time::{Duration, Instant};

use super::super::LeaseRequest;
use super::super::call::fail_without_worker;
use super::PoolState;
use crate::dispatch::{Assignment, AttemptKey, Order, StopRequest, WorkerNumber};
use crate::outcome::{Class, Failure};
use crate::process::Lease;
use crate::worker::event::WorkUpdate;

impl PoolState {
    /// Handles the attempt of a caller, for any worker or for one that the caller has leased.
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
                        fail_without_worker(assignment);
                    }
                }
                None => fail_without_worker(assignment),
            };
        }
        if let Some(failure) = self.refusal() {
            return assignment.answer(Err(failure), None, Duration::ZERO, None);
        }
        self.is_called = true;
        self.pending.push_back(assignment);
        self.assign_waiting(now);
    }

    /// Returns the failure for callers if they cannot use the pool.
    fn refusal(&self) -> Option<Box<Failure>> {
        if let Some(failure) = &self.broken {
            return Some(failure.clone());
        }
        self.is_used_by_run().then(|| Box::new(self.used_by_run()))
    }

    /// Makes the failure for callers while a run uses the pool.
    pub(super) fn used_by_run(&self) -> Failure {
        let message = format!(
            "a run has the pool `{}`: its workers take no calls until it has ended",
            self.config.name
        );
        Failure::new(Class::Spawn, message)
    }

    /// Handles the request for a lease.
    pub(in crate::process::supervisor) fn acquire(&mut self, request: LeaseRequest, now: Instant) {
        if let Some(failure) = self.refusal() {
            // The caller may be gone, so an error of `send` is ignored.
            return drop(request.answer.send(Err(failure)));
        }
        self.is_called = true;
        self.lease_requests.push_back(request);
        self.assign_waiting(now);
    }

    /// Takes back a worker whose lease has ended.
    pub(in crate::process::supervisor) fn release(&mut self, number: WorkerNumber, now: Instant) {
        self.seats.release(number);
        self.vacate_if_empty(number, now);
        self.assign_waiting(now);
    }

    /// Fails all waiting attempts and lease requests of callers.
    pub(super) fn refuse_callers(&mut self, failure: &Failure) {
        for assignment in self.pending.drain(..) {
            assignment.answer(Err(Box::new(failure.clone())), None, Duration::ZERO, None);
        }
        for request in self.lease_requests.drain(..) {
            // The caller may be gone, so an error of `send` is ignored.
            drop(request.answer.send(Err(Box::new(failure.clone()))));
        }
    }

    /// Records how many calls have begun and ended on a worker.
    pub(super) fn calls_updated(&mut self, number: WorkerNumber, update: WorkUpdate, now: Instant) {
        self.seats
            .calls_changed(number, update.calls_begun, update.calls_ended, now);
        if update.calls_ended > 0 {
            self.seats.record_throughput(update.ended, update.busy);
            self.vacate_if_empty(number, now);
            self.assign_waiting(now);
        }
    }

    /// Offers a worker to the run that uses the pool, once the calls have ended that were running when the run took the
    /// pool.
    fn vacate_if_empty(&mut self, number: WorkerNumber, now: Instant) {
        let is_free = !self.seats.has_attempts(number) && !self.seats.is_leased(number);
        if is_free && self.is_used_by_run() && self.worker(number).is_some_and(|one| !one.is_vacant)
        {
            self.offer_again(number, now);
        }
    }

    /// Handles a call that comes back without a result. Another worker gets it.
    pub(in crate::process::supervisor) fn call_returned(
        &mut self,
        number: WorkerNumber,
        assignment: Assignment,
        begun: bool,
        now: Instant,
    ) {
        let was_leased = self.seats.is_leased(number);
        // A call that was not sent ahead was counted as running when it was sent, even if it never reached the worker.
        let held_seat = begun || !assignment.ahead;
        self.seats.call_returned(number, held_seat, now);
        self.vacate_if_empty(number, now);
        if !assignment.is_wanted() {
            // The caller was dropped while the call was on its way back.
            self.assign_waiting(now);
        } else if was_leased {
            // The caller has leased this worker, so no other may have the call.
            fail_without_worker(assignment);
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

    /// Sends waiting attempts to workers that have room.
    pub(super) fn assign_waiting(&mut self, now: Instant) {
        if self.is_used_by_run() {
            return;
        }
        self.lease_out();
        while let Some(assignment) = self.pending.pop_front() {
            let host = assignment.job.host.clone();
            let host = host.as_ref().map(ratchet_ipc::HostName::as_str);
            // A caller's attempt holds no slot, so it can wait in a pipe as well.
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
                // The connection has ended, and the event of that is on its way.
                self.seats.withdraw(seat);
                if ahead {
                    self.seats.note_returned(seat, now);
                } else {
                    self.seats.ended(seat, false, now);
                }
                self.pending.push_front(assignment);
            }
        }
    }

    /// Leases idle workers to waiting callers.
    fn lease_out(&mut self) {
        while let Some(request) = self.lease_requests.pop_front() {
            if request.answer.is_closed() {
                continue;
            }
            // A worker whose successor is being started would be retired during its lease.
            let workers = &self.workers;
            let may_leave = |number| {
                let mut workers = workers.iter();
                workers.any(|worker| worker.number == number && worker.has_successor)
            };
            let Some(offer) = self.seats.lease(may_leave) else {
                self.lease_requests.push_front(request);
                break;
            };
            let LeaseRequest { answer, supervisor } = request;
            let lease = Lease::new(self.id, offer.number, offer.name, supervisor);
            if let Err(Ok(unwanted)) = answer.send(Ok(lease)) {
                unwanted.forget();
                self.seats.release(offer.number);
            }
        }
    }

    /// Stops the call of a caller that was dropped. A worker that does not stop it within the grace of the pool is
    /// killed.
    pub(in crate::process::supervisor) fn stop_call(&mut self, key: AttemptKey) {
        let place = self.pending.iter().position(|one| one.key() == key);
        if let Some(assignment) = place.and_then(|place| self.pending.remove(place)) {
            let failure = Failure::new(Class::Cancelled, "cancelled before it began");
            return assignment.answer(Err(Box::new(failure)), None, Duration::ZERO, None);
        }
        let grace = self.config.grace;
        for worker in &self.workers {
            worker.order(Order::Stop(key, StopRequest::Ask { grace }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ratchet_ipc::{Payload, Profile};
    use tokio::sync::{mpsc, oneshot};

    use super::*;
    use crate::dispatch::{ReplyTo, WorkerLink};
    use crate::ids::WorkerName;
    use crate::job::Job;
    use crate::os::ProcessConfig;
    use crate::process::supervisor::PoolId;
    use crate::process::supervisor::worker::SupervisedWorker;
    use crate::worker::config::PoolConfig;

    fn add_worker(
        pool: &mut PoolState,
        number: u64,
        now: Instant,
    ) -> mpsc::UnboundedReceiver<Order> {
        let (link, orders) = WorkerLink::channel();
        let name = WorkerName::new("echo", number);
        let number = WorkerNumber(number);
        let worker = SupervisedWorker::new(number, name, link, now);
        pool.workers.push(worker);
        pool.ready(number, &Profile::minimal(), true, now);
        orders
    }

    fn taken(orders: &mut mpsc::UnboundedReceiver<Order>) -> Assignment {
        match orders.try_recv() {
            Ok(Order::Perform(assignment)) => assignment,
            other => panic!("no attempt, but {other:?}"),
        }
    }

    #[test]
    fn a_call_that_crosses_the_end_of_an_idle_worker_is_given_to_another_worker() {
        let now = tokio::time::Instant::now().into_std();
        let config = PoolConfig::new("echo", ProcessConfig::new("echo-worker"));
        let mut pool = PoolState::new(PoolId(0), config);
        let mut orders = add_worker(&mut pool, 1, now);
        let (reply, _answer) = oneshot::channel();
        let assignment = Assignment {
            job: Arc::new(Job::task("a", "echo", Payload::null())),
            attempt: 1,
            ahead: false,
            slot: None,
            resources: None,
            trace: None,
            reply: ReplyTo::Caller { call: 1, reply },
        };
        pool.call(None, assignment, now);
        let crossed = taken(&mut orders);
        pool.withdraw(WorkerNumber(1));
        pool.call_returned(WorkerNumber(1), crossed, false, now);
        assert!(
            !pool.seats.has_attempts(WorkerNumber(1)),
            "the seat is given back"
        );
        let mut orders = add_worker(&mut pool, 2, now);
        assert_eq!(taken(&mut orders).key(), AttemptKey::Call(1));
    }
}
