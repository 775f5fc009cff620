//! How a run ended: what is said of it, and the exit code.

use std::time::Duration;

use ratchet_runtime::Stopped;
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
    let is_done = matches!(end, Ok(RunEnd::Done)) && delivered.result.is_ok() && fed.is_ok();
    let gone = differences.map_or(0, |(_, gone)| gone);
    let kept = record.map_or(Ok(()), |record| record.end(&summary, is_done, gone));
    if let Some(differences) = differences.filter(|_| resumed && !rules.quiet) {
        screen.say(&told(differences));
    }
    let wants_digest = !rules.quiet && summary.total > 0 && !nobody_reads;
    let is_interrupted = matches!(end, Ok(RunEnd::Interrupted | RunEnd::Terminated));
    if wants_digest {
        let rerun = rerun.as_deref().filter(|_| !is_interrupted);
        if rules.verbose > 0 {
            screen.say(&figures(&summary));
        }
        let text = delivered.digest.render(&summary, rules.err_style(), rerun);
        screen.say(&text);
    }
    if is_interrupted {
        screen.say(&interrupted(rerun.as_deref()));
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
        RunEnd::Done | RunEnd::Rule(Reached::Limit) if nobody_reads => RunEnd::NobodyReads,
        end => end,
    };
    Ok(exit::of_run(end, &summary.counts))
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
    match rerun {
        Some(rerun) => format!("ratchet: interrupted; go on with: {rerun}\n"),
        None => "ratchet: interrupted\n".to_owned(),
    }
}

/// How the jobs of now differ from those of before.
fn told((differences, gone): Gone) -> String {
    let mut parts = vec![format!("{} had succeeded before", differences.kept)];
    for (count, what) in [
        (differences.failed, "had failed"),
        (differences.not_ended, "had not ended"),
        (differences.changed, "changed since"),
        (differences.new, "new"),
        (gone, "no longer there"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    format!("ratchet: resumed: {}\n", parts.join(", "))
}
