//! Exit codes: constants that scripts may rely on.

use ratchet_runtime::summary::Counts;

/// All jobs succeeded, or were cached.
pub(crate) const SUCCESS: u8 = 0;

/// The machine or ratchet itself failed, and not a job.
pub(crate) const INTERNAL: u8 = 1;

/// The arguments or a file make no sense, and nothing ran. With `--strict`, jobs may have run before a line that is no
/// job was met. clap uses the same code.
pub(crate) const USAGE: u8 = 2;

/// There was nothing to do.
pub(crate) const NOTHING: u8 = 4;

/// Some jobs did not succeed, or were flaky where that counts as a failure.
pub(crate) const UNSUCCESSFUL: u8 = 100;

/// A stop rule or the deadline ended the run early. 101 is not used, because a Rust program that panics ends with it.
pub(crate) const STOPPED: u8 = 102;

/// SIGINT ended the call; shells show the same code for a program that SIGINT ended.
pub(crate) const INTERRUPTED: u8 = 130;

/// The reader of stdout has gone; shells show the same code for a program that SIGPIPE ended.
pub(crate) const UNREAD: u8 = 141;

/// SIGTERM ended the call.
pub(crate) const TERMINATED: u8 = 143;

/// The list of codes in `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    all jobs succeeded, or were cached; or --halt had its successes
  1    internal error
  2    usage or file error, nothing ran; or --strict met a line that is no job
  4    nothing to do
  100  some jobs did not succeed, or were flaky with --flaky fail
  102  stopped early by --max-fail, --halt or --deadline
  130  interrupted (SIGINT)
  141  the reader of stdout has gone (SIGPIPE)
  143  terminated (SIGTERM)";

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunEnd {
    /// There were no more jobs.
    Done,
    /// A stop rule or the deadline ended it.
    Halted(HaltReason),
    /// SIGINT ended the run.
    Interrupted,
    /// SIGTERM ended the run.
    Terminated,
    /// The reader of the results has gone, as `head` does when it has enough.
    ReaderGone,
}

/// What a stop rule has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HaltReason {
    /// Too many failures, or the deadline.
    Limit,
    /// The wanted number of jobs has succeeded.
    Goal,
}

/// Returns the exit code of a run, by how it ended and how many jobs have each status.
///
/// A doubtful result is no success, although its job counts as succeeded: it may be the answer to another job, or its job is
/// flaky and that is to fail the run.
pub(crate) fn of_run(end: RunEnd, counts: &Counts, doubtful: u64) -> u8 {
    let total = counts.total();
    let all_succeeded = counts.succeeded == total && doubtful == 0;
    match end {
        RunEnd::Interrupted => INTERRUPTED,
        RunEnd::Terminated => TERMINATED,
        RunEnd::Halted(HaltReason::Limit) => STOPPED,
        RunEnd::Halted(HaltReason::Goal) if doubtful == 0 => SUCCESS,
        RunEnd::Done if total == 0 => NOTHING,
        RunEnd::ReaderGone => UNREAD,
        RunEnd::Done if all_succeeded => SUCCESS,
        RunEnd::Done | RunEnd::Halted(HaltReason::Goal) => UNSUCCESSFUL,
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
            (RunEnd::ReaderGone, &[], 141),
            (RunEnd::ReaderGone, &good, 141),
            (RunEnd::Halted(HaltReason::Limit), &good, 102),
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
            assert_eq!(code(RunEnd::ReaderGone, &one_bad), 141, "{status}");
            assert_eq!(
                code(RunEnd::Halted(HaltReason::Goal), &one_bad),
                0,
                "{status}"
            );
        }
    }

    #[test]
    fn a_result_in_doubt_is_no_success() {
        let mut counts = Counts::default();
        counts.add(Status::Succeeded);
        for end in [RunEnd::Done, RunEnd::Halted(HaltReason::Goal)] {
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
