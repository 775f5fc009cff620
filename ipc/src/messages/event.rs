//! What either side says beside requests and responses.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Hello, MessageId, Payload};

/// What either side says beside requests and responses; `event` on the wire.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The worker introduces itself.
    Hello(Hello),
    /// The worker can take work now.
    Ready,
    /// The worker has turned to a request.
    Started(Started),
    /// The worker has got so far.
    Progress(Progress),
    /// The worker has something to say.
    Log(Log),
    /// The worker's answer to a ping.
    Pong(Nonce),
    /// The host no longer wants an answer to a request.
    Cancel(Cancel),
    /// The host asks whether the worker is there.
    Ping(Nonce),
    /// The host will send nothing more: finish and end.
    Drain,
    /// An event of a later version or of one's own, whole.
    Unknown(UnknownEvent),
}

/// The worker has turned to a request; what lies before it in the pipe has not begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The request.
    pub id: MessageId,
}

/// How far a request has got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The request.
    pub id: MessageId,
    /// How much is done, in whatever unit the worker counts.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "plain_number"
    )]
    pub done: Option<f64>,
    /// How much there is, where that is known.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "plain_number"
    )]
    pub total: Option<f64>,
    /// What is being done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Writes a count as `3`, where serde would write `3.0`.
#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn plain_number<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    /// Up to here every whole number has a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole and within the exact range"
        )]
        Some(number) if number.fract() == 0.0 && number.abs() < EXACT => {
            serializer.serialize_i64(*number as i64)
        }
        Some(number) => serializer.serialize_f64(*number),
        None => serializer.serialize_none(),
    }
}

/// Something that a worker wants known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The request that it concerns, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
    /// How much it matters.
    #[serde(default, deserialize_with = "super::null_is_default")]
    pub level: LogLevel,
    /// What it says.
    pub message: String,
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// Of use to the worker's author.
    Debug,
    /// Of use to whoever runs the job; what an unknown level is taken for.
    #[default]
    Info,
    /// Something is odd.
    Warn,
    /// Something is wrong.
    Error,
}

impl LogLevel {
    /// The level as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl Serialize for LogLevel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for LogLevel {
    /// Reads the usual spellings of other languages too; a log line is not worth refusing for its level.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let level = Cow::<str>::deserialize(deserializer)?;
        Ok(match level.to_ascii_lowercase().as_str() {
            "trace" => Self::Trace,
            "debug" => Self::Debug,
            "warn" | "warning" => Self::Warn,
            "error" | "critical" | "fatal" => Self::Error,
            _ => Self::Info,
        })
    }
}

/// The host no longer wants an answer; the worker still owes one, with the code `cancelled`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The request.
    pub id: MessageId,
    /// Why, as in `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a ping carries and its pong brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nonce {
    /// Any number.
    pub nonce: u64,
}

/// An event that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownEvent {
    name: String,
    body: Payload,
}

impl UnknownEvent {
    /// An event as it was read: the body is all of it, and is what stands on the wire.
    pub(crate) fn new(name: &str, body: Payload) -> Self {
        Self {
            name: name.to_owned(),
            body,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole message.
    pub fn body(&self) -> &Payload {
        &self.body
    }
}
