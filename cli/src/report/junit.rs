//! Results as `JUnit` XML, as build servers read it.
//!
//! The first element has to say how many test cases follow, so they are spooled until all are known.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use ratchet_runtime::{Failure, Outcome, Status, Summary};

use super::Report;
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
            text.push_str("><skipped/></testcase>\n");
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

/// As `2026-03-12T10:15:00`, in UTC: the schema has no zone.
fn timestamp(time: SystemTime) -> String {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let clock = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        clock / 3600,
        clock / 60 % 60,
        clock % 60
    )
}

/// The date of a day since 1970. Years begin in March here, so that the odd day is the last of one.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + later, month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_709_251_199, "2024-02-29T23:59:59"),
            (1_798_761_599, "2026-12-31T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(timestamp(time), expected);
        }
    }

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
