//! Outcomes as result lines, by serde: the one definition of the fields of a line. `line.rs` writes the same bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use ratchet_ipc::{HostName, JobKey, Payload, TaskName};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    AttemptDetail, AttemptEnd, AttemptUsage, Attempts, Class, Failure, LeftOut, Outcome, Status,
};
use crate::ids::{PlaceName, SlotNumber, WorkerName};
use crate::item::ItemName;
use crate::os::OutputExcerpt;
use crate::scheduling::{Blocker, Waits};
use crate::timestamp::Timestamp;

/// A result line. A field that is absent is unknown, or is 0.
#[derive(Serialize, Deserialize)]
struct ResultLine<'a> {
    v: u32,
    id: Cow<'a, JobKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    item: Option<Cow<'a, ItemName>>,
    status: Status,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    result: Option<Cow<'a, Payload>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<FailureLine<'a>>,
    attempts: u32,
    cached: bool,
    /// Whether it succeeded only after an attempt had failed. It follows from the rest, and is written for readers only.
    #[serde(skip_deserializing, skip_serializing_if = "is_false")]
    flaky: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    unrecorded: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<Cow<'a, HostName>>,
    task: Cow<'a, TaskName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    worker: Option<Cow<'a, WorkerName>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<Cow<'a, PlaceName>>,
    queued_ms: Milliseconds,
    duration_ms: Milliseconds,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slot: Option<SlotNumber>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waited: Option<WaitsLine<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpu_ms: Option<Milliseconds>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_rss: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempts_detail: Option<Vec<AttemptLine<'a>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempts_left_out: Option<LeftOutLine>,
}

/// The time that a job waited, by the words of the reasons.
struct WaitsLine<'a>(Cow<'a, Waits>);

/// An attempt, as it is written in a result line.
#[derive(Serialize, Deserialize)]
struct AttemptLine<'a> {
    number: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slot: Option<SlotNumber>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    worker: Option<Cow<'a, WorkerName>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<Cow<'a, PlaceName>>,
    started_at: Timestamp,
    /// When the attempt ended. It follows from the start and the duration, and is written for readers only.
    #[serde(skip_deserializing)]
    ended_at: Option<Timestamp>,
    duration_ms: Milliseconds,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpu_ms: Option<Milliseconds>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_rss: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output_bytes: Option<u64>,
    status: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<Class>,
    /// It is absent if it is true.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    charged: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<FailureLine<'a>>,
}

/// The attempts of a job that are not listed, as they are written in a result line.
#[derive(Serialize, Deserialize)]
struct LeftOutLine {
    after: usize,
    count: u64,
    duration_ms: Milliseconds,
}

/// Makes the usage of an attempt, if the line has any of its fields.
fn usage(
    cpu: Option<Milliseconds>,
    max_rss: Option<u64>,
    output_bytes: Option<u64>,
) -> Option<AttemptUsage> {
    let usage = AttemptUsage {
        cpu: cpu.map(|cpu| cpu.0),
        max_rss,
        output_bytes,
    };
    (usage != AttemptUsage::default()).then_some(usage)
}

fn yes() -> bool {
    true
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn is_true(value: &bool) -> bool {
    *value
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Serialize for WaitsLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let times =
            nonzero_waits(&self.0).map(|(blocker, time)| (blocker.word(), Milliseconds(time)));
        serializer.collect_map(times)
    }
}

impl<'de> Deserialize<'de> for WaitsLine<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let times = BTreeMap::<String, Milliseconds>::deserialize(deserializer)?;
        // Words of later versions are skipped.
        let known = times
            .into_iter()
            .filter_map(|(word, time)| Some((Blocker::from_word(&word)?, time.0)));
        Ok(Self(Cow::Owned(known.collect())))
    }
}

/// Iterates over the waits that a result line lists. Waits below a microsecond are left out, because they would be
/// written as 0.
pub(super) fn nonzero_waits(waits: &Waits) -> impl Iterator<Item = (&Blocker, Duration)> {
    waits.iter().filter(|(_, time)| time.as_micros() > 0)
}

