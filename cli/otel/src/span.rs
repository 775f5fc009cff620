//! Spans of a run, of its jobs and of their attempts, as plain values.

use std::time::Duration;

use ratchet_ipc::HostName;
use ratchet_runtime::worker::WorkerName;
use ratchet_runtime::{
    AttemptDetail, AttemptEnd, Class, ItemName, Outcome, PlaceName, RunTrace, SlotNumber,
    Timestamp, TraceParent,
};

use crate::attribute::{Attribute, attribute};

/// How many bytes of a message are sent with a span.
const LONGEST_MESSAGE: usize = 1024;

/// A span that has ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    /// The span, in its trace.
    pub(crate) own: TraceParent,
    /// The span that it is within.
    pub(crate) parent: Option<TraceParent>,
    /// Whether another process has begun the parent.
    pub(crate) is_parent_remote: bool,
    /// What the span is of, in words that many spans share.
    pub(crate) name: String,
    /// When it began, in nanoseconds since the Unix epoch.
    pub(crate) start: u64,
    /// When it ended.
    pub(crate) end: u64,
    /// Why it did not succeed, if it did not.
    pub(crate) error: Option<String>,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) events: Vec<SpanEvent>,
    /// How many events there were no room for.
    pub(crate) dropped_events: u32,
}

/// Something that happened at a moment of a span.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SpanEvent {
    /// What happened, in one or two words.
    pub(crate) name: &'static str,
    /// When it happened, in nanoseconds since the Unix epoch.
    pub(crate) at: u64,
    pub(crate) attributes: Vec<Attribute>,
}

/// A retry that the run told of when it was planned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlannedRetry {
    /// The number of the attempt that had failed.
    pub(crate) attempt: u32,
    /// What went wrong.
    pub(crate) message: String,
    /// How many milliseconds later the next attempt could begin at the earliest.
    pub(crate) delay_ms: u64,
}

/// Converts milliseconds since the Unix epoch to nanoseconds.
pub(crate) fn nanos_of_millis(millis: u64) -> u64 {
    millis.saturating_mul(1_000_000)
}

