//! Concludes a run: its last messages, the end of its record, and its exit code.

use ratchet_runtime::Stopped;
use ratchet_runtime::journal::PrunedRun;

use super::console::Console;
use super::delivery::DeliveryResult;
use super::earlier::ResumeDifferences;
use super::options::RunOptions;
use super::record::RunRecord;
use super::signals::SignalHandler;
use crate::args::stop::FlakyResult;
use crate::error::CliError;
use crate::exit::{self, HaltReason, RunEnd};
use crate::report::statistics;

/// The results and figures of a run after its last outcome.
pub(super) struct CompletedRun {
    /// The summaries, and whether all results could be written.
    pub(super) delivery: DeliveryResult,
    /// The reason for which the run stopped before its jobs were done, if it did.
    pub(super) stopped: Option<Stopped>,
    /// The error of the source of the jobs, if not all jobs could be read.
    pub(super) source: Result<(), CliError>,
    /// How many jobs the source had, if it came to its end.
    pub(super) jobs: Option<u64>,
    /// How many jobs were kept and how many are run again, if the run was resumed.
    pub(super) differences: Option<ResumeDifferences>,
}

/// Ends the record, prints the last messages, and returns the exit code.
pub(super) fn conclude(
    completed: CompletedRun,
    signals: &SignalHandler,
    options: &RunOptions,
    console: &Console,
    record: Option<RunRecord>,
    is_resumed: bool,
) -> Result<u8, CliError> {
    let CompletedRun {
        delivery,
        stopped,
        source,
        jobs,
        differences,
    } = completed;
    let summary = delivery.summary;
    let all_ran = jobs == Some(summary.total) && summary.counts.cancelled == 0;
    let rerun = record.as_ref().map(|record| record.resume_command(options));
    let is_kept = (record.as_ref()).is_some_and(|record| record.journal_path().exists());
    let unrecorded = Unrecorded {
        printed: summary.unrecorded,
        is_kept,
    };
    let end = run_end(stopped.as_ref(), all_ran, signals, unrecorded);
    let is_reader_gone = matches!(&delivery.written, Err(error) if error.is_reader_gone());
    let is_done =
        is_finished(&end, stopped.as_ref(), all_ran) && delivery.written.is_ok() && source.is_ok();
    let gone = differences
        .as_ref()
        .map_or(0, |differences| differences.gone);
    // Jobs that are gone from a job file were taken out of it, but those of stdin have to be given again.
    let not_given = (differences.as_ref())
        .filter(|_| record.as_ref().is_some_and(RunRecord::reads_stdin))
        .map_or(0, |differences| differences.failed_and_gone);
    let recorded = record.map_or(Ok(Vec::new()), |record| {
        record.end(&summary, is_done, gone, &options.retention)
    });
    if let Some(text) = recorded
        .as_ref()
        .ok()
        .and_then(|pruned| describe_pruned(pruned))
    {
        // Printed in spite of `--quiet`, because these runs can no longer be resumed.
        console.say(&text);
    }
    if let Some(differences) = differences.filter(|_| is_resumed && !options.quiet) {
        console.say(&describe_differences(&differences));
    }
    let is_interrupted = matches!(end, Ok(RunEnd::Interrupted | RunEnd::Terminated));
    if !options.quiet && summary.total > 0 {
        let rerun = rerun
            .as_deref()
            .filter(|_| !is_interrupted && !is_reader_gone);
        if options.verbose > 0 {
            console.say(&statistics(&summary));
        }
        let human_summary = delivery.human_summary;
        console.say(&human_summary.render(&summary, options.stderr_style(), rerun));
    }
    if not_given > 0 && summary.total > 0 {
        // Printed in spite of `--quiet`, because the exit code follows from it.
        console.say(&describe_not_given(not_given, rerun.as_deref()));
    }
    if is_interrupted {
        console.say(&interrupted(rerun.as_deref()));
    } else if is_reader_gone {
        let cause = "stopped: the reader of stdout has closed it";
        console.say(&stopped_by(cause, rerun.as_deref()));
    } else if let Ok(RunEnd::Halted(HaltReason::Limit)) = end
        && let Some(stopped) = &stopped
    {
        console.say(&format!("ratchet: stopped early: {stopped}\n"));
    }
    if !is_reader_gone {
        delivery.written?;
    }
    source?;
    // If a failing record ended the run, `end` is that error. It comes before `recorded`, which is only a consequence.
    let end = end?;
    recorded?;
    let end = match end {
        RunEnd::Done | RunEnd::Halted(_) if is_reader_gone => RunEnd::ReaderGone,
        end => end,
    };
    // Neither is a success: a result that may be wrong, and a job that failed before and was left out this time.
    let mut doubtful = summary.suspects.len() as u64 + not_given;
    if options.flaky == FlakyResult::Fail {
        doubtful += summary.flaky;
    }
    Ok(exit::of_run(end, &summary.counts, doubtful))
}

