//! Results as `JUnit` XML, for build servers.
//!
//! The first element has the number of test cases, so the cases are spooled until all are known.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::SystemTime;

use ratchet_runtime::{CommandResult, Failure, Outcome, OutputExcerpt, Payload, Status, Summary};

use super::Report;
use crate::escape::is_unsafe;
use crate::output::{Output, OutputError};
use crate::readable::timestamp;
use crate::spool::Spool;

/// Writes results as a `JUnit` XML report for build servers.
pub(super) struct JunitReport<'a> {
    out: Output<'a>,
    /// When the run started.
    started: SystemTime,
    /// Whether the outputs of successful jobs are written.
    outputs: bool,
    /// The test cases so far. They are copied behind the first element, which has their number.
    cases: Spool,
}

impl<'a> JunitReport<'a> {
    /// Makes a report of a run that started at this time.
    pub(super) fn new(out: Output<'a>, started: SystemTime, outputs: bool) -> Self {
        Self {
            out,
            started,
            outputs,
            cases: Spool::default(),
        }
    }
}

impl Report for JunitReport<'_> {
    fn outcome(&mut self, outcome: &Outcome) -> Result<(), OutputError> {
        self.cases.push(case(outcome, self.outputs).as_bytes());
        Ok(())
    }

    fn idle(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn finish(&mut self, summary: &Summary) -> Result<(), OutputError> {
        let counts = &summary.counts;
        let figures = format!(
            "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\"",
            summary.total,
            counts.failed + counts.timed_out,
            counts.crashed,
            counts.cancelled + counts.skipped,
            summary.elapsed.as_secs_f64(),
        );
        let head = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n\
             <testsuite id=\"0\" package=\"ratchet\" name=\"ratchet\" hostname=\"localhost\" timestamp=\"{}\" {figures}>\n\
             <properties/>\n",
            timestamp(self.started)
        );
        self.out.write(head.as_bytes())?;
        self.out.write_by(|out| self.cases.write_to(out))?;
        self.out
            .write(b"<system-out/>\n<system-err/>\n</testsuite>\n</testsuites>\n")?;
        self.out.flush()
    }
}

/// Returns the test case of a job.
fn case(outcome: &Outcome, outputs: bool) -> String {
    let name = match &outcome.item {
        // An item stays the same when lines are inserted before it; its number does not.
        Some(item) => item.as_str(),
        None => outcome.id.as_str(),
    };
    let mut text = format!(
        "<testcase name=\"{}\" classname=\"{}\" time=\"{:.3}\"",
        Attribute(name),
        Attribute(outcome.task.as_str()),
        outcome.duration.as_secs_f64()
    );
    let (ending, outputs) = match &outcome.result {
        Ok(result) if outputs => (String::new(), PrintedOutputs::of_result(result)),
        Ok(_) => (String::new(), PrintedOutputs::default()),
        Err(failure) => (
            ending(outcome.status(), failure),
            PrintedOutputs::of_failure(failure),
        ),
    };
    let inside = [
        properties(outcome, &outputs),
        ending,
        reruns(outcome),
        outputs.elements(),
    ]
    .concat();
    // Writing to a string does not fail.
    let _ = if inside.is_empty() {
        writeln!(text, "/>")
    } else {
        writeln!(text, ">{inside}</testcase>")
    };
    text
}

/// Returns the properties of a job: the host that it names, the place where it ran, and how many bytes of its output
/// were dropped, as far as it has them.
fn properties(outcome: &Outcome, outputs: &PrintedOutputs<'_>) -> String {
    let host = outcome.host.as_ref().map(|host| ("host", host.as_str()));
    let place = outcome
        .place
        .as_ref()
        .map(|place| ("place", place.as_str()));
    let mut properties = String::new();
    for (name, value) in host.into_iter().chain(place) {
        // Writing to a string does not fail.
        let _ = write!(
            properties,
            "<property name=\"{name}\" value=\"{}\"/>",
            Attribute(value)
        );
    }
    properties.push_str(&outputs.dropped());
    if properties.is_empty() {
        return properties;
    }
    format!("<properties>{properties}</properties>")
}

/// Returns an element for each failed attempt that was followed by another one. Build servers call a test flaky if it
/// succeeded after such an attempt.
fn reruns(outcome: &Outcome) -> String {
    let Some(attempts) = outcome.several.as_deref() else {
        return String::new();
    };
    let element = match outcome.status() {
        Status::Succeeded => "flakyFailure",
        Status::Failed | Status::TimedOut | Status::Crashed => "rerunFailure",
        Status::Cancelled | Status::Skipped => return String::new(),
    };
    let mut failed: Vec<_> = (attempts.listed().iter())
        .filter_map(|attempt| Some((attempt, attempt.end.class()?)))
        .collect();
    if !outcome.is_success() {
        // The last one is the failure of the test itself.
        failed.pop();
    }
    let mut elements = String::new();
    for (attempt, class) in failed {
        let message = format!(
            "attempt {} failed after {:.3} s ({class})",
            attempt.number,
            attempt.duration.as_secs_f64()
        );
        let printed = attempt.failure.as_deref().map(PrintedOutputs::of_failure);
        let printed = printed.unwrap_or_default().elements();
        // Writing to a string does not fail.
        let _ = write!(
            elements,
            "<{element} type=\"{}\" message=\"{message}\">{message}{printed}</{element}>",
            Attribute(class.as_str()),
        );
    }
    elements
}

