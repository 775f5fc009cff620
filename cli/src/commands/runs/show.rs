//! What came of a run.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::journal::{Run, RunState};
use ratchet_runtime::summary::Tally;
use ratchet_runtime::{History, RunStore, Summary};

use super::list::{tone, word};
use super::{folder, named_or_last, style, what};
use crate::about::About;
use crate::args::output::Format;
use crate::args::runs::ShowArguments;
use crate::error::CliError;
use crate::places::Places;
use crate::report::{self, Digest, Place, Style, ago, describe, plain, timestamp};

pub(super) fn run(arguments: &ShowArguments) -> Result<(), CliError> {
    let (places, settings, trust) = Places::open(&arguments.state)?;
    let store = RunStore::at(&places.state);
    let id = named_or_last(&store, arguments.run.as_deref())?;
    trust.file(&store.journal(id))?;
    let run = store.run(id);
    if let RunState::Unreadable(error) = run.state {
        return Err(CliError::Journal(error));
    }
    let history = History::load(&run.journal).map_err(CliError::from)?;
    let _ = io::stderr().write_all(complaints(&run, &history).as_bytes());
    let format = arguments
        .format
        .or(settings.format())
        .unwrap_or(Format::Human);
    let (out, place): (Box<dyn Write + Send>, _) = match &arguments.output {
        Some(path) => (Box::new(create(path)?), Place::File(path.clone())),
        None => (Box::new(io::stdout()), Place::Stdout),
    };
    let now = SystemClock.now();
    let shown = match format {
        Format::Human => {
            let look = if arguments.output.is_none() {
                style(&settings)
            } else {
                Style::PLAIN
            };
            human(&run, &history, now, look, out)
        }
        format => results(&run, &history, now, format, out),
    };
    shown.map_err(|error| match error {
        Unshown::Journal(error) => CliError::Journal(error),
        Unshown::Output(error) => place.error(error),
    })
}

fn create(path: &Path) -> Result<File, CliError> {
    File::create(path).map_err(|source| CliError::Create {
        path: path.to_owned(),
        source,
    })
}

/// Why a run was not shown to its end.
#[derive(Debug)]
pub(super) enum Unshown {
    Journal(ratchet_runtime::JournalError),
    Output(io::Error),
}

impl From<io::Error> for Unshown {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// What is wrong with the record itself.
fn complaints(run: &Run, history: &History) -> String {
    let mut out = String::new();
    let path = folder(&run.journal);
    // Writing to a string cannot fail.
    if let Some(first) = history.damage().first() {
        let lines = history.damaged();
        let _ = writeln!(
            out,
            "ratchet: {lines} damaged in `{path}`, and left out: {}",
            plain(&first.to_string())
        );
    }
    // While it runs, its last line is one that is being written.
    if let (Some(torn), RunState::Interrupted { .. }) = (history.torn(), &run.state) {
        let bytes = torn.bytes;
        let _ = writeln!(
            out,
            "ratchet: the last {bytes} bytes of `{path}` are an unfinished line, and left out"
        );
    }
    out
}

/// Every result, as the run itself would have written it.
pub(super) fn results<'a>(
    run: &Run,
    history: &History,
    now: SystemTime,
    format: Format,
    out: Box<dyn Write + Send + 'a>,
) -> Result<(), Unshown> {
    let started = history.header().started;
    let mut report = report::report(format, out, Style::PLAIN, started)?;
    let mut tally = Tally::default();
    for outcome in history.outcomes() {
        let outcome = outcome.map_err(Unshown::Journal)?;
        tally.record(&outcome);
        report.outcome(&outcome)?;
    }
    report.finish(&summary(run, history, now, &tally))?;
    Ok(())
}

/// For people: what run it was, what did not succeed, and the sum of it.
pub(super) fn human<'a>(
    run: &Run,
    history: &History,
    now: SystemTime,
    style: Style,
    out: Box<dyn Write + Send + 'a>,
) -> Result<(), Unshown> {
    let mut out = io::BufWriter::new(out);
    out.write_all(head(run, history, now, style).as_bytes())?;
    let (mut tally, mut digest) = (Tally::default(), Digest::default());
    for outcome in history.outcomes() {
        let outcome = outcome.map_err(Unshown::Journal)?;
        tally.record(&outcome);
        digest.outcome(&outcome);
        if !outcome.is_success() {
            out.write_all(describe(&outcome, style).as_bytes())?;
        }
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
        writeln!(out, "still running: no job has ended yet")?;
        return Ok(out.flush()?);
    }
    out.write_all(digest.render(&summary, style, rerun).as_bytes())?;
    if goes_on {
        let (count, jobs) = (
            summary.total,
            if summary.total == 1 {
                "job has"
            } else {
                "jobs have"
            },
        );
        writeln!(out, "still running: {count} {jobs} ended so far")?;
    }
    // Of an interrupted run all that ended may have succeeded, and yet it is not done.
    if let (RunState::Interrupted { .. }, true, Some(rerun)) =
        (&run.state, summary.all_successful(), rerun)
    {
        writeln!(out, "go on with it: {rerun}")?;
    }
    Ok(out.flush()?)
}

fn head(run: &Run, history: &History, now: SystemTime, style: Style) -> String {
    let header = history.header();
    let state = style.paint(tone(&run.state), word(&run.state));
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
    let _ = write!(out, "{}", plain(&what(header)));
    if let Some(about) = About::read(&header.about) {
        let _ = write!(out, "  in {}", folder(&about.cwd));
    }
    out.push('\n');
    out
}

/// The sum as it was recorded, if it is of all jobs; else what their outcomes tell.
fn summary(run: &Run, history: &History, now: SystemTime, tally: &Tally) -> Summary {
    let jobs = history.jobs() as u64;
    if let Some((_, summary)) = history.ended().filter(|(_, summary)| summary.total == jobs) {
        return summary.clone();
    }
    let last = match &run.state {
        RunState::Running { .. } => Some(now),
        RunState::Ended { at, .. } => Some(*at),
        // Its last record was written just before it was interrupted.
        RunState::Interrupted { .. } | RunState::Unreadable(_) => {
            let journal = std::fs::metadata(&run.journal);
            journal.and_then(|journal| journal.modified()).ok()
        }
    };
    let started = history.header().started;
    let elapsed = last.and_then(|last| last.duration_since(started).ok());
    tally.summary(elapsed.unwrap_or_default())
}
