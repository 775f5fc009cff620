//! How the orchestrator handles the reports of performers, connections and the supervisor.

use ratchet_ipc::LogLevel;

use super::Orchestrator;
use crate::context::Step;
use crate::dispatch::{DeclaredTask, PoolKey, Report};
use crate::event::RunEvent;
use crate::executor::delivery::EndedJob;
use crate::executor::ended_attempt::EndedAttempt;
use crate::executor::execution::Consequence;
use crate::executor::observers::Turn;
use crate::ids::{KindId, Ticket, WorkerName};
use crate::outcome::Failure;
use crate::process::Seats;

impl Orchestrator {
    /// Handles the reports of one turn.
    pub(in crate::executor) fn handle_reports(&mut self, reports: impl Iterator<Item = Report>) {
        reports.for_each(|report| self.handle_report(report));
        self.execution
            .dispatcher_mut()
            .capacity()
            .update_throughput();
    }

    /// Handles a report of a performer, a connection or the supervisor.
    pub(in crate::executor) fn handle_report(&mut self, report: Report) {
        let turn = Turn {
            now: self.now,
            observers: &self.observers,
        };
        match report {
            Report::Ended {
                ticket,
                result,
                worker,
                ran,
                usage,
                next,
                provisional,
            } => {
                let attempted = EndedAttempt {
                    result,
                    worker,
                    ran,
                    usage,
                    began: None,
                    slot: None,
                    place: None,
                    provisional,
                };
                let consequence = self.execution.attempt_ended(ticket, attempted, next, turn);
                self.follow(ticket, consequence);
            }
            Report::Returned {
                ticket,
                next,
                withdrawn,
            } => {
                let execution = &mut self.execution;
                let consequence = execution.attempt_returned(ticket, next, withdrawn, turn);
                self.follow(ticket, consequence);
            }
            Report::Confirmed { ticket, in_doubt } => {
                let consequence = self.execution.confirmed(ticket, in_doubt, self.now);
                self.follow(ticket, consequence);
            }
            Report::Refuted { ticket, failure } => {
                let kinds = self.arrivals.kinds();
                let consequence = self.execution.refuted(ticket, failure, kinds, turn);
                self.follow(ticket, consequence);
            }
            Report::Cleared { worker } => self.execution.cleared(&worker),
            Report::OutOfStep { worker, reason } => self.mark_suspects(worker, reason),
            Report::Step { ticket, step } => self.step_reported(ticket, step),
            Report::Log {
                ticket,
                worker,
                level,
                message,
            } => self.message_logged(ticket, worker, level, message),
            Report::Offered { pool, offer } => {
                let now = self.now;
                self.change_seats(pool, |seats| seats.offered(offer, now));
            }
            Report::Withdrawn { pool, worker } => {
                self.change_seats(pool, |seats| seats.withdrawn(worker));
            }
            Report::Filter {
                pool,
                worker,
                change,
            } => self.change_seats(pool, |seats| seats.filter_changed(worker, change)),
            Report::Proven { pool, worker } => self
                .execution
                .dispatcher_mut()
                .capacity()
                .proven(pool, worker, self.now),
            Report::DemandWanted { pool } => self.send_demand_again(pool),
            Report::Place { place, slots } => {
                let capacity = self.execution.dispatcher_mut().capacity();
                capacity.place_changed(place, slots);
                self.end_unstartable();
                // The place may be connected for the first time, so that its platform is known now.
                self.resolve_again();
            }
            Report::RoundTrip { place, round_trip } => self
                .execution
                .dispatcher_mut()
                .capacity()
                .set_round_trip(place, round_trip),
            Report::Introduced {
                kind,
                version,
                tasks,
            } => self.kind_introduced(kind, version, tasks),
            Report::Broken { pool, failure } => self.pool_broke(pool, &failure),
            #[expect(
                clippy::panic,
                reason = "attempts are lost, so the run could never end by itself; a panic of the loop ends it as broken"
            )]
            Report::ConnectionBroke { worker, reason } => {
                panic!("the connection to worker {worker} broke: {reason}")
            }
            Report::Worker(news) => self.emit(|| RunEvent::Worker(news)),
        }
    }

    /// Applies the consequence of the end or the return of an attempt to its job.
    fn follow(&mut self, ticket: Ticket, consequence: Consequence) {
        match consequence {
            Consequence::Ends(entry, attempted) => self.end(entry, attempted),
            Consequence::WaitsAgain => {
                let cancelled = self.execution.cancelled(ticket).cloned();
                let refusal = self.control.refusal();
                if cancelled.is_none() && refusal.is_none() {
                    return;
                }
                let entry = self.execution.dispatcher_mut().cancel(ticket, self.now);
                let cancelled = cancelled.map(|reason| reason.while_waiting(entry.attempts));
                if let Some(failure) = cancelled.or(refusal) {
                    self.conclude(EndedJob::waited(entry, Box::new(failure)));
                }
            }
            Consequence::Nothing => {}
        }
    }

    /// Keeps and emits the progress of an attempt.
    fn step_reported(&mut self, ticket: Ticket, step: Step) {
        if let Some(messages) = self.execution.dispatcher_mut().messages_mut(ticket) {
            messages.step(&step);
        }
        // The attempt of a job that was given up may go on for a moment and still report.
        if let Some(entry) = self.execution.queue().find(ticket) {
            self.emit_of_job(|| RunEvent::AttemptProgress {
                id: entry.job.id.clone(),
                done: step.done,
                total: step.total,
                message: step.message,
            });
        }
    }

    /// Keeps and emits a log message of an attempt, or of a worker without an attempt.
    fn message_logged(
        &mut self,
        ticket: Option<Ticket>,
        worker: Option<WorkerName>,
        level: LogLevel,
        message: String,
    ) {
        let messages =
            ticket.and_then(|ticket| self.execution.dispatcher_mut().messages_mut(ticket));
        if let Some(messages) = messages {
            messages.push_message(&message);
        }
        let entry = ticket.and_then(|ticket| self.execution.queue().find(ticket));
        let id = entry.map(|entry| entry.job.id.clone());
        self.emit_of_job(|| RunEvent::Log {
            id,
            worker,
            level,
            message,
        });
    }

    /// Marks as suspect the jobs whose results this worker has given since its answers were last confirmed.
    fn mark_suspects(&mut self, worker: WorkerName, reason: String) {
        let Some(suspects) = self.execution.take_suspects(&worker) else {
            return;
        };
        let ids = suspects.ids;
        self.arrivals.withdraw(suspects.cached);
        self.observers.publish_suspects(&ids);
        self.delivery.suspect(&ids);
        self.emit(|| RunEvent::JobsSuspect {
            ids,
            worker,
            reason,
        });
    }

    // Pools and places change.

    /// Applies a change to the seats of a pool.
    fn change_seats(&mut self, pool: PoolKey, change: impl FnOnce(&mut Seats)) {
        let mut capacity = self.execution.dispatcher_mut().capacity();
        capacity.change_seats(pool, change);
    }

    /// Continues with the jobs of a kind whose worker has declared its tasks, or has shown that it declares none.
    fn kind_introduced(
        &mut self,
        kind: KindId,
        version: Option<String>,
        tasks: Option<Vec<DeclaredTask>>,
    ) {
        let unbound = self.execution.unbound(kind, self.arrivals.kinds());
        let declares = tasks.is_some();
        if self.arrivals.introduced(kind, version, tasks) {
            let kinds = self.arrivals.kinds();
            let too_late = self.execution.count_bound(&unbound, kinds);
            if too_late > 0 {
                tracing::warn!(
                    worker = kinds.name(kind),
                    jobs = too_late,
                    "a worker declared hints after jobs had been sent to workers. These jobs run without the \
                     hints. With `handshake: required` or a longer `handshake_wait`, jobs wait for the hello"
                );
            }
            // The declaration may change the kind, the hint and the cache key of these jobs, so they are resolved
            // again. All of them leave the queue before the first one is queued again, or it would be bound by what the
            // jobs behind it had declared.
            let untried = self.execution.take_untried(kind, self.now);
            self.proceed_all(untried);
        }
        if declares {
            self.emit_hints(Some(kind));
        }
        self.resolve_again();
    }

    /// Emits the hints that are declared for the tasks of a kind, or of all kinds.
    pub(super) fn emit_hints(&self, kind: Option<KindId>) {
        let hints = self.arrivals.kinds().declared_hints(kind);
        if !hints.is_empty() {
            self.emit(|| RunEvent::HintsDeclared { hints });
        }
    }

    /// Ends the jobs that wait for a pool without workers and that no other pool can take.
    fn pool_broke(&mut self, pool: PoolKey, failure: &Failure) {
        let capacity = self.execution.dispatcher_mut().capacity();
        let is_last = capacity.pool_broke(pool, failure);
        if !is_last {
            return self.end_unstartable();
        }
        self.arrivals.broke(pool.kind, failure.clone());
        for entry in self.execution.cancel_waiting_for(pool.kind, self.now) {
            self.conclude(EndedJob::waited(entry, Box::new(failure.clone())));
        }
        self.resolve_again();
    }

    /// Ends the jobs that cannot run at any place any more.
    fn end_unstartable(&mut self) {
        let unstartable = self.execution.dispatcher_mut().capacity().unstartable();
        for (ticket, failure) in unstartable {
            let entry = self.execution.dispatcher_mut().cancel(ticket, self.now);
            self.conclude(EndedJob::waited(entry, Box::new(failure)));
        }
    }
}