/// Whether the run came to its end by itself. A run that stopped, for whatever reason, may have jobs without outcomes,
/// so it is recorded as interrupted, whatever its exit code is. A limit or a goal that the last job reached stopped
/// nothing.
fn is_finished(end: &Result<RunEnd, CliError>, stopped: Option<&Stopped>, all_ran: bool) -> bool {
    match stopped {
        None => matches!(end, Ok(RunEnd::Done)),
        Some(Stopped::Failures { .. }) => all_ran && matches!(end, Ok(RunEnd::Done)),
        Some(Stopped::Goal { .. }) => {
            all_ran && matches!(end, Ok(RunEnd::Halted(HaltReason::Goal)))
        }
        Some(_) => false,
    }
}

/// Returns how the run ended: by signals, by a limit or a goal of its own, or with all jobs done. `all_ran` is whether no
/// job was cancelled or left out.
fn run_end(
    stopped: Option<&Stopped>,
    all_ran: bool,
    signals: &SignalHandler,
    unrecorded: Unrecorded,
) -> Result<RunEnd, CliError> {
    if let Some(end) = signals.run_end() {
        return Ok(end);
    }
    match stopped {
        // The last job was the failure that reached the limit, so it stopped nothing.
        Some(Stopped::Failures { .. }) if all_ran => Ok(RunEnd::Done),
        Some(Stopped::Failures { .. } | Stopped::Deadline) => Ok(RunEnd::Halted(HaltReason::Limit)),
        Some(Stopped::Ledger { reason }) => Err(unrecorded.error(reason)),
        Some(Stopped::Goal { .. }) => Ok(RunEnd::Halted(HaltReason::Goal)),
        // A run is also asked to stop when its results have no reader.
        None | Some(Stopped::Asked) => Ok(RunEnd::Done),
        Some(other) => Err(CliError::internal(other.to_string())),
    }
}

/// What could not be recorded of a run.
#[derive(Debug, Clone, Copy)]
struct Unrecorded {
    /// How many results were printed all the same.
    printed: u64,
    /// Whether the record of the run is there, so that it can be resumed.
    is_kept: bool,
}

impl Unrecorded {
    /// Makes the error of the run.
    fn error(self, reason: &str) -> CliError {
        // They are marked in formats that can do so.
        let printed = match self.printed {
            0 => String::new(),
            1 => "; the last result that was printed is not recorded".to_owned(),
            count => format!("; {count} results that were printed are not recorded"),
        };
        let again = if self.is_kept && self.printed > 0 {
            ", so `ratchet resume` does their jobs again"
        } else {
            ""
        };
        CliError::internal(format!(
            "the run was stopped because its results could not be recorded: {reason}{printed}{again}"
        ))
        .with_help(if self.is_kept {
            "what was recorded is safe: remove the cause, then run `ratchet resume`; or use --no-record"
        } else {
            "nothing of this run can be resumed: run it again with a folder that stays (--state-dir), or use --no-record"
        })
    }
}

