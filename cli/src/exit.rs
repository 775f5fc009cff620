//! Exit codes: constants that scripts may rely on.

use ratchet_runtime::summary::Counts;

/// All jobs succeeded, or were cached.
pub(crate) const SUCCESS: u8 = 0;

/// Something went wrong that is nobody's job to fail.
pub(crate) const INTERNAL: u8 = 1;

/// What was typed, or a file, makes no sense; nothing ran, unless `--strict` met a line that is no job after
/// others had been run. It is clap's code too.
pub(crate) const USAGE: u8 = 2;

/// There was nothing to do.
pub(crate) const NOTHING: u8 = 4;

/// Some jobs did not succeed.
pub(crate) const UNSUCCESSFUL: u8 = 100;

/// A stop rule, or the deadline, ended the run early. 101 is not used: it is the code of a Rust program that
/// panicked.
pub(crate) const STOPPED: u8 = 102;

/// SIGINT ended it, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

/// Nobody reads stdout any more. It is the code that a shell shows for a program that SIGPIPE ended.
pub(crate) const UNREAD: u8 = 141;

/// SIGTERM ended it.
pub(crate) const TERMINATED: u8 = 143;

/// As `--help` has it.
pub(crate) const HELP: &str = "\
Exit codes:
  0    all jobs succeeded, or were cached; or --halt had its successes
  1    internal error
  2    usage or file error, nothing ran; or --strict met a line that is no job
  4    nothing to do
  100  some jobs did not succeed
  102  stopped early by --max-fail, --halt or --deadline
  130  interrupted (SIGINT)
  141  the reader of stdout has gone (SIGPIPE)
  143  terminated (SIGTERM)";

/// How a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunEnd {
    /// There were no more jobs.
    Done,
    /// A stop rule said so.
    Rule(Reached),
    /// Somebody sent a signal.
    Interrupted,
    Terminated,
    /// Whoever read the results has gone, as `head` does when it has enough.
    NobodyReads,
}

/// What a stop rule waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// Failures, or the end of the run's time.
    Limit,
    /// As many successes as were wanted.
    Goal,
}

/// The code of a run that ended so, with so many jobs of each status.
///
/// A result that is in doubt is no success, though its job counts as succeeded.
pub(crate) fn of_run(end: RunEnd, counts: &Counts, suspects: usize) -> u8 {
    let total = counts.total();
    let all_succeeded = counts.succeeded == total && suspects == 0;
    match end {
        RunEnd::Interrupted => INTERRUPTED,
        RunEnd::Terminated => TERMINATED,
        RunEnd::Rule(Reached::Limit) => STOPPED,
        RunEnd::Rule(Reached::Goal) if suspects == 0 => SUCCESS,
        RunEnd::Done if total == 0 => NOTHING,
        RunEnd::NobodyReads => UNREAD,
        RunEnd::Done if all_succeeded => SUCCESS,
        RunEnd::Done | RunEnd::Rule(Reached::Goal) => UNSUCCESSFUL,
    }
}

#[cfg(test)]
mod tests {
    use ratchet_runtime::Status;

    use super::*;

    fn code(end: RunEnd, statuses: &[(Status, u64)]) -> u8 {
        let mut counts = Counts::default();
        for (status, count) in statuses {
            (0..*count).for_each(|_| counts.add(*status));
        }
        of_run(end, &counts, 0)
    }

    #[test]
    fn how_a_run_ended_is_its_code() {
        let good = [(Status::Succeeded, 3)];
        for (end, counts, expected) in [
            (RunEnd::Done, &good[..], 0),
            (RunEnd::Done, &[], 4),
            (RunEnd::NobodyReads, &[], 141),
            (RunEnd::NobodyReads, &good, 141),
            (RunEnd::Rule(Reached::Limit), &good, 102),
            (RunEnd::Interrupted, &good, 130),
            (RunEnd::Terminated, &[], 143),
        ] {
            assert_eq!(code(end, counts), expected, "{end:?} {counts:?}");
        }
        for status in Status::ALL
            .into_iter()
            .filter(|status| *status != Status::Succeeded)
        {
            let one_bad = [(Status::Succeeded, 9), (status, 1)];
            assert_eq!(code(RunEnd::Done, &one_bad), 100, "{status}");
            assert_eq!(code(RunEnd::NobodyReads, &one_bad), 141, "{status}");
            assert_eq!(code(RunEnd::Rule(Reached::Goal), &one_bad), 0, "{status}");
        }
    }

    #[test]
    fn a_result_in_doubt_is_no_success() {
        let mut counts = Counts::default();
        counts.add(Status::Succeeded);
        for end in [RunEnd::Done, RunEnd::Rule(Reached::Goal)] {
            assert_eq!(of_run(end, &counts, 1), 100, "{end:?}");
        }
    }

    #[test]
    fn the_help_knows_every_code() {
        for code in [
            SUCCESS,
            INTERNAL,
            USAGE,
            NOTHING,
            UNSUCCESSFUL,
            STOPPED,
            INTERRUPTED,
            UNREAD,
            TERMINATED,
        ] {
            assert!(
                HELP.lines()
                    .any(|line| line.trim_start().starts_with(&format!("{code} ")))
            );
        }
        assert!(!HELP.contains("101"), "101 is the code of a panic");
    }
}
