//! Every message of the protocol as a type.

mod hello;
pub(crate) mod id;
mod name;
mod payload;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use hello::{Capabilities, Capability, Hello, TaskDeclaration};
pub use id::MessageId;
pub use name::{HostName, JobKey, TaskName};
pub use payload::Payload;

use crate::serialization::encode;

/// One message, in either direction; `type` on the wire.
///
/// [`Display`](fmt::Display) prints the line that stands on the wire, without its newline.
#[derive(Debug, Clone, PartialEq)]
pub enum IpcMessage {
    /// The host asks for one attempt of a job.
    Request(Request),
    /// The worker's one answer to a request.
    Response(Response),
    /// Everything else that either side has to say.
    Event(Event),
}

impl fmt::Display for IpcMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Vec::new();
        encode::write_message(self, &mut line).map_err(|_| fmt::Error)?;
        f.write_str(&String::from_utf8_lossy(&line))
    }
}

/// The host asks a worker for one attempt of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Names this attempt; the answer carries it.
    pub id: MessageId,
    /// What is to be done.
    pub task: TaskName,
    /// What it is to be done with.
    #[serde(default = "Payload::null")]
    pub input: Payload,
    /// Counts the attempts of the job from 1.
    #[serde(default = "first_attempt")]
    pub attempt: u32,
    /// How long the attempt may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The place that the job concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// The job's own id: the worker's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<JobKey>,
    /// Say what would change, and change nothing.
    #[serde(default, deserialize_with = "null_is_default")]
    pub check: bool,
    /// Say how what changed differs from before.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff: bool,
}

fn first_attempt() -> u32 {
    1
}

/// Many encoders write what is absent as `null`.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads a whole number of milliseconds, however it is written: some languages know floats only.
fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked not to be negative; beyond 64 bits it is for ever either way"
    )]
    let rounded = |float: f64| (float >= 0.0).then(|| float.round() as u64);
    let whole = number
        .as_u64()
        .or_else(|| number.as_f64().and_then(rounded));
    whole
        .map(Some)
        .ok_or_else(|| serde::de::Error::custom("milliseconds are not negative"))
}

impl Request {
    /// A first attempt with nothing but the necessary.
    pub fn new(id: impl Into<MessageId>, task: impl Into<TaskName>, input: Payload) -> Self {
        Self {
            id: id.into(),
            task: task.into(),
            input,
            attempt: first_attempt(),
            timeout_ms: None,
            host: None,
            key: None,
            check: false,
            diff: false,
        }
    }
}

/// The worker's one answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The request's id, as it came.
    pub id: MessageId,
    /// What came of it.
    pub outcome: Result<Payload, TaskError>,
}

/// Why a worker could not do what was asked.
///
/// Any error converts into one with `?`, as the code `error`; what should be told apart is built by hand. Like an
/// error of `anyhow`, it is therefore no [`std::error::Error`] itself.
///
/// ```
/// use std::time::Duration;
/// use ratchet_ipc::TaskError;
///
/// let full = TaskError::new("quota", "the disk is full").retry_after(Duration::from_secs(60));
/// assert_eq!(full.retry_after_ms, Some(60_000));
///
/// fn parse(text: &str) -> Result<u32, TaskError> {
///     Ok(text.parse()?)
/// }
/// assert_eq!(parse("x").unwrap_err().message, "invalid digit found in string");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskError {
    /// Tells kinds of failure apart, for programs.
    #[serde(default = "unnamed_error")]
    pub code: Cow<'static, str>,
    /// Says what happened, for people.
    #[serde(default, deserialize_with = "null_is_default")]
    pub message: String,
    /// `Some(false)` is final; otherwise the job's retry policy decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// How long to wait before the next attempt, in milliseconds.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "milliseconds"
    )]
    pub retry_after_ms: Option<u64>,
    /// Whatever else the worker wants known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Payload>,
}

fn unnamed_error() -> Cow<'static, str> {
    Cow::Borrowed(TaskError::UNNAMED)
}

impl TaskError {
    /// The code of an error that has none of its own.
    pub const UNNAMED: &'static str = "error";
    /// The code of an answer to a cancelled request.
    pub const CANCELLED: &'static str = "cancelled";
    /// The code of an answer to a task that the worker does not know.
    pub const UNKNOWN_TASK: &'static str = "unknown_task";
    /// The code of an answer to an input that the task cannot read.
    pub const INVALID_INPUT: &'static str = "invalid_input";
    /// The code of an answer to a request that breaks the protocol.
    pub const MALFORMED: &'static str = "malformed";
    /// The code of an answer whose handler panicked or threw what it should not.
    pub const PANIC: &'static str = "panic";
    /// The code of an answer where the input or the result is too large to send.
    pub const TOO_LARGE: &'static str = "message_too_large";

    /// An error with a code for programs and a message for people.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            retryable: None,
            retry_after_ms: None,
            data: None,
        }
    }

    /// Says whether another attempt could do better.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = Some(retryable);
        self
    }

    /// Says how long to wait before the next attempt.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after_ms = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Adds whatever else should be known.
    #[must_use]
    pub fn data(mut self, data: Payload) -> Self {
        self.data = Some(data);
        self
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl<E: std::error::Error> From<E> for TaskError {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Self::new(Self::UNNAMED, message)
    }
}

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
    #[serde(default)]
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

impl From<Request> for IpcMessage {
    fn from(request: Request) -> Self {
        Self::Request(request)
    }
}

impl From<Response> for IpcMessage {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

impl From<Event> for IpcMessage {
    fn from(event: Event) -> Self {
        Self::Event(event)
    }
}
