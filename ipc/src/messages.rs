//! The messages of the protocol as types, and their encoding.

mod encode;
mod event;
mod field;
mod hello;
mod id;
mod kind;
mod name;
mod payload;
mod request;
mod response;
mod version;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

pub(crate) use encode::write_message;
pub use event::{Cancel, Event, Log, LogLevel, Nonce, Progress, Started, UnknownEvent};
pub use hello::{Capabilities, Capability, Hello, TaskDeclaration};
pub use id::MessageId;
pub use kind::MessageKind;
pub use name::{HostName, JobKey, TaskName};
pub use payload::Payload;
pub use request::Request;
pub use response::{Response, TaskError};
pub use version::ProtocolVersion;

/// One message, in either direction.
///
/// [`Display`](fmt::Display) prints the line as it is on the wire, without its newline, and `Serialize` writes the same
/// object. A [`Codec`](crate::Codec) reads messages.
///
/// ```
/// use ratchet_ipc::{Event, IpcMessage, Nonce};
///
/// let ping = IpcMessage::from(Event::Ping(Nonce { nonce: 1 }));
/// assert_eq!(serde_json::to_string(&[&ping])?, r#"[{"type":"event","event":"ping","nonce":1}]"#);
/// assert_eq!(ping.to_string(), r#"{"type":"event","event":"ping","nonce":1}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum IpcMessage {
    /// The host requests one attempt of a job.
    Request(Request),
    /// The worker sends the only response to a request.
    Response(Response),
    /// Either side sends an event.
    Event(Event),
}

impl fmt::Display for IpcMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Vec::new();
        write_message(self, &mut line).map_err(|_| fmt::Error)?;
        f.write_str(&String::from_utf8_lossy(&line))
    }
}

impl Serialize for IpcMessage {
    /// Serializes the message as it is on the wire. This works only for JSON, because payloads are JSON.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        let mut line = Vec::new();
        write_message(self, &mut line).map_err(S::Error::custom)?;
        let raw: &RawValue = serde_json::from_slice(&line).map_err(S::Error::custom)?;
        raw.serialize(serializer)
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

/// Reads `null` as the default value, because many encoders write an absent field as `null`.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