impl<'a> From<&'a AttemptDetail> for AttemptLine<'a> {
    fn from(attempt: &'a AttemptDetail) -> Self {
        Self {
            number: attempt.number,
            slot: attempt.slot,
            worker: attempt.worker.as_ref().map(Cow::Borrowed),
            place: attempt.place.as_ref().map(Cow::Borrowed),
            started_at: attempt.started,
            ended_at: Some(attempt.started.after(attempt.duration)),
            duration_ms: Milliseconds(attempt.duration),
            cpu_ms: attempt.usage.and_then(|usage| usage.cpu).map(Milliseconds),
            max_rss: attempt.usage.and_then(|usage| usage.max_rss),
            output_bytes: attempt.usage.and_then(|usage| usage.output_bytes),
            status: Cow::Borrowed(attempt.end.word()),
            class: attempt.end.class(),
            charged: attempt.end.is_charged(),
            error: attempt.failure.as_deref().map(FailureLine::from),
        }
    }
}

impl From<AttemptLine<'_>> for AttemptDetail {
    fn from(line: AttemptLine<'_>) -> Self {
        Self {
            number: line.number,
            slot: line.slot,
            worker: line.worker.map(Cow::into_owned),
            place: line.place.map(Cow::into_owned),
            started: line.started_at,
            duration: line.duration_ms.0,
            usage: usage(line.cpu_ms, line.max_rss, line.output_bytes),
            end: match (line.charged, line.class) {
                (false, _) => AttemptEnd::Returned,
                (true, Some(class)) => AttemptEnd::Failed(class),
                (true, None) => AttemptEnd::Succeeded,
            },
            failure: line.error.map(|error| Box::new(error.into_failure())),
        }
    }
}

impl From<LeftOut> for LeftOutLine {
    fn from(left_out: LeftOut) -> Self {
        Self {
            after: left_out.after,
            count: left_out.count,
            duration_ms: Milliseconds(left_out.duration),
        }
    }
}

impl From<LeftOutLine> for LeftOut {
    fn from(line: LeftOutLine) -> Self {
        Self {
            after: line.after,
            count: line.count,
            duration: line.duration_ms.0,
        }
    }
}

/// Appends the attempts of a job to a result line.
pub(super) fn write_attempts(attempts: &Attempts, out: &mut Vec<u8>) {
    let lines: Vec<AttemptLine<'_>> = attempts.listed().iter().map(AttemptLine::from).collect();
    write_json(&lines, out);
}

/// Appends to a result line the entry about attempts that are not listed.
pub(super) fn write_left_out(left_out: LeftOut, out: &mut Vec<u8>) {
    write_json(&LeftOutLine::from(left_out), out);
}

#[expect(
    clippy::expect_used,
    reason = "writing to memory cannot fail, and each key of a line is text"
)]
fn write_json(value: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("texts and numbers are written into memory");
}

/// A failure, as it is written in a result line.
#[derive(Serialize, Deserialize)]
struct FailureLine<'a> {
    class: Class,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<Cow<'a, str>>,
    message: Cow<'a, str>,
    retryable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<Milliseconds>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    data: Option<Cow<'a, Payload>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stdout: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stdout_dropped: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stdout_gap_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stderr: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stderr_dropped: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stderr_gap_at: Option<u64>,
}

/// Reads a field that is present, even if it is `null`, since `null` is a payload like any other.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// A duration in milliseconds, with up to three decimal places.
#[derive(Clone, Copy)]
pub(crate) struct Milliseconds(pub(crate) Duration);

impl Serialize for Milliseconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let micros = self.0.as_micros();
        if micros.is_multiple_of(1000) {
            return serializer.serialize_u64(u64::try_from(micros / 1000).unwrap_or(u64::MAX));
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "exact for three hundred years of microseconds"
        )]
        serializer.serialize_f64(micros as f64 / 1e3)
    }
}

