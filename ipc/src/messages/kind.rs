//! The three types of messages.

/// The type of a message: the field `type` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// The host requests an attempt of a job.
    Request,
    /// The worker answers a request.
    Response,
    /// Either side sends an event.
    Event,
}

impl MessageKind {
    /// Reads the value of the field `type`.
    pub(crate) fn from_wire(text: &str) -> Option<Self> {
        match text {
            "request" => Some(Self::Request),
            "response" => Some(Self::Response),
            "event" => Some(Self::Event),
            _ => None,
        }
    }
}
