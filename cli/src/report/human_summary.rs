//! The summary at the end of a run for people. It begins with what failed and why.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use ratchet_ipc::JobKey;
use ratchet_runtime::{BreakerReport, BreakerState, Class, Outcome, Status, Summary};

use super::human::tone;
use super::repetitions::Repetitions;
use crate::escape::{plain, plain_lines};
use crate::readable::{duration, name_of, timestamp};
use crate::style::{Style, Tone};

/// How many reasons of failures are shown.
const REASONS: usize = 10;

/// How many reasons are counted separately. Further ones are counted together, so that memory stays bounded.
const KNOWN_REASONS: usize = 1000;

/// How many jobs are named for each reason.
const NAMED: usize = 3;

/// How many of the slowest jobs are named.
const SLOWEST: usize = 3;

/// How many suspect jobs are named.
const SUSPECTS: usize = 20;

/// How many breakers are shown.
const BREAKERS: usize = 10;

/// Collects the summary of a run, outcome by outcome, in bounded memory.
#[derive(Debug, Default)]
pub(crate) struct HumanSummary {
    /// The failures by their reasons, up to a number of reasons.
    reasons: BTreeMap<Reason, FailureGroup>,
    /// How many jobs failed for further reasons.
    others: u64,
    /// The slowest jobs. The fastest of them is at the top of the heap, and is replaced by a slower one.
    slowest: BinaryHeap<Reverse<(Duration, String)>>,
    /// The repetitions of each job, if the jobs of a file are run again and again.
    repetitions: Option<Repetitions>,
}

/// A reason for which jobs failed, by which failures are grouped.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reason {
    class: Class,
    /// The first line of the message, which jobs that failed in the same way have in common.
    said: String,
}

/// The jobs that failed for one reason.
#[derive(Debug, Default)]
struct FailureGroup {
    count: u64,
    /// The names of the first jobs.
    named: Vec<String>,
    /// The last line of output of the first job that has any.
    last_line: Option<String>,
}

impl HumanSummary {
    /// Makes the summary of jobs that are run again and again.
    pub(crate) fn of_repetitions() -> Self {
        Self {
            repetitions: Some(Repetitions::default()),
            ..Self::default()
        }
    }

    /// Keeps a job if it is among the slowest so far. All its attempts count, as in reports.
    fn add_slow(&mut self, outcome: &Outcome) {
        let several = outcome.several.as_ref();
        let ran = several.map_or(outcome.duration, |attempts| attempts.duration());
        if self.slowest.len() == SLOWEST {
            // Nearly every job of a long run returns here, before its name is made.
            let least = self.slowest.peek().map(|Reverse((least, _))| *least);
            if least.is_some_and(|least| ran < least) {
                return;
            }
        }
        self.slowest.push(Reverse((ran, name_of(outcome))));
        if self.slowest.len() > SLOWEST {
            self.slowest.pop();
        }
    }

    /// Counts an outcome.
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        if let Some(repetitions) = &mut self.repetitions {
            repetitions.add(outcome);
        }
        if outcome.attempts > 0 && !outcome.cached {
            self.add_slow(outcome);
        }
        let (Some(failure), Status::Failed | Status::TimedOut | Status::Crashed) =
            (outcome.failure(), outcome.status())
        else {
            return;
        };
        let reason = Reason {
            class: failure.class,
            said: first_line(&failure.message),
        };
        if self.reasons.len() >= KNOWN_REASONS && !self.reasons.contains_key(&reason) {
            self.others += 1;
            return;
        }
        let group = self.reasons.entry(reason).or_default();
        group.count += 1;
        if group.named.len() < NAMED {
            group.named.push(name_of(outcome));
        }
        if group.last_line.is_none() {
            // Many programs report errors on stdout and print nothing to stderr.
            let outputs = [failure.stderr.as_deref(), failure.stdout.as_deref()];
            let last = outputs
                .into_iter()
                .flatten()
                .find_map(|text| text.lines().rev().find(|line| !line.trim().is_empty()));
            group.last_line = last.map(first_line);
        }
    }

    /// Formats the summary. `rerun` is the command that runs again what did not succeed.
    pub(crate) fn render(&self, summary: &Summary, style: Style, rerun: Option<&str>) -> String {
        let mut text = String::new();
        self.render_reasons(style, &mut text);
        self.render_slowest(summary, &mut text);
        if let Some(repetitions) = &self.repetitions {
            repetitions.render(style, &mut text);
        }
        render_suspects(&summary.suspects, style, &mut text);
        render_breakers(&summary.breakers, &mut text);
        render_counts(summary, style, &mut text);
        if let Some(rerun) = rerun.filter(|_| !summary.all_successful()) {
            line(
                &mut text,
                format_args!("run again what did not succeed: {rerun}"),
            );
        }
        text
    }

    fn render_reasons(&self, style: Style, text: &mut String) {
        let mut reasons: Vec<(&Reason, &FailureGroup)> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, group)| Reverse(group.count));
        for (reason, group) in reasons.iter().take(REASONS) {
            let mut named = group.named.join(", ");
            let more = group.count - group.named.len() as u64;
            if more > 0 {
                // Writing to a string does not fail.
                let _ = write!(named, " and {more} more");
            }
            let count = format!("{:>6} x", group.count);
            line(
                text,
                format_args!(
                    "{} {}: {}  {}",
                    style.paint(Tone::Bad, &count),
                    reason.class,
                    plain(&reason.said),
                    style.paint(Tone::Quiet, &named)
                ),
            );
            for last in group.last_line.iter().flat_map(|last| plain_lines(last)) {
                line(text, format_args!("         | {last}"));
            }
        }
        let hidden = reasons
            .iter()
            .skip(REASONS)
            .map(|(_, group)| group.count)
            .sum::<u64>()
            + self.others;
        if hidden > 0 {
            line(text, format_args!("{hidden:>6} x other reasons"));
        }
    }

    fn render_slowest(&self, summary: &Summary, text: &mut String) {
        // The slowest of a handful of jobs is obvious.
        if summary.total <= SLOWEST as u64 {
            return;
        }
        let mut slowest: Vec<_> = self.slowest.iter().map(|Reverse(slow)| slow).collect();
        slowest.sort_by(|left, right| right.cmp(left));
        let named: Vec<String> = slowest
            .into_iter()
            .map(|(duration, name)| format!("{name} {}", self::duration(*duration)))
            .collect();
        if !named.is_empty() {
            line(text, format_args!("slowest: {}", named.join(", ")));
        }
    }
}

