//! The rule of `--halt`, by which a run stops early.

use std::str::FromStr;

use ratchet_runtime::summary::Counts;
use ratchet_runtime::{Halt, MaxFailures};

use crate::value::{Amount, amount};

/// A rule of `--halt`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct HaltRule {
    /// Whether running jobs are asked to stop. Otherwise they may finish.
    pub(crate) now: bool,
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

/// The decision of a rule after an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HaltDecision {
    /// The run goes on.
    Continue,
    /// The run stops, because too many jobs have failed.
    TooManyFailures,
    /// The run stops, because enough jobs have succeeded.
    EnoughSuccesses,
}

/// How many jobs have to have ended before a percentage is meaningful.
const SHARE_OF_AT_LEAST: u64 = 3;

impl HaltRule {
    /// Whether the rule stops the run after successes.
    pub(crate) fn is_goal(&self) -> bool {
        matches!(self.limit, HaltLimit::Successes(_))
    }

    /// Returns the limit of failures as the executor enforces it, if the rule counts failures.
    pub(crate) fn failure_limit(self) -> Option<(MaxFailures, Halt)> {
        let HaltLimit::Failures(amount) = self.limit else {
            return None;
        };
        let how = if self.now { Halt::Now } else { Halt::Soon };
        Some((amount.max_failures()?, how))
    }

    /// Decides by how many jobs have succeeded and failed.
    pub(crate) fn decide(self, counts: &Counts) -> HaltDecision {
        let (failed, succeeded) = (counts.failures(), counts.succeeded);
        let ended = failed + succeeded;
        let reached = |part: u64, amount: Amount| match amount {
            Amount::Count(count) => part >= count,
            Amount::Percent(percent) => {
                #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 jobs")]
                let share = part as f64 * 100.0 / ended.max(1) as f64;
                ended >= SHARE_OF_AT_LEAST && part > 0 && share >= percent
            }
        };
        match self.limit {
            HaltLimit::Failures(amount) if reached(failed, amount) => HaltDecision::TooManyFailures,
            HaltLimit::Successes(amount) if reached(succeeded, amount) => {
                HaltDecision::EnoughSuccesses
            }
            HaltLimit::Never | HaltLimit::Failures(_) | HaltLimit::Successes(_) => {
                HaltDecision::Continue
            }
        }
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

    fn decision(rule: &str, succeeded: u64, failed: u64) -> HaltDecision {
        let counts = Counts {
            succeeded,
            crashed: failed,
            skipped: 1000,
            cancelled: 1000,
            ..Counts::default()
        };
        rule.parse::<HaltRule>().unwrap().decide(&counts)
    }

    #[test]
    fn counts_and_shares_stop_a_run() {
        for (rule, succeeded, failed, expected) in [
            ("now,fail=2", 100, 1, HaltDecision::Continue),
            ("now,fail=2", 0, 2, HaltDecision::TooManyFailures),
            ("soon,fail=50%", 0, 2, HaltDecision::Continue),
            ("soon,fail=50%", 2, 2, HaltDecision::TooManyFailures),
            ("soon,fail=50%", 3, 2, HaltDecision::Continue),
            ("now,success=1", 0, 50, HaltDecision::Continue),
            ("now,success=1", 1, 50, HaltDecision::EnoughSuccesses),
            ("never", 0, 50, HaltDecision::Continue),
        ] {
            assert_eq!(
                decision(rule, succeeded, failed),
                expected,
                "{rule} {succeeded} {failed}"
            );
        }
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
