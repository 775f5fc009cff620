//! `ratchet runs show`: shows the results of a run.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::journal::{RunState, StoredRun};
use ratchet_runtime::summary::Tally;
use ratchet_runtime::{AttemptsShown, History, RunId, RunStore, Summary, Waits};

use super::list::{state_tone, state_word};
use super::live::connect;
use super::{command_line, folder, named_or_last, style};
use crate::args::runs::ShowArguments;
use crate::error::CliError;
use crate::escape::plain;
use crate::folders::Folders;
use crate::invocation::Invocation;
use crate::live::{AskError, LiveState, Question, WorkersNow};
use crate::output::{Destination, Output};
use crate::readable::{ago, duration, timestamp};
use crate::report::{self, HumanSummary, ResultFormat, describe};
use crate::style::Style;

/// Writes the outcomes and the summary of a recorded run.
pub(super) fn run(arguments: &ShowArguments) -> Result<(), CliError> {
    let (folders, settings, trust) = Folders::load_with_trust(&arguments.state)?;
    let store = RunStore::at(&folders.state);
    let id = named_or_last(&store, arguments.run.as_deref())?;
    trust.file(&store.journal(id))?;
    let run = store.run(id);
    if let RunState::Unreadable(error) = run.state {
        return Err(error.into());
    }
    let live = match run.state {
        RunState::Running { .. } => live_state(&store, id),
        _ => None,
    };
    let history = History::load(&run.journal)?;
    let _ = io::stderr().write_all(damage_warnings(&run, &history).as_bytes());
    let format = arguments
        .format
        .or(settings.format())
        .unwrap_or(ResultFormat::Human);
    let out = match &arguments.output {
        Some(path) => Output::new(Box::new(create(path)?), Destination::File(path.clone())),
        None => Output::new(Box::new(io::stdout()), Destination::Stdout),
    };
    let now = SystemClock.now();
    match format {
        ResultFormat::Human => {
            let look = if arguments.output.is_none() {
                style(&settings)
            } else {
                Style::PLAIN
            };
            human(&run, &history, (live.as_ref(), now), look, out)
        }
        format => results(&run, &history, (live.as_ref(), now), format, out),
    }
}

/// Asks a run in progress for its state. If it cannot be asked, only its record is shown.
fn live_state(store: &RunStore, id: RunId) -> Option<LiveState> {
    let error = match connect(store, id) {
        Ok(Some(mut client)) => match client.ask(&Question::State) {
            Ok(state) => return Some(state),
            Err(AskError::Ended) => return None,
            Err(error) => error.into(),
        },
        Ok(None) => return None,
        Err(error) => error,
    };
    let help = error.help().map(|help| format!("; {help}"));
    let _ = writeln!(
        io::stderr(),
        "ratchet: only the record of the run is shown: {}{}",
        plain(&error.to_string()),
        help.unwrap_or_default()
    );
    None
}

fn create(path: &Path) -> Result<File, CliError> {
    File::create(path).map_err(|error| CliError::unwritable(path, error))
}

/// Returns messages about damage in the record itself.
pub(super) fn damage_warnings(run: &StoredRun, history: &History) -> String {
    let mut out = String::new();
    let path = folder(&run.journal);
    // Writing to a string cannot fail.
    if let Some(first) = history.damage().first() {
        let lines = history.damaged();
        let _ = writeln!(
            out,
            "ratchet: `{path}` has damaged lines, which are left out ({lines}): {}",
            plain(&first.to_string())
        );
    }
    // While a run is in progress, its last line may be incomplete because it is being written.
    if let (Some(torn), RunState::Interrupted { .. }) = (history.torn(), &run.state) {
        let bytes = torn.bytes;
        let _ = writeln!(
            out,
            "ratchet: the last {bytes} bytes of `{path}` are an unfinished line, which is left out"
        );
    }
    out
}

/// Writes every result in the format in which the run itself would have written it with `-v`.
pub(super) fn results(
    run: &StoredRun,
    history: &History,
    (live, now): (Option<&LiveState>, SystemTime),
    format: ResultFormat,
    out: Output<'_>,
) -> Result<(), CliError> {
    let started = history.header().started;
    let live = live.filter(|_| format == ResultFormat::Json);
    let live = live.map(serde_json::to_vec).transpose().map_err(|error| {
        CliError::internal("the state of the run cannot be written as JSON").because(error)
    })?;
    let mut report = match live {
        Some(live) => report::live_document(out, &live)?,
        None => report::report(format, AttemptsShown::All, out, Style::PLAIN, started)?,
    };
    let mut tally = Tally::default();
    for outcome in history.outcomes() {
        let outcome = outcome?;
        tally.record(&outcome);
        report.outcome(&outcome)?;
    }
    report.finish(&summary(run, history, now, &tally))?;
    Ok(())
}