/// Returns the last line of a run that signals ended.
pub(super) fn interrupted(rerun: Option<&str>) -> String {
    stopped_by("interrupted", rerun)
}

/// Returns the last line of a run that was stopped from outside: the cause, and the command that resumes it.
fn stopped_by(cause: &str, rerun: Option<&str>) -> String {
    match rerun {
        Some(rerun) => format!("ratchet: {cause}; to resume it: {rerun}\n"),
        None => format!("ratchet: {cause}\n"),
    }
}

/// Names the runs that were removed although they could have been resumed.
fn describe_pruned(pruned: &[PrunedRun]) -> Option<String> {
    /// How many runs are named.
    const NAMED: usize = 10;
    let resumable = pruned.iter().filter(|run| run.was_resumable);
    let ids: Vec<String> = resumable.map(|run| run.id.to_string()).collect();
    let runs = match ids.len() {
        0 => return None,
        1 => "the record of an old run".to_owned(),
        count => format!("the records of {count} old runs"),
    };
    let named = &ids[..ids.len().min(NAMED)];
    let more = match ids.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = named.join(", ");
    Some(format!(
        "ratchet: removed {runs} that could still have been resumed: {named}{more}; \
         the settings keep-age, keep-runs and keep-size set how much is kept\n"
    ))
}

/// Tells that jobs were left out which have to be given again on stdin.
fn describe_not_given(count: u64, rerun: Option<&str>) -> String {
    let jobs = match count {
        1 => "1 job of this run that has not succeeded was".to_owned(),
        count => format!("{count} jobs of this run that have not succeeded were"),
    };
    let again = rerun.map_or_else(String::new, |rerun| {
        format!("; give all jobs again: {rerun}")
    });
    format!("ratchet: {jobs} not given again{again}\n")
}

/// Describes how the jobs of a resumed run differ from those of its earlier part.
fn describe_differences(
    ResumeDifferences {
        jobs: differences,
        gone,
        failed_and_gone: _,
    }: &ResumeDifferences,
) -> String {
    let mut parts = vec![format!("{} had succeeded before", differences.kept)];
    for (count, what) in [
        (differences.failed, "had failed"),
        (differences.not_ended, "had not ended"),
        (differences.skipped, "had been skipped"),
        (differences.changed, "changed since"),
        (differences.dependents, "dependent on what is redone"),
        (differences.new, "new"),
        (*gone, "no longer there"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    format!("ratchet: resumed: {}\n", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use ratchet_runtime::RunId;

    use super::*;

    #[test]
    fn a_run_is_finished_only_if_nothing_stopped_it() {
        assert!(is_finished(&Ok(RunEnd::Done), None, true));
        // The executor reports this if its loop ended before the jobs did.
        assert!(!is_finished(&Ok(RunEnd::Done), Some(&Stopped::Asked), true));
        assert!(!is_finished(&Ok(RunEnd::Interrupted), None, true));
        let broken = Err(CliError::internal("the loop panicked"));
        assert!(!is_finished(&broken, None, true));
    }

    #[test]
    fn only_runs_that_could_be_resumed_are_named_and_not_all_of_many() {
        let pruned = |was_resumable| PrunedRun {
            id: RunId::at(SystemTime::UNIX_EPOCH),
            was_resumable,
        };
        assert_eq!(describe_pruned(&[pruned(false)]), None);
        let said = describe_pruned(&[pruned(false), pruned(true)]).unwrap();
        assert!(
            said.starts_with(
                "ratchet: removed the record of an old run that could still have been resumed: 0000000; "
            ),
            "{said}"
        );
        let said = describe_pruned(&[pruned(true); 12]).unwrap();
        assert!(said.contains("the records of 12 old runs"), "{said}");
        assert!(said.contains("0000000 and 2 more; "), "{said}");
    }
}
