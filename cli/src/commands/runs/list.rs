//! All runs, a line each.

use std::fmt::Write as _;
use std::time::SystemTime;

use ratchet_runtime::journal::{Run, RunState};
use ratchet_runtime::{Status, Summary};

use super::what;
use crate::report::{Style, Tone, ago, plain, timestamp};

/// Longer command lines are cut on a terminal, and shorter ones on one that is not wide enough.
const LONGEST: usize = 60;

/// So much of a command line is there on the narrowest terminal.
const SHORTEST: usize = 8;

/// For programs: fields with tabs between them.
pub(super) fn lines(runs: &[Run]) -> String {
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
        let what = header.map_or_else(|| "-".to_owned(), |header| field(&what(header)));
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{}\t{began}\t{}\t{counts}\t{what}",
            run.id,
            word(&run.state)
        );
    }
    out
}

/// For people: aligned, with colours where they are wanted, and a line a run where so many columns have room for it.
pub(super) fn table(runs: &[Run], now: SystemTime, style: Style, columns: usize) -> String {
    let mut out = String::new();
    for run in runs {
        let header = run.header.as_ref();
        let began = header.map_or_else(|| "-".to_owned(), |header| ago(now, header.started));
        let state = format!("{:<11}", word(&run.state));
        let state = style.paint(tone(&run.state), &state);
        let counts = format!("{:<32}", counts(&run.state));
        let began = format!("{began:>8}");
        let id = run.id.to_string();
        // Four times two blanks, and the state, which has 11 columns.
        let before = id.len() + began.len() + 11 + counts.len() + 8;
        let room = columns.saturating_sub(before).clamp(SHORTEST, LONGEST);
        let what = match (&run.state, header) {
            (RunState::Unreadable(error), _) => plain(&error.to_string()).into_owned(),
            (_, Some(header)) => cut(&field(&what(header)), room),
            (_, None) => "-".to_owned(),
        };
        let line = format!("{id}  {began}  {state}  {counts}  {what}");
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A run's state in a word.
pub(super) fn word(state: &RunState) -> &'static str {
    match state {
        RunState::Running { .. } => "running",
        RunState::Ended { .. } => "finished",
        RunState::Interrupted { .. } => "interrupted",
        RunState::Unreadable(_) => "unreadable",
    }
}

/// How a state looks: what did not succeed is to be seen.
pub(super) fn tone(state: &RunState) -> Tone {
    match state {
        RunState::Ended { summary, .. } if summary.all_successful() => Tone::Good,
        RunState::Ended { .. } | RunState::Unreadable(_) => Tone::Bad,
        RunState::Running { .. } => Tone::Quiet,
        RunState::Interrupted { .. } => Tone::Doubtful,
    }
}

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

/// A text as a field: in one line, without a tab, and without a say over the terminal.
fn field(text: &str) -> String {
    plain(text).replace(['\n', '\t'], " ")
}

fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room - 2).chain("..".chars()).collect()
}
