//! The rules by which a run stops before its jobs are done.

use std::fmt;

use ratchet_resilience::shutdown::Phase;

use crate::Error;
use crate::outcome::Status;

/// How many jobs may fail before the run stops.
///
/// Failed, timed out and crashed jobs count, after their last attempt. Skipped and cancelled jobs do not count, because
/// they are the consequence of something else.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxFailures {
    /// The run stops after this many failures.
    Count(u64),
    /// The run stops when at least this percentage of the jobs that have ended failed.
    Percent {
        /// The percentage, more than 0 and at most 100.
        percent: f64,
        /// The rule applies only after this many jobs have ended, or after all if there are fewer. The first failed job
        /// alone would be 100 percent.
        at_least: u64,
    },
}

impl MaxFailures {
    /// Makes a rule that stops the run at this percentage of failures, once 20 jobs have ended.
    pub fn percent(percent: f64) -> Self {
        Self::Percent {
            percent,
            at_least: 20,
        }
    }

    /// Whether a run stops by this rule when so many jobs have ended and so many of them failed. `total` is how many jobs there
    /// are, if that is known.
    pub fn is_reached(self, ended: u64, failed: u64, total: Option<u64>) -> bool {
        match self {
            Self::Count(most) => failed >= most,
            Self::Percent { percent, at_least } => {
                let enough = total.map_or(at_least, |total| total.min(at_least)).max(1);
                let share = percentage(failed, ended);
                failed > 0 && ended >= enough && share >= percent
            }
        }
    }

    /// Refuses a rule that would stop every run before its first job, or could never stop one.
    pub(super) fn check(self) -> Result<Self, Error> {
        let refuse = |reason: &str| {
            Err(Error::InvalidSetting {
                setting: "max_failures",
                reason: reason.to_owned(),
            })
        };
        match self {
            Self::Count(0) => {
                refuse("of 0 would stop the run before its first job; the least is 1")
            }
            Self::Percent { percent, .. } if !(percent > 0.0 && percent <= 100.0) => {
                refuse("has to be more than 0 and at most 100 percent")
            }
            rule => Ok(rule),
        }
    }
}

/// How many jobs have to succeed before the run stops, because no more are wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SuccessGoal {
    /// The run stops after this many successes.
    Count(u64),
    /// The run stops when at least this percentage of the jobs that succeeded or failed have succeeded.
    Percent {
        /// The percentage, more than 0 and at most 100.
        percent: f64,
        /// The rule applies only after this many jobs have succeeded or failed.
        at_least: u64,
    },
}

impl SuccessGoal {
    /// Refuses a goal that would stop every run before its first job, or that no run can reach.
    pub(super) fn check(self) -> Result<Self, Error> {
        let refuse = |reason: &str| {
            Err(Error::InvalidSetting {
                setting: "success_goal",
                reason: reason.to_owned(),
            })
        };
        match self {
            Self::Count(0) => {
                refuse("of 0 would stop the run before its first job; the least is 1")
            }
            Self::Percent { percent, .. } if !(percent > 0.0 && percent <= 100.0) => {
                refuse("has to be more than 0 and at most 100 percent")
            }
            goal => Ok(goal),
        }
    }
}

/// What a run does when a stop rule says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Halt {
    /// The run starts no more jobs, and lets the running ones finish.
    #[default]
    Soon,
    /// The run asks its running jobs to stop.
    Now,
}

impl Halt {
    /// Returns the phase with which this way of stopping begins.
    pub(super) fn phase(self) -> Phase {
        match self {
            Self::Soon => Phase::Draining,
            Self::Now => Phase::Cancelling,
        }
    }
}

/// Why a run stopped before its jobs were done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// Too many jobs failed.
    Failures {
        /// How many jobs had failed by then.
        failed: u64,
    },
    /// As many jobs succeeded as were wanted.
    Goal {
        /// How many jobs had succeeded by then.
        succeeded: u64,
    },
    /// The deadline of the run had passed.
    Deadline,
    /// A user asked for it, through a handle.
    Asked,
    /// The ledger could not record its outcomes.
    Ledger {
        /// The error of the ledger.
        reason: String,
    },
    /// Its loop has ended before its jobs had their outcomes, which is a bug in ratchet.
    Broken {
        /// The message of the panic.
        reason: String,
    },
    /// The source of its jobs panicked.
    Source {
        /// The message of the panic.
        reason: String,
    },
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures { failed: 1 } => f.write_str("a job failed"),
            Self::Failures { failed } => write!(f, "{failed} jobs failed"),
            Self::Goal { succeeded: 1 } => f.write_str("a job succeeded, and no more are wanted"),
            Self::Goal { succeeded } => {
                write!(f, "{succeeded} jobs succeeded, and no more are wanted")
            }
            Self::Deadline => f.write_str("the time of the run is over"),
            Self::Asked => f.write_str("the run was asked to stop"),
            Self::Ledger { reason } => write!(f, "outcomes could not be recorded: {reason}"),
            Self::Broken { reason } => {
                write!(f, "the run broke off, which is a bug in ratchet: {reason}")
            }
            Self::Source { reason } => write!(f, "the source of the jobs panicked: {reason}"),
        }
    }
}