/// Writes for people which run it was, which jobs did not succeed, and the summary.
pub(super) fn human(
    run: &StoredRun,
    history: &History,
    (live, now): (Option<&LiveState>, SystemTime),
    style: Style,
    mut out: Output<'_>,
) -> Result<(), CliError> {
    out.write(head(run, history, now, style).as_bytes())?;
    if let Some(live) = live {
        out.write(live_lines(live).as_bytes())?;
    }
    let (mut tally, mut human_summary) = (Tally::default(), HumanSummary::default());
    let mut waited = Waits::default();
    for outcome in history.outcomes() {
        let outcome = outcome?;
        tally.record(&outcome);
        human_summary.add(&outcome);
        waited.add_all(&outcome.waits);
        if !outcome.is_success() || outcome.is_flaky() {
            out.write(describe(&outcome, style).as_bytes())?;
            out.write(report::times(&outcome, style).as_bytes())?;
        }
    }
    if !waited.is_empty() {
        let waited = report::waits(&waited);
        out.write(format!("all jobs together waited {waited}\n").as_bytes())?;
    }
    let rerun = format!("ratchet resume {}", run.id);
    let rerun = match &run.state {
        RunState::Running { .. } => None,
        RunState::Interrupted { .. } | RunState::Ended { .. } | RunState::Unreadable(_) => {
            Some(rerun.as_str())
        }
    };
    let summary = summary(run, history, now, &tally);
    let goes_on = matches!(run.state, RunState::Running { .. });
    if goes_on && summary.total == 0 {
        out.write(b"still running: no job has ended yet\n")?;
        return Ok(out.flush()?);
    }
    out.write(human_summary.render(&summary, style, rerun).as_bytes())?;
    if goes_on {
        let (count, jobs) = (
            summary.total,
            if summary.total == 1 {
                "job has"
            } else {
                "jobs have"
            },
        );
        out.write(format!("still running: {count} {jobs} ended so far\n").as_bytes())?;
    }
    // All jobs that ended before the interruption may have succeeded, although the run is not done.
    if let (RunState::Interrupted { .. }, true, Some(rerun)) =
        (&run.state, summary.all_successful(), rerun)
    {
        out.write(format!("to resume it: {rerun}\n").as_bytes())?;
    }
    Ok(out.flush()?)
}

/// Formats the state of a run in progress for people.
pub(super) fn live_lines(live: &LiveState) -> String {
    let millis = Duration::from_millis;
    let mut counts = Vec::new();
    counts.extend(live.queued.map(|queued| format!("{queued} queued")));
    counts.push(format!("{} waiting", live.waiting));
    counts.push(format!("{} running in {} slots", live.running, live.slots));
    counts.push(match live.total {
        Some(total) => format!("{} of {total} ended", live.ended),
        None => format!("{} ended", live.ended),
    });
    let mut out = format!("now: {}; {:.1} jobs/s", counts.join(", "), live.rate);
    if let Some(left) = live.left_ms {
        // Writing to a string cannot fail, here and below.
        let _ = write!(out, ", about {} left", duration(millis(left)));
    }
    out.push('\n');
    let waits = live.waits.iter();
    let waits: Vec<String> = waits
        .map(|wait| format!("{} {}", plain(&wait.cause), wait.jobs))
        .collect();
    if !waits.is_empty() {
        let _ = writeln!(out, "waiting for: {}", waits.join(", "));
    }
    let workers = live.workers.iter();
    let workers: Vec<String> = workers
        .map(|kind| {
            let WorkersNow {
                name,
                size,
                busy,
                failures,
            } = kind;
            let died = match failures {
                0 => String::new(),
                failures => format!(" ({failures} died)"),
            };
            format!("{} {busy} of {size} busy{died}", plain(name))
        })
        .collect();
    if !workers.is_empty() {
        let _ = writeln!(out, "workers: {}", workers.join(", "));
    }
    if let Some(held) = &live.held {
        let _ = writeln!(out, "nothing starts: {}", plain(held));
    }
    out
}

fn head(run: &StoredRun, history: &History, now: SystemTime, style: Style) -> String {
    let header = history.header();
    let state = style.paint(state_tone(&run.state), state_word(&run.state));
    let began = timestamp(header.started);
    let since = ago(now, header.started);
    let mut out = format!("{} {state}, began {began}Z ({since})", run.id);
    match history.resumed() {
        0 => {}
        1 => out.push_str(", resumed once"),
        // Writing to a string cannot fail.
        times => {
            let _ = write!(out, ", resumed {times} times");
        }
    }
    out.push('\n');
    let _ = write!(out, "{}", plain(&command_line(header)));
    if let Some(invocation) = Invocation::read(&header.about) {
        let _ = write!(out, "  in {}", folder(&invocation.cwd));
    }
    out.push('\n');
    out
}

/// Returns the recorded summary if it covers all jobs, else one that is made from the outcomes.
pub(super) fn summary(
    run: &StoredRun,
    history: &History,
    now: SystemTime,
    tally: &Tally,
) -> Summary {
    let jobs = history.jobs() as u64;
    if let Some((_, summary)) = history.ended().filter(|(_, summary)| summary.total == jobs) {
        return summary.clone();
    }
    let last = match &run.state {
        RunState::Running { .. } => Some(now),
        RunState::Ended { at, .. } => Some(*at),
        // The last record was written just before the interruption.
        RunState::Interrupted { .. } | RunState::Unreadable(_) => {
            let journal = std::fs::metadata(&run.journal);
            journal.and_then(|journal| journal.modified()).ok()
        }
    };
    // The breaks between the parts of a run do not count, nor does the time from Ctrl-Z to `fg`, as in a recorded summary.
    tally.summary(history.worked(last))
}