impl<'de> Deserialize<'de> for Milliseconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)? / 1e3;
        let duration = Duration::try_from_secs_f64(seconds).map_err(D::Error::custom)?;
        // The decimal fraction need not have an exact binary form.
        let nanos = duration.subsec_nanos();
        let micros = (nanos + 500) / 1000;
        Ok(Self(
            Duration::from_secs(duration.as_secs()) + Duration::from_micros(micros.into()),
        ))
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (result, error) = match &self.result {
            Ok(result) => (Some(Cow::Borrowed(result)), None),
            Err(failure) => (None, Some(FailureLine::from(&**failure))),
        };
        let several = self.several.as_deref();
        let used = self.usage.as_deref();
        ResultLine {
            v: Self::VERSION,
            id: Cow::Borrowed(&self.id),
            item: self.item.as_ref().map(Cow::Borrowed),
            status: self.status(),
            result,
            error,
            attempts: self.attempts,
            cached: self.cached,
            flaky: self.is_flaky(),
            unrecorded: self.unrecorded,
            host: self.host.as_ref().map(Cow::Borrowed),
            task: Cow::Borrowed(&self.task),
            worker: self.worker.as_ref().map(Cow::Borrowed),
            place: self.place.as_ref().map(Cow::Borrowed),
            queued_ms: Milliseconds(self.queued),
            duration_ms: Milliseconds(self.duration),
            slot: self.slot,
            started_at: self.started,
            ended_at: self.ended,
            waited: nonzero_waits(&self.waits)
                .next()
                .map(|_| WaitsLine(Cow::Borrowed(&self.waits))),
            cpu_ms: used.and_then(|used| used.cpu).map(Milliseconds),
            max_rss: used.and_then(|used| used.max_rss),
            output_bytes: used.and_then(|used| used.output_bytes),
            attempts_detail: several
                .map(|several| several.listed().iter().map(AttemptLine::from).collect()),
            attempts_left_out: several.and_then(Attempts::left_out).map(LeftOutLine::from),
        }
        .serialize(serializer)
    }
}

/// Appends a failure to a result line.
pub(super) fn write_failure(failure: &Failure, out: &mut Vec<u8>) {
    write_json(&FailureLine::from(failure), out);
}

impl<'a> From<&'a Failure> for FailureLine<'a> {
    fn from(failure: &'a Failure) -> Self {
        let text = |output: &'a Option<OutputExcerpt>| output.as_deref().map(Cow::Borrowed);
        let dropped = |output: &Option<OutputExcerpt>| {
            let dropped = output.as_ref().map(OutputExcerpt::dropped);
            dropped.filter(|dropped| *dropped > 0)
        };
        let gap_at = |output: &Option<OutputExcerpt>| {
            let place = output.as_ref().and_then(OutputExcerpt::gap_at);
            place.map(|place| place as u64)
        };
        Self {
            class: failure.class,
            code: failure.code.as_deref().map(Cow::Borrowed),
            message: Cow::Borrowed(&failure.message),
            retryable: failure.retryable,
            retry_after_ms: failure.retry_after.map(Milliseconds),
            data: failure.data.as_ref().map(Cow::Borrowed),
            stdout: text(&failure.stdout),
            stdout_dropped: dropped(&failure.stdout),
            stdout_gap_at: gap_at(&failure.stdout),
            stderr: text(&failure.stderr),
            stderr_dropped: dropped(&failure.stderr),
            stderr_gap_at: gap_at(&failure.stderr),
        }
    }
}