fn nanos_of(at: Timestamp) -> u64 {
    nanos_of_millis(at.as_millis())
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Shortens a message to what is sent.
pub(crate) fn shortened(message: &str) -> String {
    message[..message.floor_char_boundary(LONGEST_MESSAGE)].to_owned()
}

/// What the spans of a job are made of besides its outcome.
#[derive(Debug, Default)]
pub(crate) struct JobNotes {
    /// The hint under which the job ran; `None` if it was fully parallel.
    pub(crate) hint: Option<String>,
    /// The retries, in their order.
    pub(crate) retries: Vec<PlannedRetry>,
}

/// Makes the spans of a job that has ended: one of the job, and one of each attempt that is listed. `run_began` is when the run
/// began, in nanoseconds since the Unix epoch: moments are recorded to the millisecond, and no job may begin before its run.
pub(crate) fn of_job(
    trace: &RunTrace,
    run_began: u64,
    outcome: &Outcome,
    notes: &JobNotes,
) -> Vec<Span> {
    let attempts = outcome.attempts_detail();
    let age = nanos(outcome.waits.total().saturating_add(attempts.duration()));
    let last_end = attempts.listed().iter().map(ended).max();
    let end = outcome
        .ended
        .map(nanos_of)
        .max(last_end)
        .unwrap_or(run_began);
    let first_began = attempts.listed().iter().map(|one| nanos_of(one.started));
    let start = end.saturating_sub(age);
    let start = first_began.min().map_or(start, |began| began.min(start));
    let start = start.max(run_began).min(end);
    let own = trace.job(&outcome.id);
    let mut spans = vec![Span {
        own,
        parent: Some(trace.run()),
        is_parent_remote: false,
        name: outcome.task.to_string(),
        start,
        end,
        error: outcome.failure().map(|failure| shortened(&failure.message)),
        attributes: job_attributes(outcome, notes),
        events: Vec::new(),
        dropped_events: attempts.left_out().map_or(0, |left_out| {
            u32::try_from(left_out.count).unwrap_or(u32::MAX)
        }),
    }];
    let last = attempts.listed().len().saturating_sub(1);
    for (index, attempt) in attempts.listed().iter().enumerate() {
        let retry = notes
            .retries
            .iter()
            .find(|retry| retry.attempt == attempt.number);
        match attempt.end {
            AttemptEnd::Returned => spans[0].events.push(returned(attempt)),
            AttemptEnd::Failed(class) if index < last => {
                spans[0].events.push(retried(attempt, class, retry));
            }
            AttemptEnd::Failed(_) | AttemptEnd::Succeeded => {}
        }
        if attempt.end.is_charged() {
            let failure = (index == last).then(|| outcome.failure()).flatten();
            let message = failure.map(|failure| failure.message.as_str());
            let message = message.or(retry.map(|retry| retry.message.as_str()));
            let span = of_attempt(trace, outcome, attempt, message, index == last);
            spans.push(Span {
                start: span.start.max(start),
                end: span.end.max(start),
                ..span
            });
        }
    }
    spans
}

fn ended(attempt: &AttemptDetail) -> u64 {
    nanos_of(attempt.started).saturating_add(nanos(attempt.duration))
}

fn job_attributes(outcome: &Outcome, notes: &JobNotes) -> Vec<Attribute> {
    let mut attributes = vec![
        attribute("ratchet.job.id", outcome.id.as_str()),
        attribute("ratchet.task", outcome.task.to_string()),
        attribute("ratchet.kind", kind(outcome.worker.as_ref())),
        attribute("ratchet.job.status", outcome.status().as_str()),
        attribute("ratchet.job.attempts", outcome.attempts),
        attribute(
            "ratchet.hint",
            notes.hint.as_deref().unwrap_or("fully_parallel"),
        ),
    ];
    let item = outcome.item.as_ref().map(ItemName::as_str);
    attributes.extend(item.map(|item| attribute("ratchet.job.item", shortened(item))));
    let host = outcome.host.as_ref().map(HostName::as_str);
    attributes.extend(host.map(|host| attribute("ratchet.host", host)));
    if outcome.cached {
        attributes.push(attribute("ratchet.job.cached", true));
    }
    if outcome.is_flaky() {
        attributes.push(attribute("ratchet.job.flaky", true));
    }
    for (blocker, time) in outcome.waits.iter() {
        let name = format!("ratchet.wait.{}", blocker.word());
        attributes.push(attribute(name, time.as_secs_f64()));
    }
    if let Some(failure) = outcome.failure() {
        attributes.push(attribute("error.type", failure.class.as_str()));
        attributes
            .extend((failure.code.as_deref()).map(|code| attribute("ratchet.error.code", code)));
    }
    attributes
}

/// Returns the kind of worker: the name of its pool, or `command` for what runs without a worker.
fn kind(worker: Option<&WorkerName>) -> &str {
    match worker.map(WorkerName::as_str) {
        None => "command",
        Some(name) => name.rsplit_once('/').map_or(name, |(kind, _)| kind),
    }
}

fn of_attempt(
    trace: &RunTrace,
    outcome: &Outcome,
    attempt: &AttemptDetail,
    message: Option<&str>,
    is_last: bool,
) -> Span {
    let worker = attempt.worker.as_ref();
    let place = attempt.place.as_ref().map_or("local", PlaceName::as_str);
    let mut attributes = vec![
        attribute("ratchet.job.id", outcome.id.as_str()),
        attribute("ratchet.attempt", attempt.number),
        attribute("ratchet.attempt.end", attempt.end.word()),
        attribute("ratchet.kind", kind(worker)),
        attribute("ratchet.place", place),
    ];
    let slot = attempt.slot.map(SlotNumber::get);
    attributes.extend(slot.map(|slot| attribute("ratchet.slot", slot)));
    attributes.extend(worker.map(|worker| attribute("ratchet.worker", worker.as_str())));
    if let Some(class) = attempt.end.class() {
        attributes.push(attribute("error.type", class.as_str()));
    }
    if is_last {
        attributes.extend(exit(outcome));
    }
    if let Some(usage) = attempt.usage {
        let cpu = usage.cpu.map(|cpu| cpu.as_secs_f64());
        attributes.extend(cpu.map(|cpu| attribute("ratchet.cpu_time", cpu)));
        attributes.extend(usage.max_rss.map(|rss| attribute("ratchet.max_rss", rss)));
        let printed = usage.output_bytes;
        attributes.extend(printed.map(|bytes| attribute("ratchet.output_bytes", bytes)));
    }
    let error = attempt.end.class().map(|class| match message {
        Some(message) => shortened(message),
        None => class.as_str().to_owned(),
    });
    Span {
        own: trace.attempt(&outcome.id, attempt.number),
        parent: Some(trace.job(&outcome.id)),
        is_parent_remote: false,
        name: format!("{} attempt", outcome.task),
        start: nanos_of(attempt.started),
        end: ended(attempt),
        error,
        attributes,
        events: Vec::new(),
        dropped_events: 0,
    }
}

/// Returns the exit code, or the signal, with which the command of a job ended, if it is known.
fn exit(outcome: &Outcome) -> Option<Attribute> {
    if let Some(failure) = outcome.failure() {
        let code = failure.code.as_deref()?;
        let number = |prefix: &str| code.strip_prefix(prefix)?.parse::<i32>().ok();
        return match (number("exit_"), number("signal_")) {
            (Some(code), _) => Some(attribute("process.exit.code", code)),
            (None, Some(signal)) => Some(attribute("ratchet.signal", signal)),
            (None, None) => None,
        };
    }
    // A command that succeeded has ended with 0, and only what ran without a worker is known to be one if it says so itself.
    let result = outcome.result.as_ref().ok()?;
    let says_so = result.as_str().starts_with("{\"exit_code\":0,");
    (outcome.worker.is_none() && says_so).then(|| attribute("process.exit.code", 0))
}

fn returned(attempt: &AttemptDetail) -> SpanEvent {
    let worker = attempt.worker.as_ref();
    SpanEvent {
        name: "returned",
        at: ended(attempt),
        attributes: worker
            .map(|worker| attribute("ratchet.worker", worker.as_str()))
            .into_iter()
            .collect(),
    }
}

fn retried(attempt: &AttemptDetail, class: Class, retry: Option<&PlannedRetry>) -> SpanEvent {
    let mut attributes = vec![
        attribute("ratchet.attempt", attempt.number),
        attribute("error.type", class.as_str()),
    ];
    if let Some(retry) = retry {
        attributes.push(attribute(
            "ratchet.error.message",
            shortened(&retry.message),
        ));
        let delay = Duration::from_millis(retry.delay_ms).as_secs_f64();
        attributes.push(attribute("ratchet.retry.delay", delay));
    }
    SpanEvent {
        name: "retry",
        at: ended(attempt),
        attributes,
    }
}

#[cfg(test)]
mod tests {
    use ratchet_ipc::{JobKey, Payload};
    use ratchet_runtime::{Attempts, Blocker, Failure};

    use super::*;
    use crate::attribute::Value;

    const SECOND: u64 = 1_000_000_000;

    fn value<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Value> {
        let found = attributes.iter().find(|one| one.name == name);
        found.map(|one| &one.value)
    }

    fn attempt(number: u32, began_ms: u64, end: AttemptEnd) -> AttemptDetail {
        AttemptDetail {
            number,
            slot: SlotNumber::new(2),
            worker: None,
            place: None,
            started: Timestamp::from_millis(began_ms),
            duration: Duration::from_secs(1),
            usage: None,
            end,
            failure: None,
        }
    }

    #[test]
    fn a_job_with_retries_has_a_span_of_each_attempt_and_an_event_of_each_retry() {
        let trace = RunTrace::begin(None);
        let mut several = Attempts::default();
        several.push(attempt(1, 12_000, AttemptEnd::Returned));
        several.push(attempt(1, 13_000, AttemptEnd::Failed(Class::Exit)));
        several.push(attempt(2, 15_000, AttemptEnd::Failed(Class::Timeout)));
        several.push(attempt(3, 20_000, AttemptEnd::Succeeded));
        let result = Payload::from_text("x");
        let outcome = Outcome {
            attempts: 3,
            host: Some("web1".into()),
            ended: Some(Timestamp::from_millis(21_000)),
            waits: [
                (Blocker::Slot, Duration::from_millis(2_500)),
                (Blocker::Limit("db".into()), Duration::from_millis(4_500)),
            ]
            .into_iter()
            .collect(),
            several: Some(Box::new(several)),
            ..Outcome::new("a", "t", Ok(result))
        };
        let notes = JobNotes {
            hint: Some("host_exclusive".to_owned()),
            retries: vec![PlannedRetry {
                attempt: 1,
                message: "no such host".to_owned(),
                delay_ms: 500,
            }],
        };
        let spans = of_job(&trace, 0, &outcome, &notes);
        let [job, one, two, three] = &spans[..] else {
            panic!("{spans:?}");
        };
        let id = JobKey::from("a");
        assert_eq!((job.own, job.parent), (trace.job(&id), Some(trace.run())));
        // It ran for four seconds and waited for seven.
        assert_eq!((job.start, job.end), (10 * SECOND, 21 * SECOND));
        assert_eq!((job.name.as_str(), &job.error), ("t", &None));
        let told = &job.attributes;
        assert_eq!(value(told, "ratchet.wait.slot"), Some(&2.5.into()));
        assert_eq!(value(told, "ratchet.wait.limit:db"), Some(&4.5.into()));
        assert_eq!(value(told, "ratchet.hint"), Some(&"host_exclusive".into()));
        assert_eq!(value(told, "ratchet.host"), Some(&"web1".into()));
        assert_eq!(value(told, "ratchet.job.flaky"), Some(&true.into()));
        let events: Vec<_> = job.events.iter().map(|one| (one.name, one.at)).collect();
        let expected = [
            ("returned", 13 * SECOND),
            ("retry", 14 * SECOND),
            ("retry", 16 * SECOND),
        ];
        assert_eq!(events, expected);
        let first = &job.events[1].attributes;
        assert_eq!(value(first, "ratchet.retry.delay"), Some(&0.5.into()));
        assert_eq!(value(first, "error.type"), Some(&"exit".into()));
        for (number, span) in [(1, one), (2, two), (3, three)] {
            assert_eq!(span.own, trace.attempt(&id, number));
            assert_eq!(span.parent, Some(trace.job(&id)));
            assert_eq!(span.end - span.start, SECOND);
            assert_eq!(value(&span.attributes, "ratchet.slot"), Some(&2_u32.into()));
        }
        let errors = [one, two, three].map(|span| span.error.as_deref());
        assert_eq!(errors, [Some("no such host"), Some("timeout"), None]);
    }

    #[test]
    fn a_failed_command_tells_its_exit_code_or_its_signal() {
        let trace = RunTrace::begin(None);
        for (code, name, number) in [
            ("exit_3", "process.exit.code", 3),
            ("signal_9", "ratchet.signal", 9),
        ] {
            let failure = Failure::new(Class::Exit, "it failed").code(code);
            let outcome = Outcome {
                attempts: 1,
                started: Some(Timestamp::from_millis(1_000)),
                ended: Some(Timestamp::from_millis(2_000)),
                duration: Duration::from_millis(999),
                ..Outcome::new("a", "sh", Err(failure))
            };
            let spans = of_job(&trace, 0, &outcome, &JobNotes::default());
            assert_eq!(spans.len(), 2);
            for span in &spans {
                assert_eq!(span.error.as_deref(), Some("it failed"));
                assert_eq!(value(&span.attributes, "error.type"), Some(&"exit".into()));
            }
            let told = value(&spans[1].attributes, name);
            assert_eq!(told, Some(&i32::into(number)));
        }
    }

    #[test]
    fn a_job_that_never_ran_has_a_span_without_attempts() {
        let trace = RunTrace::begin(None);
        let failure = Failure::new(Class::Need, "a job that it needs has failed");
        let outcome = Outcome {
            ended: Some(Timestamp::from_millis(2_000)),
            waits: [(Blocker::Needs, Duration::from_secs(9))]
                .into_iter()
                .collect(),
            ..Outcome::new("a", "sh", Err(failure))
        };
        let spans = of_job(&trace, SECOND, &outcome, &JobNotes::default());
        let [job] = &spans[..] else {
            panic!("{spans:?}");
        };
        // No job begins before its run.
        assert_eq!((job.start, job.end), (SECOND, 2 * SECOND));
        let status = value(&job.attributes, "ratchet.job.status");
        assert_eq!(status, Some(&"skipped".into()));
    }

    #[test]
    fn the_kind_is_that_of_the_pool_or_a_command() {
        assert_eq!(kind(None), "command");
        assert_eq!(
            kind(Some(&WorkerName::new("resize@web1", 3))),
            "resize@web1"
        );
    }
}
