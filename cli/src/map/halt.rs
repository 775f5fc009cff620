//! The rule of `--halt`, by which a run stops early.

use std::str::FromStr;

use ratchet_runtime::{Halt, MaxFailures, SuccessGoal};

use crate::value::{Amount, amount};

/// A rule of `--halt`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct HaltRule {
    /// Whether running jobs are asked to stop. Otherwise they may finish.
    now: bool,
    /// What has to happen before the run stops.
    limit: HaltLimit,
}

/// The limit of a rule: a count of jobs, or a share of them.
#[derive(Debug, Clone, Copy, PartialEq)]
enum HaltLimit {
    /// Nothing is counted, and all jobs run.
    Never,
    /// Jobs that failed, timed out or crashed.
    Failures(Amount),
    /// Jobs that succeeded.
    Successes(Amount),
}

/// How many jobs have to have succeeded or failed before a percentage of successes is meaningful.
const SHARE_OF_AT_LEAST: u64 = 3;

impl HaltRule {
    /// Returns the limit of failures as the executor enforces it, if the rule counts failures.
    pub(crate) fn failure_limit(self) -> Option<(MaxFailures, Halt)> {
        let HaltLimit::Failures(amount) = self.limit else {
            return None;
        };
        Some((amount.max_failures()?, self.how()))
    }

    /// Returns the goal as the executor knows it, if the rule counts successes.
    pub(crate) fn success_goal(self) -> Option<(SuccessGoal, Halt)> {
        let HaltLimit::Successes(amount) = self.limit else {
            return None;
        };
        let goal = match amount {
            Amount::Count(count) => SuccessGoal::Count(count),
            Amount::Percent(percent) => SuccessGoal::Percent {
                percent,
                at_least: SHARE_OF_AT_LEAST,
            },
        };
        Some((goal, self.how()))
    }

    /// Returns how the run stops.
    fn how(self) -> Halt {
        if self.now { Halt::Now } else { Halt::Soon }
    }
}

impl FromStr for HaltRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self {
                now: false,
                limit: HaltLimit::Never,
            });
        }
        let refused = || {
            format!(
                "`{text}` is not a rule; write one like soon,fail=3, now,fail=10%, now,success=1, or never"
            )
        };
        let (when, what) = text.split_once(',').ok_or_else(refused)?;
        let now = match when {
            "now" => true,
            "soon" => false,
            _ => return Err(refused()),
        };
        let (what, number) = what.split_once('=').ok_or_else(refused)?;
        let number = amount(number).map_err(|error| error.to_string())?;
        if matches!(number, Amount::Count(0)) || number == Amount::Percent(0.0) {
            return Err("0 would stop the run before its first job; the least is 1".to_owned());
        }
        let limit = match what {
            "fail" => HaltLimit::Failures(number),
            "success" => HaltLimit::Successes(number),
            _ => return Err(refused()),
        };
        Ok(Self { now, limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_limit_of_failures_or_a_goal_of_successes() {
        let rule = |text: &str| text.parse::<HaltRule>().unwrap();
        let failures = Some((MaxFailures::Count(2), Halt::Now));
        assert_eq!(rule("now,fail=2").failure_limit(), failures);
        assert_eq!(rule("now,fail=2").success_goal(), None);
        let goal = Some((SuccessGoal::Count(1), Halt::Soon));
        assert_eq!(rule("soon,success=1").success_goal(), goal);
        assert_eq!(rule("soon,success=1").failure_limit(), None);
        let share = SuccessGoal::Percent {
            percent: 50.0,
            at_least: 3,
        };
        let share = Some((share, Halt::Now));
        assert_eq!(rule("now,success=50%").success_goal(), share);
        assert_eq!(rule("never").failure_limit(), None);
        assert_eq!(rule("never").success_goal(), None);
    }

    #[test]
    fn what_is_no_rule_is_refused_with_an_example() {
        for text in [
            "",
            "now",
            "fail=1",
            "later,fail=1",
            "now,done=1",
            "now,fail",
            "now,fail=x",
        ] {
            assert!(text.parse::<HaltRule>().is_err(), "{text}");
        }
        let error = "now,fail=0".parse::<HaltRule>().unwrap_err();
        assert!(error.contains("the least is 1"), "{error}");
    }
}