impl FailureLine<'_> {
    /// Makes the failure that the line describes.
    fn into_failure(self) -> Failure {
        let wrong = self;
        let output = |text: Option<Cow<'_, str>>, dropped: Option<u64>, gap_at| {
            let dropped = dropped.unwrap_or_default();
            text.map(|text| OutputExcerpt::from_parts(text.into_owned(), dropped, gap_at))
        };
        Failure {
            class: wrong.class,
            code: wrong.code.map(|code| Cow::Owned(code.into_owned())),
            message: wrong.message.into_owned(),
            retryable: wrong.retryable,
            retry_after: wrong.retry_after_ms.map(|delay| delay.0),
            data: wrong.data.map(Cow::into_owned),
            stdout: output(wrong.stdout, wrong.stdout_dropped, wrong.stdout_gap_at),
            stderr: output(wrong.stderr, wrong.stderr_dropped, wrong.stderr_gap_at),
        }
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let line = ResultLine::deserialize(deserializer)?;
        if line.v != Self::VERSION {
            return Err(D::Error::custom(format!(
                "a result line has version {}, and this program understands version {}",
                line.v,
                Self::VERSION
            )));
        }
        let result = match (line.result, line.error) {
            (Some(result), None) => Ok(result.into_owned()),
            (None, Some(wrong)) => Err(Box::new(wrong.into_failure())),
            (Some(_), Some(_)) | (None, None) => {
                return Err(D::Error::custom("either a result or an error"));
            }
        };
        let outcome = Self {
            id: line.id.into_owned(),
            item: line.item.map(Cow::into_owned),
            task: line.task.into_owned(),
            host: line.host.map(Cow::into_owned),
            result,
            attempts: line.attempts,
            cached: line.cached,
            worker: line.worker.map(Cow::into_owned),
            place: line.place.map(Cow::into_owned),
            queued: line.queued_ms.0,
            duration: line.duration_ms.0,
            slot: line.slot,
            started: line.started_at,
            ended: line.ended_at,
            waits: line
                .waited
                .map_or_else(Waits::default, |waits| waits.0.into_owned()),
            usage: usage(line.cpu_ms, line.max_rss, line.output_bytes).map(Box::new),
            several: line.attempts_detail.map(|lines| {
                let listed = lines.into_iter().map(AttemptDetail::from).collect();
                let left_out = line.attempts_left_out.map(LeftOut::from);
                Box::new(Attempts::from_parts(listed, left_out))
            }),
            unrecorded: line.unrecorded,
        };
        if outcome.status() == line.status {
            Ok(outcome)
        } else {
            Err(D::Error::custom(format!(
                "the status is `{}`, but its error has the status `{}`",
                line.status,
                outcome.status()
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            host: Some("web1".into()),
            attempts: 1,
            worker: Some(WorkerName::new("resize", 2)),
            queued: Duration::from_micros(400),
            duration: Duration::from_micros(12_100),
            ..Outcome::new("a", "resize", Ok(Payload::from_json(r#"{"w":3}"#).unwrap()))
        }
    }

    #[test]
    fn a_result_line_has_the_waits_of_a_job_and_each_of_several_attempts() {
        let mut attempts = Attempts::default();
        let first = AttemptDetail {
            number: 1,
            slot: SlotNumber::new(2),
            worker: Some(WorkerName::new("resize", 1)),
            place: None,
            started: Timestamp::from_millis(1_790_000_000_123),
            duration: Duration::from_micros(1_500),
            usage: None,
            end: AttemptEnd::Failed(Class::Exit),
            failure: None,
        };
        let returned = AttemptDetail {
            number: 2,
            worker: None,
            place: None,
            end: AttemptEnd::Returned,
            duration: Duration::ZERO,
            ..first.clone()
        };
        let last = AttemptDetail {
            number: 2,
            slot: None,
            worker: None,
            place: None,
            end: AttemptEnd::Succeeded,
            ..first.clone()
        };
        for attempt in [first, returned, last] {
            attempts.push(attempt);
        }
        let outcome = Outcome {
            slot: SlotNumber::new(1),
            started: Some(Timestamp::from_millis(1_790_000_000_123)),
            ended: Some(Timestamp::from_millis(1_790_000_001_000)),
            waits: [
                (Blocker::Limit("d\"b".into()), Duration::from_micros(100)),
                (Blocker::Slot, Duration::from_millis(2)),
                (Blocker::Worker, Duration::from_nanos(3)),
            ]
            .into_iter()
            .collect(),
            several: Some(Box::new(attempts)),
            ..outcome()
        };
        let line = serde_json::to_string(&outcome).unwrap();
        let (_, added) = line.split_once(r#""duration_ms":12.1,"#).unwrap();
        assert_eq!(
            added,
            concat!(
                r#""slot":1,"started_at":"2026-09-21T14:13:20.123Z","ended_at":"2026-09-21T14:13:21.000Z","#,
                r#""waited":{"limit:d\"b":0.1,"slot":2},"attempts_detail":["#,
                r#"{"number":1,"slot":2,"worker":"resize/1","started_at":"2026-09-21T14:13:20.123Z","#,
                r#""ended_at":"2026-09-21T14:13:20.124Z","duration_ms":1.5,"status":"failed","class":"exit"},"#,
                r#"{"number":2,"slot":2,"started_at":"2026-09-21T14:13:20.123Z","#,
                r#""ended_at":"2026-09-21T14:13:20.123Z","duration_ms":0,"status":"returned","charged":false},"#,
                r#"{"number":2,"started_at":"2026-09-21T14:13:20.123Z","#,
                r#""ended_at":"2026-09-21T14:13:20.124Z","duration_ms":1.5,"status":"succeeded"}]}"#,
            )
        );
        let read: Outcome = serde_json::from_str(&line).unwrap();
        assert_eq!(read.waits.of(&Blocker::Slot), Duration::from_millis(2));
        // A time that is written to the microsecond is read to the microsecond.
        let outcome = Outcome {
            waits: read.waits.clone(),
            ..outcome
        };
        assert_eq!(read, outcome);

        let later = line.replace(r#""slot":2}"#, r#""slot":2,"luck":7}"#);
        assert_eq!(serde_json::from_str::<Outcome>(&later).unwrap(), outcome);
    }

    #[test]
    fn a_success_is_read_back_from_its_result_line() {
        let line = serde_json::to_string(&outcome()).unwrap();
        assert_eq!(
            line,
            r#"{"v":1,"id":"a","status":"succeeded","result":{"w":3},"attempts":1,"cached":false,"host":"web1","task":"resize","worker":"resize/2","queued_ms":0.4,"duration_ms":12.1}"#
        );
        assert_eq!(serde_json::from_str::<Outcome>(&line).unwrap(), outcome());
    }

    #[test]
    fn a_null_result_is_written_and_read_back() {
        let nothing = Outcome {
            result: Ok(Payload::null()),
            ..outcome()
        };
        let line = serde_json::to_string(&nothing).unwrap();
        assert!(line.contains(r#""result":null"#), "{line}");
        assert_eq!(serde_json::from_str::<Outcome>(&line).unwrap(), nothing);
    }

    #[test]
    fn a_failure_is_read_back_from_its_result_line() {
        let failure = Failure::new(Class::Task, "no such file")
            .code("not_found")
            .retryable(false)
            .stderr("oops\n");
        let failed = Outcome {
            result: Err(Box::new(failure)),
            worker: None,
            host: None,
            duration: Duration::from_secs(2),
            ..outcome()
        };
        let line = serde_json::to_string(&failed).unwrap();
        assert_eq!(
            line,
            r#"{"v":1,"id":"a","status":"failed","error":{"class":"task","code":"not_found","message":"no such file","retryable":false,"stderr":"oops\n"},"attempts":1,"cached":false,"task":"resize","queued_ms":0.4,"duration_ms":2000}"#
        );
        assert_eq!(serde_json::from_str::<Outcome>(&line).unwrap(), failed);
    }

    #[test]
    fn a_result_line_that_contradicts_itself_is_refused() {
        let line = serde_json::to_string(&outcome()).unwrap();
        for (from, to, why) in [
            ("\"v\":1", "\"v\":2", "version 2"),
            (
                "succeeded",
                "failed",
                "but its error has the status `succeeded`",
            ),
            ("\"result\":{\"w\":3},", "", "either a result or an error"),
        ] {
            let refused = serde_json::from_str::<Outcome>(&line.replace(from, to)).unwrap_err();
            assert!(refused.to_string().contains(why), "{refused}");
        }
    }
}