/// Counts the ended jobs of a run by their status.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct EndCounts {
    /// How many jobs have ended.
    pub(super) ended: u64,
    /// How many of these succeeded.
    pub(super) succeeded: u64,
    /// How many of these failed, timed out or crashed.
    pub(super) failed: u64,
}

impl EndCounts {
    /// Counts a job that has ended.
    pub(super) fn count(&mut self, status: Status) {
        self.ended += 1;
        match status {
            Status::Succeeded => self.succeeded += 1,
            Status::Failed | Status::TimedOut | Status::Crashed => self.failed += 1,
            Status::Cancelled | Status::Skipped => {}
        }
    }

    /// Whether the rule says to stop; `total` is how many jobs there are, if that is known.
    pub(super) fn breaks(&self, rule: MaxFailures, total: Option<u64>) -> bool {
        rule.is_reached(self.ended, self.failed, total)
    }

    /// Returns how many more jobs may end before one of these rules can stop the run; `None` if no rule counts jobs.
    pub(super) fn ends_left(
        &self,
        most: Option<MaxFailures>,
        goal: Option<SuccessGoal>,
    ) -> Option<u64> {
        let failures = match most {
            Some(MaxFailures::Count(most)) => Some(most.saturating_sub(self.failed)),
            Some(MaxFailures::Percent { .. }) | None => None,
        };
        let successes = match goal {
            Some(SuccessGoal::Count(wanted)) => Some(wanted.saturating_sub(self.succeeded)),
            Some(SuccessGoal::Percent { .. }) | None => None,
        };
        failures.into_iter().chain(successes).min()
    }

    /// Whether as many jobs have succeeded as are wanted.
    pub(super) fn reaches(&self, goal: SuccessGoal) -> bool {
        match goal {
            SuccessGoal::Count(wanted) => self.succeeded >= wanted,
            SuccessGoal::Percent { percent, at_least } => {
                let judged = self.succeeded + self.failed;
                let share = percentage(self.succeeded, judged);
                self.succeeded > 0 && judged >= at_least && share >= percent
            }
        }
    }
}

/// Returns what percentage of `all` jobs `part` of them are.
#[expect(clippy::cast_precision_loss, reason = "no run has 2^52 jobs")]
fn percentage(part: u64, all: u64) -> f64 {
    part as f64 * 100.0 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(succeeded: u64, failed: u64) -> EndCounts {
        let mut tally = EndCounts::default();
        (0..succeeded).for_each(|_| tally.count(Status::Succeeded));
        (0..failed).for_each(|_| tally.count(Status::Failed));
        tally.count(Status::Skipped);
        tally.count(Status::Cancelled);
        tally
    }

    #[test]
    fn a_count_stops_with_that_failure() {
        assert!(!tally(100, 2).breaks(MaxFailures::Count(3), None));
        assert!(tally(100, 3).breaks(MaxFailures::Count(3), None));
    }

    #[test]
    fn rules_that_count_jobs_say_how_many_may_still_end() {
        let left = |most, goal| tally(3, 2).ends_left(most, goal);
        assert_eq!(left(None, None), None);
        assert_eq!(left(Some(MaxFailures::percent(50.0)), None), None);
        assert_eq!(left(Some(MaxFailures::Count(5)), None), Some(3));
        let goal = Some(SuccessGoal::Count(4));
        assert_eq!(left(Some(MaxFailures::Count(5)), goal), Some(1));
        assert_eq!(left(Some(MaxFailures::Count(1)), None), Some(0));
    }

    #[test]
    fn a_share_needs_enough_jobs_to_be_one() {
        let rule = MaxFailures::percent(50.0);
        assert!(
            !tally(0, 3).breaks(rule, None),
            "3 of 5 are too few to tell"
        );
        assert!(tally(9, 11).breaks(rule, None));
        assert!(!tally(20, 11).breaks(rule, None));
        assert!(
            tally(0, 3).breaks(rule, Some(5)),
            "there are no more than 5"
        );
        assert!(!tally(30, 0).breaks(MaxFailures::percent(0.1), None));
    }

    #[test]
    fn a_goal_is_reached_by_successes_or_their_share_of_what_succeeded_or_failed() {
        assert!(!tally(1, 50).reaches(SuccessGoal::Count(2)));
        assert!(tally(2, 50).reaches(SuccessGoal::Count(2)));
        let half = SuccessGoal::Percent {
            percent: 50.0,
            at_least: 3,
        };
        assert!(!tally(1, 1).reaches(half), "2 of 3 are too few to tell");
        assert!(tally(2, 2).reaches(half));
        assert!(!tally(2, 3).reaches(half));
        assert!(!tally(0, 9).reaches(half));
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        for percent in [0.0, -1.0, 100.1, f64::NAN] {
            assert!(MaxFailures::percent(percent).check().is_err(), "{percent}");
        }
        assert!(MaxFailures::Count(0).check().is_err());
        assert!(MaxFailures::percent(100.0).check().is_ok());
        assert!(SuccessGoal::Count(0).check().is_err());
        assert!(SuccessGoal::Count(1).check().is_ok());
        let share = |percent| SuccessGoal::Percent {
            percent,
            at_least: 3,
        };
        assert!(share(0.0).check().is_err() && share(100.0).check().is_ok());
    }
}
