//! Results for people: one line per job, and why it failed.

use ratchet_runtime::{Failure, Outcome, OutputExcerpt, Status, Summary};

use super::Report;
use crate::escape::{plain, plain_lines};
use crate::output::{Output, OutputError};
use crate::readable::{duration, name_of};
use crate::style::{Style, Tone};

/// Writes results as text for people, one or more lines for each job.
pub(super) struct HumanReport<'a> {
    out: Output<'a>,
    style: Style,
}

impl<'a> HumanReport<'a> {
    /// Makes a report that writes to this output.
    pub(super) fn new(out: Output<'a>, style: Style) -> Self {
        Self { out, style }
    }
}

/// Returns the colour of a status.
pub(super) fn tone(status: Status) -> Tone {
    match status {
        Status::Succeeded => Tone::Good,
        Status::Failed | Status::TimedOut | Status::Crashed => Tone::Bad,
        Status::Cancelled | Status::Skipped => Tone::Doubtful,
    }
}

/// Returns the lines of an outcome. They are printed above the progress bar, too.
pub(crate) fn describe(outcome: &Outcome, style: Style) -> String {
    let status = outcome.status();
    let name = style
        .paint(tone(status), &format!("{:<9}", status.as_str()))
        .into_owned();
    let mut task = plain(outcome.task.as_str()).into_owned();
    if let Some(host) = &outcome.host {
        task = format!("{task} on {}", plain(host.as_str()));
    }
    if let Some(place) = other_place(outcome) {
        task = format!("{task} at {}", plain(place));
    }
    let mut parts = vec![format!("{name} {}", name_of(outcome)), task];
    if outcome.attempts > 0 {
        parts.push(duration(outcome.duration));
    }
    if outcome.attempts > 1 {
        parts.push(format!("{} attempts", outcome.attempts));
    }
    if outcome.is_flaky() {
        parts.push(style.paint(Tone::Doubtful, "flaky").into_owned());
    }
    if outcome.unrecorded {
        parts.push(style.paint(Tone::Bad, "not recorded").into_owned());
    }
    if outcome.cached {
        parts.push(style.paint(Tone::Quiet, "cached").into_owned());
    }
    let mut text = parts.join("  ");
    text.push('\n');
    if let Some(failure) = outcome.failure() {
        let code = failure
            .code
            .as_deref()
            .map_or_else(String::new, |code| format!(" ({})", plain(code)));
        indent(
            &format!("{}: {}{code}", failure.class, failure.message),
            "  ",
            &mut text,
        );
        printed(failure, "  ", style, &mut text);
    }
    text
}

/// Appends what was printed before a failure, behind this margin.
pub(super) fn printed(failure: &Failure, margin: &str, style: Style, text: &mut String) {
    for (stream, mark, output) in [
        ("stdout", ">", &failure.stdout),
        ("stderr", "|", &failure.stderr),
    ] {
        if let Some(output) = output {
            let margin = format!("{margin}{mark} ");
            excerpt(output, stream, &margin, style, text);
        }
    }
}

/// Returns the place of a job, unless it is this machine or the host that the job names.
fn other_place(outcome: &Outcome) -> Option<&str> {
    let place = outcome.place.as_ref()?.as_str();
    let is_host = outcome
        .host
        .as_ref()
        .is_some_and(|host| host.as_str() == place);
    (!is_host).then_some(place)
}

/// Appends the output of a stream, with a line where bytes were dropped.
fn excerpt(output: &OutputExcerpt, stream: &str, margin: &str, style: Style, text: &mut String) {
    let (head, tail) = output.parts();
    indent(head, margin, text);
    if output.dropped() > 0 {
        let dropped = format!("  ({} bytes of {stream} were dropped)", output.dropped());
        text.push_str(&style.paint(Tone::Quiet, &dropped));
        text.push('\n');
    }
    indent(tail, margin, text);
}

pub(super) fn indent(lines: &str, margin: &str, text: &mut String) {
    for line in plain_lines(lines) {
        text.push_str(margin);
        text.push_str(&line);
        text.push('\n');
    }
}

impl Report for HumanReport<'_> {
    fn outcome(&mut self, outcome: &Outcome) -> Result<(), OutputError> {
        self.out.write(describe(outcome, self.style).as_bytes())
    }

    fn idle(&mut self) -> Result<(), OutputError> {
        self.out.flush()
    }

    fn finish(&mut self, _: &Summary) -> Result<(), OutputError> {
        self.out.flush()
    }
}
