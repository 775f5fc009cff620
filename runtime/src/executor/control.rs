//! The control of a run: its phase, the reason why it stops, and what holds new starts back.

use std::time::{Duration, Instant};

use ratchet_resilience::shutdown::{Phase, PhaseClock};

use super::stop::{EndCounts, Halt, MaxFailures, Stopped, SuccessGoal};
use crate::dispatch::StopRequest;
use crate::outcome::{Class, Failure};
use crate::suspension::{CATCH_UP, LATE};

/// The rules by which a run stops by itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StopRules {
    /// How many jobs may fail, and how the run stops when more have failed.
    pub(super) max_failures: Option<(MaxFailures, Halt)>,
    /// How many jobs have to succeed before the run stops, and how it stops then.
    pub(super) success_goal: Option<(SuccessGoal, Halt)>,
    /// The moment at which the run is cancelled.
    pub(super) deadline: Option<Instant>,
}

/// What [`RunControl::poll`] has found to be due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PhaseChange {
    /// The run has entered this phase.
    Entered(Phase),
    /// The killing phase has ended, so the run gives up what has not ended yet.
    TimeIsOver,
}

/// Decides whether jobs may start, and when the run stops.
pub(super) struct RunControl {
    /// The phase of the run, and when the next one begins.
    phases: PhaseClock,
    /// The rules by which the run stops by itself.
    rules: StopRules,
    /// How long an attempt that was asked to stop may go on before it is killed.
    grace: Duration,
    /// The first reason to stop; `None` while the run goes on.
    stopped: Option<Stopped>,
    /// The reason for which no job starts, set by the monitor of the machine.
    held: Option<String>,
    /// Whether a user has paused the run.
    is_paused: bool,
    /// No deadline is enforced before this time. It is set after this process was stopped, so that the reports that
    /// came in the meantime are handled first.
    deadlines_enforced_from: Option<Instant>,
}

impl RunControl {
    /// Makes the control of a run that goes on.
    pub(super) fn new(phases: PhaseClock, rules: StopRules, grace: Duration) -> Self {
        Self {
            phases,
            rules,
            grace,
            stopped: None,
            held: None,
            is_paused: false,
            deadlines_enforced_from: None,
        }
    }

    /// Returns the phase of the run.
    pub(super) fn phase(&self) -> Phase {
        self.phases.phase()
    }

    /// Whether the run goes on, so that jobs are taken in and started.
    pub(super) fn is_running(&self) -> bool {
        self.phases.phase() == Phase::Running
    }

    /// Whether jobs may start now.
    pub(super) fn may_start(&self) -> bool {
        self.is_running() && !self.is_paused && self.held.is_none()
    }

    /// Returns the reason that [`hold`](Self::hold) has set, if there is one.
    pub(super) fn hold_reason(&self) -> Option<&str> {
        self.held.as_deref()
    }

    /// Whether somebody has paused the run.
    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Holds new jobs back for this reason, or no longer if it is `None`.
    pub(super) fn hold(&mut self, reason: Option<String>) {
        self.held = reason;
    }

    /// Pauses or resumes the run.
    pub(super) fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// Enters a later phase and returns it. It returns `None` if the run is in that phase or a later one already. The
    /// first reason to stop is kept.
    pub(super) fn stop(&mut self, phase: Phase, why: Stopped, now: Instant) -> Option<Phase> {
        self.stopped.get_or_insert(why);
        self.phases.advance_to(phase, now)
    }

    /// Returns the phase that the run has to enter and the reason, if too many jobs have failed or enough have
    /// succeeded.
    pub(super) fn stop_by_rule(
        &self,
        tally: &EndCounts,
        total: Option<u64>,
    ) -> Option<(Phase, Stopped)> {
        if !self.is_running() {
            return None;
        }
        if let Some((rule, halt)) = self.rules.max_failures
            && tally.breaks(rule, total)
        {
            let failed = tally.failed;
            return Some((halt.phase(), Stopped::Failures { failed }));
        }
        let (goal, halt) = self.rules.success_goal?;
        let succeeded = tally.succeeded;
        tally
            .reaches(goal)
            .then(|| (halt.phase(), Stopped::Goal { succeeded }))
    }

