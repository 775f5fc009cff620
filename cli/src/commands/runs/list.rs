//! `ratchet runs list`: prints one line or one object per run.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::SystemTime;

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::journal::{RunState, StoredRun};
use ratchet_runtime::{RunId, RunStore, Status, Summary};
use serde::Serialize;

use super::live::connect;
use super::{command_line, folder, style};
use crate::args::runs::{ListArguments, ListFormat};
use crate::error::CliError;
use crate::escape::plain;
use crate::folders::Folders;
use crate::invocation::Invocation;
use crate::output::Destination;
use crate::readable::{ago, timestamp};
use crate::style::{Style, Tone};

/// The length to which command lines are cut on a terminal that is wide enough.
const LONGEST: usize = 60;

/// The length to which command lines are cut on the narrowest terminal.
const SHORTEST: usize = 8;

/// Lists recorded runs, the latest first.
pub(super) fn run(arguments: &ListArguments) -> Result<(), CliError> {
    let (folders, settings) = Folders::load(&arguments.state)?;
    let store = RunStore::at(&folders.state);
    let mut ids = store.ids()?;
    ids.reverse();
    let most = arguments
        .limit
        .and_then(|limit| usize::try_from(limit.get()).ok());
    ids.truncate(most.unwrap_or(usize::MAX));
    let runs: Vec<StoredRun> = ids.into_iter().map(|id| store.run(id)).collect();
    let is_terminal = io::stdout().is_terminal();
    let usual = if is_terminal {
        ListFormat::Human
    } else {
        ListFormat::Tsv
    };
    let format = arguments.format.unwrap_or(usual);
    if runs.is_empty() && format != ListFormat::Json {
        let path = folder(&folders.state);
        // If stderr is closed, the message is lost.
        let _ = writeln!(io::stderr(), "ratchet: no runs are recorded in `{path}`");
        return Ok(());
    }
    let text = match format {
        ListFormat::Human => {
            let columns = rustix::termios::tcgetwinsize(io::stdout()).map(|size| size.ws_col);
            // A terminal that does not know its size reports 0 columns. Then lines are not cut, and neither are those
            // of a file.
            let columns = columns.ok().filter(|columns| *columns > 0);
            let columns = columns.map_or(usize::MAX, usize::from);
            table(&runs, SystemClock.now(), style(&settings), columns)
        }
        ListFormat::Tsv => lines(&runs),
        ListFormat::Json => document(&runs, |id| {
            // A run that cannot be asked is listed nevertheless, as not live.
            connect(&store, id).is_ok_and(|client| client.is_some())
        })?,
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Destination::Stdout.error(error).into())
}

/// A run as a JSON object.
#[derive(Serialize)]
struct Listed<'a> {
    id: RunId,
    state: &'static str,
    /// Whether the run can be queried and steered.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    live: bool,
    started_at: Option<String>,
    command: Option<String>,
    cwd: Option<String>,
    /// How many outcomes are recorded; `None` if the journal cannot be read.
    recorded: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl<'a> From<&'a StoredRun> for Listed<'a> {
    fn from(run: &'a StoredRun) -> Self {
        let header = run.header.as_ref();
        let invocation = header.and_then(|header| Invocation::read(&header.about));
        let (mut recorded, mut ended_at, mut summary, mut error) = (None, None, None, None);
        match &run.state {
            RunState::Running { recorded: count } | RunState::Interrupted { recorded: count } => {
                recorded = Some(*count);
            }
            RunState::Ended { at, summary: sum } => {
                recorded = Some(sum.total);
                ended_at = Some(moment(*at));
                summary = Some(&**sum);
            }
            RunState::Unreadable(why) => error = Some(why.to_string()),
        }
        Self {
            id: run.id,
            state: state_word(&run.state),
            live: false,
            started_at: header.map(|header| moment(header.started)),
            command: header.map(command_line),
            cwd: invocation.map(|invocation| invocation.cwd.to_string_lossy().into_owned()),
            recorded,
            ended_at,
            summary,
            error,
        }
    }
}

/// Formats the runs for programs: a JSON list of objects.
pub(super) fn document(
    runs: &[StoredRun],
    is_live: impl Fn(RunId) -> bool,
) -> Result<String, CliError> {
    let listed = runs.iter().map(|run| {
        let goes_on = matches!(run.state, RunState::Running { .. });
        let live = goes_on && is_live(run.id);
        Listed {
            live,
            ..Listed::from(run)
        }
    });
    let listed: Vec<Listed<'_>> = listed.collect();
    let text = serde_json::to_string(&listed);
    let text = text
        .map_err(|error| CliError::internal("the list cannot be written as JSON").because(error))?;
    Ok(text + "\n")
}