/// Returns the element with the reason why a job did not succeed.
fn ending(status: Status, failure: &Failure) -> String {
    let Failure {
        class,
        code,
        message,
        stdout,
        stderr,
        ..
    } = failure;
    let message = Attribute(message);
    let element = match status {
        Status::Crashed => "error",
        Status::Cancelled | Status::Skipped => return format!("<skipped message=\"{message}\"/>"),
        Status::Succeeded | Status::Failed | Status::TimedOut => "failure",
    };
    let kind = code
        .as_deref()
        .map_or_else(|| class.to_string(), |code| format!("{class}.{code}"));
    // Some build servers show only this text, so it is the output of the job, if there is any.
    let printed = stderr.as_deref().or(stdout.as_deref());
    let details = Content(printed.unwrap_or(message.0));
    format!(
        "<{element} type=\"{}\" message=\"{message}\">{details}</{element}>",
        Attribute(&kind)
    )
}

/// What a job printed to each of its streams, and how many bytes of it were dropped.
#[derive(Default)]
pub(crate) struct PrintedOutputs<'a> {
    /// The text of stdout and the number of dropped bytes; `None` if nothing was printed.
    pub(crate) stdout: Option<(Cow<'a, str>, u64)>,
    /// The text of stderr and the number of dropped bytes; `None` if nothing was printed.
    pub(crate) stderr: Option<(Cow<'a, str>, u64)>,
}

impl<'a> PrintedOutputs<'a> {
    /// Returns what the job of an outcome has printed.
    pub(crate) fn of(outcome: &'a Outcome) -> Self {
        match &outcome.result {
            Ok(result) => Self::of_result(result),
            Err(failure) => Self::of_failure(failure),
        }
    }

    fn of_failure(failure: &'a Failure) -> Self {
        let kept = |output: &'a Option<OutputExcerpt>| {
            let output = output.as_ref()?;
            Some((Cow::Borrowed(output.as_str()), output.dropped()))
        };
        Self {
            stdout: kept(&failure.stdout),
            stderr: kept(&failure.stderr),
        }
    }

    /// Returns the outputs in the result of a command; empty if the result is not that of a command.
    fn of_result(result: &Payload) -> Self {
        let Ok(result) = result.read::<CommandResult<'static>>() else {
            return Self::default();
        };
        let kept = |text: Cow<'static, str>, dropped| {
            Some((text, dropped)).filter(|(text, dropped)| !text.is_empty() || *dropped > 0)
        };
        Self {
            stdout: kept(result.stdout, result.stdout_dropped),
            stderr: kept(result.stderr, result.stderr_dropped),
        }
    }

    /// Returns the elements for the numbers of dropped bytes, if any were dropped.
    fn dropped(&self) -> String {
        let mut counts = String::new();
        for (stream, output) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if let Some((_, dropped @ 1..)) = output {
                // Writing to a string does not fail.
                let _ = write!(
                    counts,
                    "<property name=\"{stream}_dropped\" value=\"{dropped}\"/>"
                );
            }
        }
        counts
    }

    fn elements(&self) -> String {
        let mut elements = String::new();
        for (element, output) in [("system-out", &self.stdout), ("system-err", &self.stderr)] {
            if let Some((text, _)) = output {
                let _ = write!(elements, "<{element}>{}</{element}>", Content(text));
            }
        }
        elements
    }
}

/// A text between tags. XML cannot represent most control characters, not even escaped, so they are replaced.
struct Content<'a>(&'a str);

/// A text in quotes. A reader would turn its newlines into blanks, so they are escaped.
struct Attribute<'a>(&'a str);

impl std::fmt::Display for Content<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        escape(self.0, false, out)
    }
}

impl std::fmt::Display for Attribute<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        escape(self.0, true, out)
    }
}

fn escape(text: &str, quoted: bool, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    for character in text.chars() {
        match character {
            '&' => out.write_str("&amp;")?,
            '<' => out.write_str("&lt;")?,
            '>' => out.write_str("&gt;")?,
            '"' if quoted => out.write_str("&quot;")?,
            '\n' | '\t' if quoted => write!(out, "&#{};", u32::from(character))?,
            '\r' => out.write_str("&#13;")?,
            '\n' | '\t' => out.write_char(character)?,
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.write_char('\u{fffd}')?,
            unsafe_ if is_unsafe(unsafe_) => write!(out, "&#{};", u32::from(unsafe_))?,
            character => out.write_char(character)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_say_is_replaced() {
        let text = "a<b>&\"c\"\x1b[1m\n\0\u{ffff}é";
        assert_eq!(
            Content(text).to_string(),
            "a&lt;b&gt;&amp;\"c\"\u{fffd}[1m\n\u{fffd}\u{fffd}é"
        );
        assert_eq!(
            Attribute("a\"\n\u{9b}\u{202e}").to_string(),
            "a&quot;&#10;&#155;&#8238;"
        );
    }
}
