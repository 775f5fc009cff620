//! Outcomes as result lines.

use std::borrow::Cow;
use std::time::Duration;

use ratchet_ipc::{HostName, JobKey, Payload, TaskName};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Class, Failure, Outcome, Status};
use crate::ids::WorkerName;
use crate::item::ItemName;
use crate::os::OutputExcerpt;

/// A result line. What is not there is not said.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
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
    error: Option<Wrong<'a>>,
    attempts: u32,
    cached: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<Cow<'a, HostName>>,
    task: Cow<'a, TaskName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    worker: Option<Cow<'a, WorkerName>>,
    queued_ms: Milliseconds,
    duration_ms: Milliseconds,
}

#[derive(Serialize, Deserialize)]
struct Wrong<'a> {
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

/// What is there, `null` included: that is a payload like any other.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Milliseconds to the microsecond.
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
        // The decimal fraction need not be one of binary.
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
            Err(failure) => (None, Some(Wrong::from(&**failure))),
        };
        Line {
            v: Self::VERSION,
            id: Cow::Borrowed(&self.id),
            item: self.item.as_ref().map(Cow::Borrowed),
            status: self.status(),
            result,
            error,
            attempts: self.attempts,
            cached: self.cached,
            host: self.host.as_ref().map(Cow::Borrowed),
            task: Cow::Borrowed(&self.task),
            worker: self.worker.as_ref().map(Cow::Borrowed),
            queued_ms: Milliseconds(self.queued),
            duration_ms: Milliseconds(self.duration),
        }
        .serialize(serializer)
    }
}

/// Appends a failure as it stands in a result line.
pub(super) fn write_failure(failure: &Failure, out: &mut Vec<u8>) {
    // Text and numbers into memory: there is nothing that could fail.
    let _ = serde_json::to_writer(out, &Wrong::from(failure));
}

impl<'a> From<&'a Failure> for Wrong<'a> {
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

impl From<Wrong<'_>> for Failure {
    fn from(wrong: Wrong<'_>) -> Self {
        let output = |text: Option<Cow<'_, str>>, dropped: Option<u64>, gap_at| {
            let dropped = dropped.unwrap_or_default();
            text.map(|text| OutputExcerpt::from_parts(text.into_owned(), dropped, gap_at))
        };
        Self {
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
        let line = Line::deserialize(deserializer)?;
        if line.v != Self::VERSION {
            return Err(D::Error::custom(format!(
                "a result line of version {}, and {} is what is understood here",
                line.v,
                Self::VERSION
            )));
        }
        let result = match (line.result, line.error) {
            (Some(result), None) => Ok(result.into_owned()),
            (None, Some(wrong)) => Err(Box::new(Failure::from(wrong))),
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
            queued: line.queued_ms.0,
            duration: line.duration_ms.0,
        };
        if outcome.status() == line.status {
            Ok(outcome)
        } else {
            Err(D::Error::custom(format!(
                "the status is `{}`, and by its error it is `{}`",
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
            id: "a".into(),
            item: None,
            task: "resize".into(),
            host: Some("web1".into()),
            result: Ok(Payload::from_json(r#"{"w":3}"#).unwrap()),
            attempts: 1,
            cached: false,
            worker: Some(WorkerName::new("resize", 2)),
            queued: Duration::from_micros(400),
            duration: Duration::from_micros(12_100),
        }
    }

    #[test]
    fn a_success_is_one_line() {
        let line = serde_json::to_string(&outcome()).unwrap();
        assert_eq!(
            line,
            r#"{"v":1,"id":"a","status":"succeeded","result":{"w":3},"attempts":1,"cached":false,"host":"web1","task":"resize","worker":"resize/2","queued_ms":0.4,"duration_ms":12.1}"#
        );
        assert_eq!(serde_json::from_str::<Outcome>(&line).unwrap(), outcome());
    }

    #[test]
    fn null_is_a_result() {
        let nothing = Outcome {
            result: Ok(Payload::null()),
            ..outcome()
        };
        let line = serde_json::to_string(&nothing).unwrap();
        assert!(line.contains(r#""result":null"#), "{line}");
        assert_eq!(serde_json::from_str::<Outcome>(&line).unwrap(), nothing);
    }

    #[test]
    fn a_failure_says_why() {
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
    fn what_contradicts_itself_is_refused() {
        let line = serde_json::to_string(&outcome()).unwrap();
        for (from, to, why) in [
            ("\"v\":1", "\"v\":2", "version 2"),
            ("succeeded", "failed", "by its error it is `succeeded`"),
            ("\"result\":{\"w\":3},", "", "either a result or an error"),
        ] {
            let refused = serde_json::from_str::<Outcome>(&line.replace(from, to)).unwrap_err();
            assert!(refused.to_string().contains(why), "{refused}");
        }
    }
}
