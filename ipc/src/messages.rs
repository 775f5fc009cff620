//! Every message of the protocol as a type.

mod event;
mod field;
mod hello;
pub(crate) mod id;
mod name;
mod payload;
mod request;
mod response;

use std::fmt;

use serde::{Deserialize, Deserializer};

pub use event::{Cancel, Event, Log, LogLevel, Nonce, Progress, Started, UnknownEvent};
pub use hello::{Capabilities, Capability, Hello, TaskDeclaration};
pub use id::MessageId;
pub use name::{HostName, JobKey, TaskName};
pub use payload::Payload;
pub use request::Request;
pub use response::{Response, TaskError};

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

/// Many encoders write what is absent as `null`.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
