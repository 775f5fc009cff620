//! What the orchestrator does by the clock, and how it stops a run.

use ratchet_resilience::shutdown::Phase;

use super::Orchestrator;
use crate::event::RunEvent;
use crate::executor::arrival::{Refused, queue_timeout_failure};
use crate::executor::control::PhaseChange;
use crate::executor::delivery::EndedJob;
use crate::executor::stop::Stopped;

impl Orchestrator {
    /// Does all that is due by the clock.
    pub(super) fn keep_time(&mut self) {
        let now = self.now;
        if !self.control.may_enforce_deadlines(now) {
            return;
        }
        while let Some(entry) = self.execution.dispatcher_mut().cancel_past_deadline(now) {
            let failure = Box::new(entry.queue_timeout_failure());
            self.conclude(EndedJob::waited(entry, failure));
        }
        for arrival in self.arrivals.take_past_deadline(self.moment()) {
            let failure = queue_timeout_failure(&arrival.job);
            self.conclude(EndedJob::refused(Refused::new(arrival, failure)));
        }
        while let Some(entry) = self.execution.dispatcher_mut().pop_slow(now) {
            let event = RunEvent::JobSlow {
                id: entry.job.id.clone(),
                item: entry.job.item.as_ref().map(|item| item.name.clone()),
                attempt: entry.attempts,
                after_ms: u64::try_from(entry.in_state_for(now).as_millis()).unwrap_or(u64::MAX),
            };
            self.observers.count_slow();
            self.emit(|| event);
        }
        if self.control.is_past_deadline(now) {
            self.stop(Phase::Cancelling, Stopped::Deadline);
        }
        match self.control.poll(now) {
            Some(PhaseChange::TimeIsOver) => self.give_up(),
            Some(PhaseChange::Entered(phase)) => self.enter_phase(phase),
            None => {}
        }
    }

    /// Stops the run when too many jobs have failed, or enough have succeeded.
    pub(super) fn check_stop_rules(&mut self) {
        let (tally, total) = (self.delivery.tally(), self.arrivals.total());
        if let Some((phase, why)) = self.control.stop_by_rule(tally, total) {
            self.stop(phase, why);
        }
    }

    /// Enters a later phase. Nothing happens if the run is in this phase or a later one already.
    pub(in crate::executor) fn stop(&mut self, phase: Phase, why: Stopped) {
        if let Some(phase) = self.control.stop(phase, why, self.now) {
            self.enter_phase(phase);
        }
    }

    /// Begins a phase: from now on nothing is retried or queued, waiting jobs end, and running attempts are stopped as
    /// the phase says.
    fn enter_phase(&mut self, phase: Phase) {
        let reason = self.control.reason();
        self.observers.publish_phase(phase, reason, self.now);
        self.execution.end_retries();
        self.arrivals.close();
        self.end_all_waiting();
        self.execution
            .dispatcher_mut()
            .stop_all(self.control.stop_of_phase());
    }

    /// Ends all jobs that have not started, wherever they wait.
    fn end_all_waiting(&mut self) {
        #[expect(
            clippy::expect_used,
            reason = "this follows the change of the phase, after which the control refuses every job"
        )]
        let failure = (self.control.refusal()).expect("a run that stops refuses all jobs");
        for arrival in self.arrivals.give_up(self.moment()) {
            self.conclude(EndedJob::refused(Refused::new(arrival, failure.clone())));
        }
        for (entry, failure) in self.execution.cancel_all_waiting(&failure, self.now) {
            self.conclude(EndedJob::waited(entry, failure));
        }
    }

    /// Gives an outcome to all jobs that have not ended although they were killed.
    fn give_up(&mut self) {
        for (entry, attempted) in self.execution.give_up(self.now) {
            self.end(entry, attempted);
        }
    }
}
