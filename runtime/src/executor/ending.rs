//! How a run stops: by a rule, by its deadline, or because it was asked to.

use std::time::Duration;

use ratchet_resilience::shutdown::Phase;

use super::conclude::Done;
use super::handle::Order;
use super::orchestrator::{Orchestrator, State, expect_known};
use super::stop::Stopped;
use crate::Error;
use crate::dispatch::Stop;
use crate::event::Event;
use crate::ids::Ticket;
use crate::outcome::{Class, Failure};

impl Orchestrator {
    /// What became due by the clock.
    pub(super) fn keep_time(&mut self) {
        if self.judges_from.is_some_and(|from| self.now < from) {
            return;
        }
        self.judges_from = None;
        self.try_refuted_again();
        while let Some(&(when, ticket)) = self.patience.first()
            && when <= self.now
        {
            self.patience.remove(&(when, ticket));
            self.lose_patience(ticket);
        }
        if self.is_running()
            && self
                .rules
                .deadline
                .is_some_and(|deadline| deadline <= self.now)
        {
            self.stop(Phase::Cancelling, Stopped::Deadline);
        }
        if self.phases.is_over(self.now) {
            self.give_up();
        } else if let Some(phase) = self.phases.poll(self.now) {
            self.enter_phase(phase);
        }
    }

    /// A job has waited for its first start for as long as it may.
    fn lose_patience(&mut self, ticket: Ticket) {
        let Some(entry) = self.entry_mut(ticket) else {
            return;
        };
        entry.patience = None;
        match entry.state {
            State::Running => {}
            // It comes back, and has no patience left then.
            State::Ahead => {
                let (kind, seat) = (entry.kind, entry.seat);
                self.performers.stop(kind, seat, ticket, Stop::Recall);
            }
            State::Waiting => {
                let limit = entry.job.terms.timeouts.queue.unwrap_or_default();
                let failure = if entry.rejected {
                    let message =
                        format!("its breaker was open for as long as it may wait, {limit:?}");
                    Failure::new(Class::Breaker, message)
                } else {
                    let message = format!("it waited for its start for longer than {limit:?}");
                    Failure::new(Class::Timeout, message)
                };
                self.end_waiting(ticket, failure.retryable(false));
            }
        }
    }

    pub(super) fn obey(&mut self, order: Order) {
        match order {
            Order::Stop(phase) => self.stop(phase, Stopped::Asked),
            Order::Hold(reason) => {
                self.held.clone_from(&reason);
                self.tell_admission();
            }
            Order::Pause(paused) => {
                self.paused = paused;
                self.tell_admission();
            }
            Order::Snapshot(answer) => {
                // Who asked need not wait for the answer.
                let _ = answer.send(self.snapshot());
            }
            Order::SetSlots(slots, answer) => {
                let result = if slots == 0 {
                    Err(Error::ImpossibleSlots { asked: 1, total: 0 })
                } else {
                    self.scheduler.set_slots(slots)
                };
                // Who asked need not wait for the answer.
                let _ = answer.send(result);
            }
            Order::SetLimit(name, limit, answer) => {
                let id = self.scheduler.limit(&name);
                let now = self.now;
                let result = id.and_then(|id| self.scheduler.set_limit(id, limit, now));
                if result.is_ok() {
                    let limit = limit.to_string();
                    self.tell(|| Event::LimitChanged { name, limit });
                }
                let _ = answer.send(result);
            }
        }
    }

    fn tell_admission(&self) {
        let held = self.held.clone();
        let held = held.or_else(|| self.paused.then(|| "paused".to_owned()));
        self.gauges.set(|status| status.held.clone_from(&held));
        self.tell(|| Event::Admission { held });
    }

    /// Stops the run when too many jobs have failed.
    pub(super) fn check_failures(&mut self) {
        if let Some((rule, halt)) = self.rules.max_failures
            && self.is_running()
            && self.tally.breaks(rule, self.total)
        {
            let failed = self.tally.failed;
            self.stop(halt.phase(), Stopped::Failures { failed });
        }
    }

    /// Goes over to a later phase; nothing happens in one that is as late.
    pub(super) fn stop(&mut self, phase: Phase, why: Stopped) {
        self.stopped.get_or_insert(why);
        if let Some(phase) = self.phases.advance_to(phase, self.now) {
            self.enter_phase(phase);
        }
    }