/// Appends the names of the jobs whose results were reported before they proved to be suspect.
fn render_suspects(suspects: &[JobKey], style: Style, text: &mut String) {
    if suspects.is_empty() {
        return;
    }
    let mut named: Vec<String> = suspects
        .iter()
        .take(SUSPECTS)
        .map(|id| plain(id.as_str()).into())
        .collect();
    let more = suspects.len() - named.len();
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    let count = style
        .paint(Tone::Bad, &format!("{:>6} x", suspects.len()))
        .into_owned();
    line(
        text,
        format_args!(
            "{count} suspect: a filter was found to be out of step after it gave these results, so each may belong to \
             another item: {}",
            named.join(", ")
        ),
    );
}

/// Appends when and why breakers were open.
fn render_breakers(breakers: &[BreakerReport], text: &mut String) {
    for report in breakers.iter().take(BREAKERS) {
        line(text, format_args!("{}", breaker(report)));
    }
    let more = breakers.len().saturating_sub(BREAKERS);
    if more > 0 {
        line(text, format_args!("and {more} more breakers were open"));
    }
}

/// Describes when and why a breaker was open.
fn breaker(report: &BreakerReport) -> String {
    let on = report
        .host
        .as_ref()
        .map_or_else(String::new, |host| format!(" on {host}"));
    let since = SystemTime::UNIX_EPOCH + Duration::from_millis(report.first_opened_at_ms);
    let times = if report.opened == 1 {
        "once".to_owned()
    } else {
        format!("{} times", report.opened)
    };
    let still = match report.state {
        BreakerState::Open | BreakerState::HalfOpen => ", and still was at the end",
        BreakerState::Closed | BreakerState::Ramping => "",
    };
    format!(
        "breaker of {}{}: open for {} from {}Z on, {times}{still}: {}",
        plain(&report.name),
        plain(&on),
        duration(Duration::from_millis(report.open_ms)),
        timestamp(since),
        plain(&report.reason)
    )
}

fn render_counts(summary: &Summary, style: Style, text: &mut String) {
    let mut parts = Vec::new();
    for status in Status::ALL {
        let count = summary.counts.of(status);
        if count > 0 || (status == Status::Succeeded && summary.total > 0) {
            let word = status.as_str().replace('_', " ");
            let mut part = style
                .paint(tone(status), &format!("{count} {word}"))
                .into_owned();
            if status == Status::Succeeded {
                part.push_str(&details(summary));
            }
            parts.push(part);
        }
    }
    if parts.is_empty() {
        parts.push("no jobs".to_owned());
    }
    for (count, one, many) in [
        (summary.slow, "slow", "slow"),
        (summary.retries, "retry", "retries"),
        (
            summary.worker_restarts,
            "worker restarted",
            "workers restarted",
        ),
        (
            summary.retries_refused,
            "retry not made, because the retry budget was used up",
            "retries not made, because the retry budget was used up",
        ),
    ] {
        if count > 0 {
            parts.push(format!("{count} {}", if count == 1 { one } else { many }));
        }
    }
    let mut said = format!("{} in {}", parts.join(", "), duration(summary.elapsed));
    // The time of a run that was stopped does not describe its jobs.
    if summary.counts.cancelled == 0 {
        // Writing to a string does not fail.
        let _ = write!(said, ", {:.1} jobs/s", summary.throughput);
    }
    line(text, format_args!("{said}"));
}

/// Returns the details that follow the number of jobs that succeeded.
fn details(summary: &Summary) -> String {
    let counts = [(summary.cached, "cached"), (summary.flaky, "flaky")];
    let told = counts.iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> = told
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if told.is_empty() {
        return String::new();
    }
    format!(" ({})", told.join(", "))
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}

/// Returns the first line of a text, shortened.
fn first_line(text: &str) -> String {
    const LONGEST: usize = 160;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= LONGEST {
        return line.to_owned();
    }
    line.chars().take(LONGEST).chain("..".chars()).collect()
}
