//! How a run ended: what is said of it, and the exit code.

use std::time::Duration;

use ratchet_runtime::Stopped;
use ratchet_runtime::journal::Pruned;
use ratchet_runtime::summary::Tally;

use super::Went;
use super::feed::Gone;
use super::record::Record;
use super::rules::Rules;
use super::screen::Screen;
use super::signals::Heard;
use crate::error::CliError;
use crate::exit::{self, Reached, RunEnd};
use crate::report::figures;

/// What is said at the end, and the exit code.
pub(super) fn conclude(
    went: Went,
    heard: &Heard,
    rules: &Rules,
    screen: &Screen,
    record: Option<Record>,
    resumed: bool,
) -> Result<u8, CliError> {
    let Went {
        delivered,
        stopped,
        reached,
        fed,
        differences,
    } = went;
    let summary = delivered
        .summary
        .unwrap_or_else(|| Tally::default().summary(Duration::ZERO));
    let rerun = record.as_ref().map(|record| record.rerun(rules));
    let end = end(stopped.as_ref(), reached, heard);
    let nobody_reads = matches!(&delivered.result, Err(error) if error.is_broken_pipe());
    let is_done = is_finished(&end, stopped.as_ref()) && delivered.result.is_ok() && fed.is_ok();
    let gone = differences.map_or(0, |(_, gone)| gone);
    let kept = record.map_or(Ok(Vec::new()), |record| {
        record.end(&summary, is_done, gone, &rules.retention)
    });
    if let Some(text) = kept.as_ref().ok().and_then(|pruned| forgotten(pruned)) {
        // Also where little is to be said: nobody can go on with these any more.
        screen.say(&text);
    }
    if let Some(differences) = differences.filter(|_| resumed && !rules.quiet) {
        screen.say(&told(differences));
    }
    let wants_digest = !rules.quiet && summary.total > 0;
    let is_interrupted = matches!(end, Ok(RunEnd::Interrupted | RunEnd::Terminated));
    if wants_digest {
        let rerun = rerun
            .as_deref()
            .filter(|_| !is_interrupted && !nobody_reads);
        if rules.verbose > 0 {
            screen.say(&figures(&summary));
        }
        let text = delivered.digest.render(&summary, rules.err_style(), rerun);
        screen.say(&text);
    }
    if is_interrupted {
        screen.say(&interrupted(rerun.as_deref()));
    } else if nobody_reads {
        screen.say(&stopped_by(
            "stopped: the reader of stdout has gone",
            rerun.as_deref(),
        ));
    } else if let Ok(RunEnd::Rule(Reached::Limit)) = end
        && let Some(stopped) = &stopped
    {
        screen.say(&format!("ratchet: stopped early: {stopped}\n"));
    }
    if !nobody_reads {
        delivered.result?;
    }
    fed?;
    // That nothing more could be recorded is what ended the run, and comes before what that did to the record.
    let end = end?;
    kept?;
    let end = match end {
        RunEnd::Done | RunEnd::Rule(_) if nobody_reads => RunEnd::NobodyReads,
        end => end,
    };
    Ok(exit::of_run(end, &summary.counts, summary.suspects.len()))
}

/// Whether the run came to its end by itself. One that stopped for any reason of its own may have jobs without
/// outcomes, so its record says that it was interrupted, whatever its exit code is.
fn is_finished(end: &Result<RunEnd, CliError>, stopped: Option<&Stopped>) -> bool {
    matches!(end, Ok(RunEnd::Done)) && stopped.is_none()
}

fn end(stopped: Option<&Stopped>, reached: bool, heard: &Heard) -> Result<RunEnd, CliError> {
    if let Some(end) = heard.end() {
        return Ok(end);
    }
    match stopped {
        Some(Stopped::Failures { .. } | Stopped::Deadline) => Ok(RunEnd::Rule(Reached::Limit)),
        Some(Stopped::Ledger { reason }) => Err(CliError::Unrecorded(reason.clone())),
        Some(_) if reached => Ok(RunEnd::Rule(Reached::Goal)),
        // It is also asked to stop where nobody reads.
        None | Some(Stopped::Asked) => Ok(RunEnd::Done),
        Some(other) => Err(CliError::Internal(other.to_string())),
    }
}

pub(super) fn interrupted(rerun: Option<&str>) -> String {
    stopped_by("interrupted", rerun)
}

/// The last line of a run that was stopped from outside: the cause, and the command that resumes it.
fn stopped_by(cause: &str, rerun: Option<&str>) -> String {
    match rerun {
        Some(rerun) => format!("ratchet: {cause}; go on with: {rerun}\n"),
        None => format!("ratchet: {cause}\n"),
    }
}

/// Names the runs that were removed although somebody might have gone on with them.
fn forgotten(pruned: &[Pruned]) -> Option<String> {
    /// How many are named.
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
         the settings keep-age, keep-runs and keep-size say how much is kept\n"
    ))
}

/// How the jobs of now differ from those of before.
fn told((differences, gone): Gone) -> String {
    let mut parts = vec![format!("{} had succeeded before", differences.kept)];
    for (count, what) in [
        (differences.failed, "had failed"),
        (differences.not_ended, "had not ended"),
        (differences.changed, "changed since"),
        (differences.dependents, "dependent on what is redone"),
        (differences.new, "new"),
        (gone, "no longer there"),
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
        assert!(is_finished(&Ok(RunEnd::Done), None));
        // The loop says so when it ended before its jobs did.
        assert!(!is_finished(&Ok(RunEnd::Done), Some(&Stopped::Asked)));
        assert!(!is_finished(&Ok(RunEnd::Interrupted), None));
        let broken = Err(CliError::Internal("the loop panicked".to_owned()));
        assert!(!is_finished(&broken, None));
    }

    #[test]
    fn only_runs_that_could_be_resumed_are_named_and_not_all_of_many() {
        let pruned = |was_resumable| Pruned {
            id: RunId::at(SystemTime::UNIX_EPOCH),
            was_resumable,
        };
        assert_eq!(forgotten(&[pruned(false)]), None);
        let said = forgotten(&[pruned(false), pruned(true)]).unwrap();
        assert!(
            said.starts_with(
                "ratchet: removed the record of an old run that could still have been resumed: 0000000; "
            ),
            "{said}"
        );
        let said = forgotten(&[pruned(true); 12]).unwrap();
        assert!(said.contains("the records of 12 old runs"), "{said}");
        assert!(said.contains("0000000 and 2 more; "), "{said}");
    }
}
