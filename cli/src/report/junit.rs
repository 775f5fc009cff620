//! Results as `JUnit` XML, as build servers read it.
//!
//! The first element has to say how many test cases follow, so they are spooled until all are known.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::SystemTime;

use ratchet_runtime::{Failure, Outcome, Status, Summary};

use super::{Report, timestamp};
use crate::map::Spool;

pub(super) struct Junit<W> {
    out: W,
    started: SystemTime,
    cases: Spool,
}

impl<W: Write> Junit<W> {
    pub(super) fn new(out: W, started: SystemTime) -> Self {
        Self {
            out,
            started,
            cases: Spool::default(),
        }
    }
}

impl<W: Write + Send> Report for Junit<W> {
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.cases.push(case(outcome).as_bytes());
        Ok(())
    }

    fn idle(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, summary: &Summary) -> io::Result<()> {
        let counts = &summary.counts;
        let figures = format!(
            "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\"",
            summary.total,
            counts.failed + counts.timed_out,
            counts.crashed,
            counts.cancelled + counts.skipped,
            summary.elapsed.as_secs_f64(),
        );
        write!(
            self.out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n\
             <testsuite id=\"0\" package=\"ratchet\" name=\"ratchet\" hostname=\"localhost\" timestamp=\"{}\" {figures}>\n\
             <properties/>\n",
            timestamp(self.started)
        )?;
        self.cases.write_to(&mut self.out)?;
        self.out
            .write_all(b"<system-out/>\n<system-err/>\n</testsuite>\n</testsuites>\n")?;
        self.out.flush()
    }
}

fn case(outcome: &Outcome) -> String {
    let mut text = format!(
        "<testcase name=\"{}\" classname=\"{}\" time=\"{:.3}\"",
        Attribute(outcome.id.as_str()),
        Attribute(outcome.task.as_str()),
        outcome.duration.as_secs_f64()
    );
    let Some(failure) = outcome.failure() else {
        text.push_str("/>\n");
        return text;
    };
    let element = match outcome.status() {
        Status::Crashed => "error",
        Status::Cancelled | Status::Skipped => {
            let reason = Attribute(&failure.message);
            // Writing to a string does not fail.
            let _ = writeln!(text, "><skipped message=\"{reason}\"/></testcase>");
            return text;
        }
        Status::Succeeded | Status::Failed | Status::TimedOut => "failure",
    };
    let Failure {
        class,
        code,
        message,
        stderr,
        ..
    } = failure;
    let kind = code
        .as_deref()
        .map_or_else(|| class.to_string(), |code| format!("{class}.{code}"));
    let details = Content(stderr.as_deref().unwrap_or(message));
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "><{element} type=\"{}\" message=\"{}\">{details}</{element}></testcase>",
        Attribute(&kind),
        Attribute(message)
    );
    text
}

/// A text between tags. XML has no way to write most control characters, not even escaped.
struct Content<'a>(&'a str);

/// A text in quotes, whose newlines a reader would make blanks.
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
        assert_eq!(Attribute("a\"\n").to_string(), "a&quot;&#10;");
    }
}
