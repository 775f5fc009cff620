//! The dialect of Bazel's persistent workers with JSON.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::dialect::{Decoded, Dialect, OverlongLine};
use super::header::{field_at_beginning, field_at_end};
use crate::error::IpcError;
use crate::messages::{
    Capability, Event, IpcMessage, MessageId, MessageKind, Payload, Request, Response, TaskError,
};
use crate::protocol::{HandshakeKind, Profile};

/// The only type of message that such a worker can send.
const RESPONSE: MessageKind = MessageKind::Response;

/// The dialect of Bazel's persistent workers with JSON, one message per line.
///
/// A request becomes a `WorkRequest`. Its input is the list of arguments, one argument, or an object with `arguments`
/// and `inputs` (a list of `{"path", "digest"}`). The protocol has no field for the task, so a worker performs any
/// task. The result is `{"exit_code":0,"output":".."}`, and another exit code is an error with the code `exit`.
///
/// A worker that works on one request at a time gets requests without an id, and answers in order. One that works on
/// several (a multiplex worker) gets ids. Cancels are sent only if [`understanding_cancel`] was called, because another
/// worker would take a cancel for a request.
///
/// Bazel starts its workers with the argument `--persistent_worker`, which has to be in the command here, too.
///
/// [`understanding_cancel`]: BazelJson::understanding_cancel
///
/// ```
/// use std::num::NonZeroU32;
/// use ratchet_ipc::{BazelJson, Codec, Limits, Payload, Request};
///
/// let mut host = Codec::new(BazelJson::new(NonZeroU32::MIN), Limits::default());
/// host.encode(&Request::new(1, "javac", Payload::from_json(r#"["-d", "out", "A.java"]"#)?).into())?;
/// assert_eq!(host.outgoing(), b"{\"arguments\":[\"-d\",\"out\",\"A.java\"]}\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct BazelJson {
    concurrency: NonZeroU32,
    understands_cancel: bool,
    /// The unanswered requests, the oldest first.
    unanswered: Vec<MessageId>,
}

/// A `WorkRequest`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WorkRequest<'a> {
    #[serde(skip_serializing_if = "is_false")]
    cancel: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<Vec<String>>,
    #[serde(skip_serializing_if = "<[Input]>::is_empty")]
    inputs: &'a [Input],
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<u64>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// A file that a request reads.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    path: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    digest: String,
}

/// The input of a job, as an object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Work {
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default)]
    inputs: Vec<Input>,
}

impl Work {
    fn read(input: &Payload) -> Result<Self, IpcError> {
        let (arguments, inputs) = match input.as_str().trim_start().chars().next() {
            Some('{') => return input.read().map_err(|_| IpcError::NoWorkRequest),
            Some('[') => (input.read(), Vec::new()),
            Some('"') => (input.read().map(|argument| vec![argument]), Vec::new()),
            _ if input.as_str() == "null" => (Ok(Vec::new()), Vec::new()),
            _ => return Err(IpcError::NoWorkRequest),
        };
        Ok(Self {
            arguments: arguments.map_err(|_| IpcError::NoWorkRequest)?,
            inputs,
        })
    }
}

/// A `WorkResponse`. A field may be omitted if it has its default value, so `{}` is a response. Unknown fields are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WorkResponse {
    #[serde(default, alias = "exit_code")]
    exit_code: Option<i64>,
    #[serde(default)]
    output: Option<String>,
    #[serde(default, alias = "request_id")]
    request_id: Option<u64>,
    #[serde(default, alias = "was_cancelled")]
    was_cancelled: Option<bool>,
}

/// The fields by which a line that cannot be read is known as a `WorkResponse`.
const FIELDS: [&str; 7] = [
    "exitCode",
    "exit_code",
    "output",
    "requestId",
    "request_id",
    "wasCancelled",
    "was_cancelled",
];

impl WorkResponse {
    /// Reads a line that is an object; `None` if it is another object, which the worker has printed.
    fn read(line: &[u8]) -> Option<Result<Self, serde_json::Error>> {
        let response: Self = match serde_json::from_slice(line) {
            Ok(response) => response,
            Err(error) => {
                let has = |field: &str| {
                    memchr::memmem::find(line, format!("\"{field}\"").as_bytes()).is_some()
                };
                return FIELDS.into_iter().any(has).then_some(Err(error));
            }
        };
        let has_fields = response.exit_code.is_some()
            || response.output.is_some()
            || response.request_id.is_some()
            || response.was_cancelled.is_some();
        let is_empty = || {
            line.iter()
                .filter(|byte| !byte.is_ascii_whitespace())
                .count()
                == 2
        };
        (has_fields || is_empty()).then_some(Ok(response))
    }
}

/// Finds the number of the request to which a response belongs that cannot be read as a whole.
fn request_id(field: impl Fn(&str) -> Option<Value>) -> Option<u64> {
    let id = field("requestId").or_else(|| field("request_id"));
    id.and_then(|id| id.as_u64())
}

impl BazelJson {
    /// Makes the dialect of a worker that works on this many requests at once; with more than one, a multiplex worker.
    pub fn new(concurrency: NonZeroU32) -> Self {
        Self {
            concurrency,
            understands_cancel: false,
            unanswered: Vec::new(),
        }
    }

    /// Declares that the worker understands cancel requests.
    #[must_use]
    pub fn understanding_cancel(mut self) -> Self {
        self.understands_cancel = true;
        self
    }

