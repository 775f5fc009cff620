//! The results of the bytes that arrive from a peer.

use super::stray::StrayLine;
use crate::messages::{IpcMessage, MessageId, MessageKind};
use crate::protocol::Readiness;

/// One result of the incoming bytes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Incoming {
    /// The peer has sent a message of the protocol.
    Message(IpcMessage),
    /// The result of a handshake that the dialect performed by itself.
    Readiness(Readiness),
    /// Output that is not a message.
    Stray(StrayLine),
    /// A line without any text. It is ignored, but a worker that printed it instead of an answer gives no other one.
    Blank,
    /// A message of a known type that breaks the protocol.
    Malformed(Malformed),
    /// A message that was dropped because of its size.
    TooLarge(TooLarge),
    /// The peer closed its side. Nothing follows.
    End,
}

/// A message of a known type that breaks the protocol.
///
/// A request with a malformed response gets no other response, so it fails. A worker with a malformed hello is refused.
/// Any other malformed event has no consequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The type that the message claims to have.
    pub kind: MessageKind,
    /// Whether the message is a hello, without which a worker cannot introduce itself.
    pub is_hello: bool,
    /// The request that the message is about, if its id could be read.
    pub id: Option<MessageId>,
    /// What is wrong with the message.
    pub reason: String,
    /// The beginning of the line.
    pub line: String,
}

/// A message that was dropped, up to its newline, because of its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLarge {
    /// The type of the message, if it is near the beginning. Encoders that sort their keys write it last.
    pub kind: Option<MessageKind>,
    /// The request that the message is about, if its id is near the beginning.
    pub id: Option<MessageId>,
    /// The size of the message in bytes.
    pub bytes: u64,
    /// The maximum size.
    pub limit: usize,
}