    fn enter_phase(&mut self, phase: Phase) {
        let reason = self.stopped.as_ref().map(ToString::to_string);
        self.gauges.set(|status| status.phase = phase);
        self.tell(|| Event::RunStopping {
            phase: phase.to_string(),
            reason: reason.unwrap_or_default(),
        });
        self.source.close();
        self.end_all_waiting();
        let stop = self.stop_of_phase();
        for entry in self.entries.iter().flatten() {
            let stop = match (entry.state, stop) {
                (State::Running, Some(stop)) => stop,
                // It may not begin any more, so it comes back.
                (State::Ahead, _) => Stop::Recall,
                (State::Running, None) | (State::Waiting, _) => continue,
            };
            self.performers
                .stop(entry.kind, entry.seat, entry.ticket, stop);
        }
    }

    /// How what runs is to stop by now, if it is.
    fn stop_of_phase(&self) -> Option<Stop> {
        // Cancelling ends in killing by the clock of the phases, which is later than any grace here.
        let grace = self.rules.grace;
        match self.phases.phase() {
            Phase::Running | Phase::Draining => None,
            Phase::Cancelling => Some(Stop::Ask { grace }),
            Phase::Killing => Some(Stop::Kill),
        }
    }

    /// One that was sent ahead had begun before it could be recalled.
    pub(super) fn stop_late(&mut self, ticket: Ticket) {
        if let Some(stop) = self.stop_of_phase()
            && let Some(entry) = self.entry(ticket)
        {
            let (kind, seat) = (entry.kind, entry.seat);
            self.performers.stop(kind, seat, ticket, stop);
        }
    }

    /// Why a job that waits has waited long enough, if it has.
    pub(super) fn end_of_the_waiting(&self) -> Option<Failure> {
        if self.is_running() {
            return None;
        }
        let why = self.stopped.as_ref().map(ToString::to_string);
        let message = format!("it was not started: {}", why.unwrap_or_default());
        Some(Failure::new(Class::Cancelled, message))
    }

    fn end_all_waiting(&mut self) {
        let Some(failure) = self.end_of_the_waiting() else {
            return;
        };
        self.end_all_refuted(&failure);
        let mut arrivals = self.needs.give_up();
        arrivals.extend(std::mem::take(&mut self.unresolved));
        arrivals.extend(self.reuse.give_up());
        for arrival in arrivals {
            let queued = self.now.saturating_duration_since(arrival.since);
            self.conclude(Done {
                queued,
                ..Done::of(&arrival, Err(Box::new(failure.clone())))
            });
        }
        let waiting = self.entries.iter().flatten();
        let waiting = waiting.filter(|entry| entry.state == State::Waiting);
        let waiting: Vec<Ticket> = waiting.map(|entry| entry.ticket).collect();
        for ticket in waiting {
            // One that was to be tried again has failed for good.
            let entry = self.entry_mut(ticket);
            let last = entry.and_then(|entry| entry.failure.take());
            self.end_waiting(ticket, last.map_or_else(|| failure.clone(), |last| *last));
        }
    }

    /// The time for killing is over, and some would not die. They have their outcome all the same.
    fn give_up(&mut self) {
        self.give_up_held();
        let left: Vec<Ticket> = self
            .entries
            .iter()
            .flatten()
            .map(|entry| entry.ticket)
            .collect();
        for ticket in left {
            let now = self.now;
            self.forget_uncertain(ticket);
            let Some(entry) = self.forget(ticket) else {
                continue;
            };
            let message = "it was killed, and had not ended when the run did";
            let ran = now.saturating_duration_since(entry.since);
            let is_running = entry.state == State::Running;
            match entry.state {
                State::Running => drop(expect_known(self.scheduler.fail(ticket))),
                State::Ahead => {
                    expect_known(self.scheduler.put_back(ticket));
                    expect_known(self.scheduler.cancel(ticket));
                }
                State::Waiting => drop(expect_known(self.scheduler.cancel(ticket))),
            }
            self.conclude(Done {
                job: entry.job,
                place: entry.place,
                result: Err(Box::new(Failure::new(Class::Cancelled, message))),
                attempts: entry.attempts,
                cached: false,
                worker: None,
                queued: entry.queued,
                duration: if is_running { ran } else { Duration::ZERO },
                nameless: false,
            });
        }
    }
}