    fn is_multiplex(&self) -> bool {
        self.concurrency > NonZeroU32::MIN
    }

    /// Returns the number of a request on the wire, from 1 up to the largest signed 32-bit number; `None` without
    /// multiplexing.
    fn number(&self, id: &MessageId) -> Option<u64> {
        const NUMBERS: u64 = i32::MAX as u64;
        let counter = id.as_counter().unwrap_or_default();
        self.is_multiplex().then_some(counter % NUMBERS + 1)
    }

    fn write(request: &WorkRequest<'_>, line: &mut Vec<u8>) -> Result<(), IpcError> {
        serde_json::to_writer(&mut *line, request)?;
        line.push(b'\n');
        Ok(())
    }

    /// Removes the request to which a response belongs from the unanswered ones.
    fn answered(&mut self, number: u64) -> Option<MessageId> {
        let place = if self.is_multiplex() {
            let number = Some(number);
            let of = |id: &MessageId| self.number(id) == number;
            self.unanswered.iter().position(of)?
        } else if self.unanswered.is_empty() {
            return None;
        } else {
            0
        };
        Some(self.unanswered.remove(place))
    }

    fn outcome(response: &WorkResponse) -> Result<Payload, TaskError> {
        if response.was_cancelled == Some(true) {
            return Err(TaskError::new(
                TaskError::CANCELLED,
                "the worker cancelled the request",
            ));
        }
        let exit_code = response.exit_code.unwrap_or_default();
        let output = response.output.as_deref().unwrap_or_default();
        let result = serde_json::json!({"exit_code": exit_code, "output": output});
        let result = Payload::from_value(&result)?;
        if exit_code == 0 {
            return Ok(result);
        }
        let mut message = format!("exit code {exit_code}");
        if let Some(said) = output.lines().rev().find(|line| !line.trim().is_empty()) {
            message = format!("{message}: {}", said.trim());
        }
        Err(TaskError::new("exit", message).data(result))
    }
}

impl Dialect for BazelJson {
    fn handshake_kind(&self) -> HandshakeKind {
        HandshakeKind::None
    }

    fn profile(&self) -> Profile {
        let cancel = self.understands_cancel.then_some(Capability::Cancel);
        Profile {
            concurrency: self.concurrency,
            capabilities: cancel.into_iter().collect(),
            ..Profile::minimal()
        }
    }

    fn encode(&self, message: &IpcMessage, line: &mut Vec<u8>) -> Result<(), IpcError> {
        match message {
            IpcMessage::Request(Request { id, input, .. }) => {
                let work = Work::read(input)?;
                let request = WorkRequest {
                    cancel: false,
                    arguments: Some(work.arguments),
                    inputs: &work.inputs,
                    request_id: self.number(id),
                };
                Self::write(&request, line)
            }
            IpcMessage::Event(Event::Cancel(cancel)) if self.understands_cancel => {
                let request = WorkRequest {
                    cancel: true,
                    arguments: None,
                    inputs: &[],
                    request_id: self.number(&cancel.id),
                };
                Self::write(&request, line)
            }
            IpcMessage::Event(_) | IpcMessage::Response(_) => Ok(()),
        }
    }

    fn sent(&mut self, message: &IpcMessage) {
        if let IpcMessage::Request(request) = message {
            self.unanswered.push(request.id.clone());
        }
    }

    fn decode(&mut self, line: &[u8], decoded: &mut Decoded<'_>) {
        if line.trim_ascii().is_empty() {
            return decoded.blank();
        }
        if !line.trim_ascii_start().starts_with(b"{") {
            return decoded.stray(line);
        }
        match WorkResponse::read(line) {
            Some(Ok(response)) => match self.answered(response.request_id.unwrap_or_default()) {
                Some(id) => decoded.message(Response {
                    id,
                    outcome: Self::outcome(&response),
                }),
                None => decoded.stray(line),
            },
            // A line with the fields of a response was meant as one, and there will be no other.
            Some(Err(error)) => {
                let number = request_id(|name| field_at_beginning(line, name));
                match self.answered(number.unwrap_or_default()) {
                    Some(id) => {
                        let reason = format!("the answer is not a WorkResponse: {error}");
                        decoded.malformed(RESPONSE, Some(id), reason, line);
                    }
                    None => decoded.stray(line),
                }
            }
            None => decoded.stray(line),
        }
    }

    fn decode_unfinished(&mut self, line: &[u8], decoded: &mut Decoded<'_>) {
        // Bazel reads a message as soon as it is complete, so the newline after the last one may be missing.
        self.decode(line, decoded);
    }

    fn decode_overlong(&mut self, line: &OverlongLine<'_>, decoded: &mut Decoded<'_>) {
        let OverlongLine { head, tail, bytes } = *line;
        if !head.trim_ascii_start().starts_with(b"{") {
            return decoded.stray(head);
        }
        // The id may be in the middle of the line, which was dropped. If there is only one request, the answer must belong
        // to it.
        let number = request_id(|name| field_at_beginning(head, name))
            .or_else(|| request_id(|name| field_at_end(tail, name)));
        let id = match (number, self.unanswered.as_slice()) {
            (Some(number), _) => self.answered(number),
            (None, [_, _, ..]) if self.is_multiplex() => None,
            (None, []) => None,
            (None, _) => Some(self.unanswered.remove(0)),
        };
        decoded.too_large(Some(RESPONSE), id, bytes);
    }
}

#[cfg(test)]
mod tests;
