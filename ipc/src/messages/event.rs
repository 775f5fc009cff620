//! Events: all messages except requests and responses.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Hello, MessageId, Payload};

/// A message that is neither a request nor a response. The field `event` on the wire names the event.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The worker introduces itself.
    Hello(Hello),
    /// The worker is ready for work.
    Ready,
    /// The worker has begun to work on a request.
    Started(Started),
    /// The worker reports the progress of a request.
    Progress(Progress),
    /// The worker logs a message.
    Log(Log),
    /// The worker answers a ping.
    Pong(Nonce),
    /// The host asks the worker to stop a request.
    Cancel(Cancel),
    /// The host asks whether the worker is alive.
    Ping(Nonce),
    /// The host will send no more requests, so the worker finishes its work and ends.
    Drain,
    /// An event that this version does not know.
    Unknown(UnknownEvent),
}

/// The worker has begun to work on a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The id of the request whose work has begun.
    pub id: MessageId,
}

/// A report of the progress of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The id of the request that has made progress.
    pub id: MessageId,
    /// The amount that is done, in any unit.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "plain_number"
    )]
    pub done: Option<f64>,
    /// The total amount, if it is known.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "plain_number"
    )]
    pub total: Option<f64>,
    /// What the worker is doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Writes an integer as `3`, where serde would write `3.0`.
#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn plain_number<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    /// Below this number, a float represents every integer exactly.
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

/// A log message of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The request that the message is about, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
    /// The severity of the message.
    #[serde(default, deserialize_with = "super::null_is_default")]
    pub level: LogLevel,
    /// The text of the message.
    pub message: String,
}

/// The severity of a log message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum LogLevel {
    /// The message describes a single step.
    Trace,
    /// The message helps the author of the worker.
    Debug,
    /// The message helps the user who runs the job. An unknown level is read as this one.
    #[default]
    Info,
    /// Something may be wrong.
    Warn,
    /// Something is wrong.
    Error,
}

impl LogLevel {
    /// Returns the level as it is written on the wire.
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
    /// Also reads the usual spellings of other languages. No message is refused because of its level.
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

/// The host asks the worker to stop a request. The worker still answers it, with the code `cancelled`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The id of the request that has to stop.
    pub id: MessageId,
    /// The reason, such as `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The number that connects a ping and its pong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nonce {
    /// A number that ties a pong to its ping.
    pub nonce: u64,
}

/// An event that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownEvent {
    name: String,
    body: Payload,
}

impl UnknownEvent {
    /// Makes an event from the text that was read, which is the whole message.
    pub(crate) fn new(name: &str, body: Payload) -> Self {
        Self {
            name: name.to_owned(),
            body,
        }
    }

    /// Returns the name of the event.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the whole message as it was read.
    pub fn body(&self) -> &Payload {
        &self.body
    }
}
