//! The response to a request.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::field::{excerpt, read_field};
use super::{MessageId, Payload};
use crate::error::error_chain;

/// The only response of the worker to a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The id of the request, unchanged.
    pub id: MessageId,
    /// The result or the error.
    pub outcome: Result<Payload, TaskError>,
}

/// The reason why a request has no result.
///
/// `?` converts any error, with the code `error`. To distinguish failures, make a `TaskError` with a code of your own.
/// Because of the conversion, this type does not implement [`std::error::Error`], like the error of `anyhow`.
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
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskError {
    /// The kind of the failure, for programs.
    pub code: Cow<'static, str>,
    /// The description of the failure, for people.
    pub message: String,
    /// `Some(false)` rules out another attempt. Otherwise the retry policy of the job decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// The time to wait before the next attempt, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Any further information.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Payload>,
}

impl TaskError {
    /// The code of an error without a code of its own.
    pub const UNNAMED: &'static str = "error";
    /// The code for a cancelled request.
    pub const CANCELLED: &'static str = "cancelled";
    /// The code for a task that the worker does not know.
    pub const UNKNOWN_TASK: &'static str = "unknown_task";
    /// The code for an input that the task cannot read.
    pub const INVALID_INPUT: &'static str = "invalid_input";
    /// The code for a request that breaks the protocol.
    pub const MALFORMED: &'static str = "malformed";
    /// The code for a task that panicked or threw an unexpected exception.
    pub const PANIC: &'static str = "panic";
    /// The code for an input or a result that is too large to send.
    pub const TOO_LARGE: &'static str = "message_too_large";

    /// Makes an error with a code for programs and a message for people.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            retryable: None,
            retry_after_ms: None,
            data: None,
        }
    }

    /// Sets whether another attempt may succeed.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = Some(retryable);
        self
    }

    /// Sets the time to wait before the next attempt.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        // A longer delay would exceed half a billion years.
        self.retry_after_ms = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Adds further information.
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
        Self::new(Self::UNNAMED, error_chain(&error))
    }
}

impl<'de> Deserialize<'de> for Response {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// `result: null` is a result, but `error: null` is not an error, because many libraries write both fields.
        #[derive(Deserialize)]
        struct Wire<'a> {
            id: MessageId,
            #[serde(borrow, default, deserialize_with = "present")]
            result: Option<&'a RawValue>,
            #[serde(borrow, default)]
            error: Option<&'a RawValue>,
        }
        use serde::de::Error;
        let Wire { id, result, error } = Wire::deserialize(deserializer)?;
        let outcome = match (result.map(RawValue::get), error.map(RawValue::get)) {
            (Some(result), None) => Ok(Payload::from_checked(result)),
            (None | Some("null"), Some(error)) => Err(read_error(error).map_err(D::Error::custom)?),
            (None, None) => {
                return Err(D::Error::custom("a response with neither result nor error"));
            }
            (Some(_), Some(_)) => {
                return Err(D::Error::custom(
                    "a response with both a result and an error",
                ));
            }
        };
        Ok(Self { id, outcome })
    }
}

impl<'de> Deserialize<'de> for TaskError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = <&RawValue>::deserialize(deserializer)?;
        read_error(value.get()).map_err(serde::de::Error::custom)
    }
}

/// Reads an error. If it breaks the protocol, the returned text describes how, in the terms of the protocol.
fn read_error(value: &str) -> Result<TaskError, String> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        code: Option<&'a RawValue>,
        message: Option<&'a RawValue>,
        retryable: Option<&'a RawValue>,
        retry_after_ms: Option<&'a RawValue>,
        data: Option<&'a RawValue>,
    }
    if !value.starts_with('{') {
        return Err(format!("`error` is not an object: {}", excerpt(value)));
    }
    let wire: Wire<'_> = serde_json::from_str(value).map_err(|error| error.to_string())?;
    let code = read_field(wire.code, "`code`", "a text")?.map(Cow::<str>::Owned);
    let retry_after = "a number of milliseconds that is not negative";
    let retry_after = read_field(wire.retry_after_ms, "`retry_after_ms`", retry_after)?;
    Ok(TaskError {
        code: code.unwrap_or(Cow::Borrowed(TaskError::UNNAMED)),
        message: read_field(wire.message, "`message`", "a text")?.unwrap_or_default(),
        retryable: read_field(wire.retryable, "`retryable`", "true or false")?,
        retry_after_ms: retry_after.map(|Milliseconds(whole)| whole),
        data: wire.data.map(|data| Payload::from_checked(data.get())),
    })
}

/// Reads `null` as a value, which `Option` alone would read as absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// A number of milliseconds, rounded. Some languages write every number as a float.
struct Milliseconds(u64);

impl<'de> Deserialize<'de> for Milliseconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the number is not negative, and the cast of a greater number saturates"
        )]
        let rounded = |float: f64| (float >= 0.0).then(|| float.round() as u64);
        let whole = number
            .as_u64()
            .or_else(|| number.as_f64().and_then(rounded));
        whole
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("milliseconds are not negative"))
    }
}