    /// Returns how many more jobs may end before a rule can stop the run; `None` if no rule counts jobs.
    pub(super) fn ends_left(&self, tally: &EndCounts) -> Option<u64> {
        let most = self.rules.max_failures.map(|(rule, _)| rule);
        let goal = self.rules.success_goal.map(|(goal, _)| goal);
        tally.ends_left(most, goal)
    }

    /// Whether the deadline of the run has passed.
    pub(super) fn is_past_deadline(&self, now: Instant) -> bool {
        let deadline = self.rules.deadline.filter(|_| self.is_running());
        deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Enters the next phase if the time of the current one is over, and returns what has changed.
    pub(super) fn poll(&mut self, now: Instant) -> Option<PhaseChange> {
        if self.phases.is_over(now) {
            return Some(PhaseChange::TimeIsOver);
        }
        self.phases.poll(now).map(PhaseChange::Entered)
    }

    /// Returns the next moment at which a deadline passes: that of the run, or that of its phase.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        let deadline = self.rules.deadline.filter(|_| self.is_running());
        [deadline, self.phases.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Records that the loop woke now and had set its timer to `timer`. If it woke much later than that, this process
    /// was stopped or got no processor time, and no deadline is enforced for a moment.
    pub(super) fn note_wakeup(&mut self, timer: Instant, now: Instant) {
        if now.saturating_duration_since(timer) >= LATE {
            self.deadlines_enforced_from = now.checked_add(CATCH_UP);
        }
    }

    /// Whether deadlines may be enforced now.
    pub(super) fn may_enforce_deadlines(&mut self, now: Instant) -> bool {
        if self.deadlines_enforced_from.is_some_and(|from| now < from) {
            return false;
        }
        self.deadlines_enforced_from = None;
        true
    }

    /// Returns the moment from which deadlines are enforced again, if they are not enforced now.
    pub(super) fn deadlines_enforced_from(&self) -> Option<Instant> {
        self.deadlines_enforced_from
    }

    /// Returns the request by which a single job is asked to stop while the run goes on.
    pub(super) fn ask_to_stop(&self) -> StopRequest {
        StopRequest::Ask { grace: self.grace }
    }

    /// Returns the request by which running attempts have to stop in the current phase, if they have to.
    pub(super) fn stop_of_phase(&self) -> Option<StopRequest> {
        match self.phases.phase() {
            Phase::Running | Phase::Draining => None,
            // The phase of killing begins when the time for cancelling is over. It kills every attempt, whatever is
            // left of its grace.
            Phase::Cancelling => Some(StopRequest::Ask { grace: self.grace }),
            Phase::Killing => Some(StopRequest::Kill),
        }
    }

    /// Returns the failure of the jobs that are not started because the run stops; `None` while it goes on.
    pub(super) fn refusal(&self) -> Option<Failure> {
        if self.is_running() {
            return None;
        }
        let message = format!("it was not started: {}", self.reason());
        Some(Failure::new(Class::Cancelled, message))
    }

    /// Returns the reason to stop as text, which is empty while the run goes on.
    pub(super) fn reason(&self) -> String {
        self.stopped
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    /// Returns why the run stopped before its jobs were done; `None` if it did not.
    pub(super) fn into_stopped(self) -> Option<Stopped> {
        self.stopped
    }
}

#[cfg(test)]
mod tests {
    use ratchet_resilience::shutdown::Grace;

    use super::*;
    use crate::outcome::Status;

    const SECOND: Duration = Duration::from_secs(1);

    fn control(rules: StopRules) -> (RunControl, Instant) {
        let grace = Grace {
            draining: SECOND,
            cancelling: SECOND,
            killing: SECOND,
        };
        let phases = PhaseClock::new(grace).unwrap();
        let now = tokio::time::Instant::now().into_std();
        (RunControl::new(phases, rules, SECOND * 9), now)
    }

    #[test]
    fn a_run_that_is_asked_to_stop_goes_through_its_phases_and_gives_up() {
        let (mut control, now) = control(StopRules::default());
        assert!(control.may_start() && control.refusal().is_none());
        assert_eq!(control.next_timer(), None);
        let entered = control.stop(Phase::Draining, Stopped::Asked, now);
        assert_eq!(entered, Some(Phase::Draining));
        assert_eq!(control.stop_of_phase(), None);
        let message = control.refusal().unwrap().message;
        assert_eq!(message, "it was not started: the run was asked to stop");
        let mut at = now;
        for (phase, stop) in [
            (Phase::Cancelling, StopRequest::Ask { grace: SECOND * 9 }),
            (Phase::Killing, StopRequest::Kill),
        ] {
            assert_eq!(control.poll(at), None);
            at += SECOND;
            assert_eq!(control.next_timer(), Some(at));
            assert_eq!(control.poll(at), Some(PhaseChange::Entered(phase)));
            assert_eq!(control.stop_of_phase(), Some(stop));
        }
        assert_eq!(control.poll(at + SECOND), Some(PhaseChange::TimeIsOver));
    }

    #[test]
    fn the_first_reason_to_stop_stays_and_no_phase_comes_back() {
        let (mut control, now) = control(StopRules::default());
        control.stop(Phase::Cancelling, Stopped::Deadline, now);
        assert_eq!(control.stop(Phase::Draining, Stopped::Asked, now), None);
        assert_eq!(control.phase(), Phase::Cancelling);
        assert_eq!(control.into_stopped(), Some(Stopped::Deadline));
    }

    #[test]
    fn nothing_starts_while_a_run_is_paused_or_held() {
        let (mut control, _) = control(StopRules::default());
        control.pause(true);
        assert!(!control.may_start());
        control.hold(Some("memory".to_owned()));
        control.pause(false);
        assert!(!control.may_start());
        assert_eq!(control.hold_reason(), Some("memory"));
        control.hold(None);
        assert!(control.may_start());
    }

    #[test]
    fn rules_hold_only_while_the_run_goes_on() {
        let (_, now) = control(StopRules::default());
        let rules = StopRules {
            max_failures: Some((MaxFailures::Count(1), Halt::Now)),
            success_goal: Some((SuccessGoal::Count(1), Halt::Soon)),
            deadline: Some(now + SECOND),
        };
        let (mut control, _) = control(rules);
        let mut tally = EndCounts::default();
        assert_eq!(control.stop_by_rule(&tally, None), None);
        let mut enough = tally;
        enough.count(Status::Succeeded);
        let goal = Stopped::Goal { succeeded: 1 };
        let stop = control.stop_by_rule(&enough, None);
        assert_eq!(stop, Some((Phase::Draining, goal)));
        tally.count(Status::Failed);
        let broken = control.stop_by_rule(&tally, None);
        let failures = Stopped::Failures { failed: 1 };
        assert_eq!(broken, Some((Phase::Cancelling, failures)));
        assert!(!control.is_past_deadline(now) && control.is_past_deadline(now + SECOND));
        control.stop(Phase::Draining, Stopped::Asked, now);
        assert_eq!(control.stop_by_rule(&tally, None), None);
        assert!(!control.is_past_deadline(now + SECOND));
    }

    #[test]
    fn a_loop_that_woke_late_judges_nothing_by_the_clock_for_a_moment() {
        let (mut control, now) = control(StopRules::default());
        control.note_wakeup(now, now + LATE / 2);
        assert!(control.may_enforce_deadlines(now + LATE / 2));
        control.note_wakeup(now, now + LATE);
        let from = now + LATE + CATCH_UP;
        assert_eq!(control.deadlines_enforced_from(), Some(from));
        assert!(!control.may_enforce_deadlines(now + LATE));
        assert!(control.may_enforce_deadlines(from));
        assert_eq!(control.deadlines_enforced_from(), None);
    }
}