/// Formats a time with milliseconds, as in `2026-03-12T10:15:00.250Z`.
fn moment(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    format!("{}.{:03}Z", timestamp(time), since.subsec_millis())
}

/// Formats the runs for programs: fields with tabs between them.
pub(super) fn lines(runs: &[StoredRun]) -> String {
    let mut out = String::new();
    for run in runs {
        let header = run.header.as_ref();
        let began = header.map_or_else(
            || "-".to_owned(),
            |header| format!("{}Z", timestamp(header.started)),
        );
        let counts = match &run.state {
            RunState::Ended { summary, .. } => {
                let counts = &summary.counts;
                let undone = counts.cancelled + counts.skipped;
                let (total, good, bad) = (summary.total, counts.succeeded, counts.failures());
                format!("{total}\t{good}\t{bad}\t{undone}")
            }
            RunState::Running { recorded } | RunState::Interrupted { recorded } => {
                format!("{recorded}\t-\t-\t-")
            }
            RunState::Unreadable(_) => "-\t-\t-\t-".to_owned(),
        };
        let what = header.map_or_else(|| "-".to_owned(), |header| field(&command_line(header)));
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{}\t{began}\t{}\t{counts}\t{what}",
            run.id,
            state_word(&run.state)
        );
    }
    out
}

/// Formats the runs for people: an aligned table with colours. Command lines are cut so that each run fits into one
/// line of `columns`.
pub(super) fn table(runs: &[StoredRun], now: SystemTime, style: Style, columns: usize) -> String {
    let mut out = String::new();
    for run in runs {
        let header = run.header.as_ref();
        let began = header.map_or_else(|| "-".to_owned(), |header| ago(now, header.started));
        let state = format!("{:<11}", state_word(&run.state));
        let state = style.paint(state_tone(&run.state), &state);
        let counts = format!("{:<32}", counts(&run.state));
        let began = format!("{began:>8}");
        let id = run.id.to_string();
        // Four gaps of two blanks, and the state, which has 11 columns.
        let before = id.len() + began.len() + 11 + counts.len() + 8;
        let room = columns.saturating_sub(before).clamp(SHORTEST, LONGEST);
        let what = match (&run.state, header) {
            (RunState::Unreadable(error), _) => plain(&error.to_string()).into_owned(),
            (_, Some(header)) => shorten(&field(&command_line(header)), room),
            (_, None) => "-".to_owned(),
        };
        let line = format!("{id}  {began}  {state}  {counts}  {what}");
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Returns the state of a run in a word.
pub(super) fn state_word(state: &RunState) -> &'static str {
    match state {
        RunState::Running { .. } => "running",
        RunState::Ended { .. } => "finished",
        RunState::Interrupted { .. } => "interrupted",
        RunState::Unreadable(_) => "unreadable",
    }
}

/// Returns the colour of a state: a run that did not succeed has to stand out.
pub(super) fn state_tone(state: &RunState) -> Tone {
    match state {
        RunState::Ended { summary, .. } if summary.all_successful() => Tone::Good,
        RunState::Ended { .. } | RunState::Unreadable(_) => Tone::Bad,
        RunState::Running { .. } => Tone::Quiet,
        RunState::Interrupted { .. } => Tone::Doubtful,
    }
}

/// Formats how many jobs of a run ended, and how.
fn counts(state: &RunState) -> String {
    match state {
        RunState::Ended { summary, .. } => in_words(summary),
        RunState::Running { recorded } => format!("{recorded} so far"),
        RunState::Interrupted { recorded } => format!("{recorded} recorded"),
        RunState::Unreadable(_) => "-".to_owned(),
    }
}

fn in_words(summary: &Summary) -> String {
    let counted = Status::ALL.map(|status| (summary.counts.of(status), status));
    let words: Vec<String> = counted
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, status)| format!("{count} {}", status.as_str().replace('_', " ")))
        .collect();
    match &words[..] {
        [] => "no jobs".to_owned(),
        words => words.join(", "),
    }
}

/// Formats a text as a field: in one line, without tabs and control characters.
fn field(text: &str) -> String {
    plain(text).into_owned()
}

/// Cuts a text to this many characters.
fn shorten(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room - 2).chain("..".chars()).collect()
}
